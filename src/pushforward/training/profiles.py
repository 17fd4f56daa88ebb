"""Averages of any width after training, from a few kept on the way.

A power-function average weighs what the weights w were at update k of t by a power of k,

    a_g(t) = (g + 1) / t**(g + 1)  integral_0^t  k**g w(k) dk,        a <- b a + (1 - b) w,   b = (1 - 1/t)**(g + 1)

and its width is the standard deviation of k / t under that profile,

    std = sqrt(g + 1) / ((g + 2) sqrt(g + 3)).

Profiles are functions on [0, t], so the one that was not kept is the nearest combination of those that were: with
<p, q> the integral of p q, A_ij = <p_i, p_j> and b_i = <p_i, p>, the coefficients are the least c A c / 2 - c b whose
sum is 1, so that weights that do not move stay what they are (the paper leaves the sum free: up to 1 % off).

Reference: Karras et al. 2024 (arXiv 2312.02696), sections 3.1-3.2 and appendix C.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain

WIDEST: Final = math.sqrt(1 / 12)
"""The width of the flat average, g = 0."""


class Profile(NamedTuple):
    """A power-function average at one moment: after how many updates, and how wide."""

    step: int
    std: float


def exponent(std: float) -> float:
    """g of a profile of this width, 0 to infinity.

    >>> round(exponent(0.05), 2), round(exponent(0.10), 2)
    (16.97, 6.94)

    Raises:
        ConfigError: no width of a profile.
    """
    if not 0 < std < WIDEST:
        fix = "Usual are 0.05 and 0.10: the average is over that share of training."
        raise ConfigError(explain(f"a width above 0 and below {WIDEST:.3f}", f"{std}", fix))
    low, high = 0.0, 1 / std**2
    for _ in range(200):
        middle = (low + high) / 2
        wide = math.sqrt(middle + 1) / ((middle + 2) * math.sqrt(middle + 3))
        low, high = (middle, high) if wide > std else (low, middle)
    return (low + high) / 2


def kept(step: int, std: float) -> float:
    """b: how much of the average stays at update number `step`, counted from 0; nothing at the first.

    >>> kept(0, 0.1)
    0.0
    """
    return (step / (step + 1)) ** (exponent(std) + 1)


def coefficients(snapshots: Sequence[Profile], wanted: Profile) -> Tensor:
    """What each kept average counts in the one wanted, float64 [snapshots]; they add up to 1.

    Raises:
        ConfigError: no snapshot, or a moment after the last of them.
    """
    if not snapshots or wanted.step > max(each.step for each in snapshots):
        got = f"one after {wanted.step}, with snapshots after {sorted({each.step for each in snapshots})}"
        raise ConfigError(explain("a moment that snapshots reach", got, "Ask for the last of them, or an earlier one."))
    products = [[_product(one, other) for other in snapshots] for one in snapshots]
    right = [_product(one, wanted) for one in snapshots]
    matrix, vector = torch.tensor(products, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    scale = matrix.diagonal().rsqrt()
    inverse = scale[:, None] * _inverse(scale[:, None] * matrix * scale) * scale
    free, ones = inverse @ vector, inverse.sum(1)
    return free + ones * (1 - free.sum()) / ones.sum()


@torch.no_grad()
def combined(snapshots: Iterable[Mapping[str, Tensor]], counts: Tensor) -> dict[str, Tensor]:
    """The weighted sum of snapshots by name, summed in float64; they are taken one at a time."""
    total, like = dict[str, Tensor](), dict[str, torch.dtype]()
    for count, each in zip(counts.tolist(), snapshots, strict=True):
        for name, tensor in each.items():
            part = count * tensor.double()
            total[name] = total[name] + part if name in total else part
            like[name] = tensor.dtype
    return {name: tensor.to(like[name]) for name, tensor in total.items()}


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse on what double precision can tell apart: neighbouring snapshots are nearly parallel."""
    return torch.linalg.pinv(matrix, rtol=1e-13, hermitian=True)


def _product(one: Profile, other: Profile) -> float:
    """The integral of two profiles' product."""
    a, b = exponent(one.std), exponent(other.std)
    early = min(one.step, other.step)
    log = a * math.log(early / one.step) + b * math.log(early / other.step)
    return (a + 1) * (b + 1) / (a + b + 1) * early / (one.step * other.step) * math.exp(log)

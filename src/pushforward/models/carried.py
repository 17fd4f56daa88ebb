"""A base of one's own on another path.

Noise z stands at (alpha, sigma) of one path; at (alpha', sigma') of another, where the signal-to-noise ratio is the
same, the same solution of the ODE is at

    z' = r z,      r = |(alpha', sigma')| / |(alpha, sigma)|

so z's law goes along. Where the other path ends at another ratio it does not say where z would be.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ConversionError, explain
from pushforward.models.base import Base, Normal
from pushforward.solvers import Solver, adds_noise

End = tuple[float, float]
"""alpha and sigma."""

_CLOSE = 1e-6


def same(base: Base, other: Normal) -> bool:
    """Whether a base is this normal."""
    return isinstance(base, Normal) and _near(base.std, other.std) and _near(base.mean, other.mean)


def leaves_noise(base: Base, end: End) -> bool:
    """Whether a base can be alpha x0 + sigma eps of normal data: N(0, sigma**2) where alpha is 0."""
    alpha, sigma = end
    if alpha <= _CLOSE:
        return same(base, Normal(base.shape, sigma))
    return isinstance(base, Normal) and bool((_wide(base.std) >= sigma * (1 - _CLOSE)).all())


def carried(base: Base, here: End, there: End) -> Base:
    """The base where another path has it.

    Raises:
        ConversionError: the other path ends at another signal-to-noise ratio, or at another scale for a base that is
            no `Normal`.
    """
    size, other = math.hypot(*here), math.hypot(*there)
    if abs(here[0] * there[1] - here[1] * there[0]) > _CLOSE * size * other:
        got = f"alpha and sigma {here} and {there}"
        fix = "Choose a path that starts from the same noise, as Linear and Cosine do, or drop the base."
        raise ConversionError(explain("ends of equal signal-to-noise ratio for a base of one's own", got, fix))
    if abs(other / size - 1) <= _CLOSE:
        return base
    if not isinstance(base, Normal):
        got = f"{type(base).__name__} at {size:g}, to be at {other:g}"
        raise ConversionError(explain("ends of equal scale for a base that is no Normal", got, "Choose another path."))
    return replace(base, std=base.std * (other / size), mean=base.mean * (other / size))


def ode_alone(base: Base, solver: Solver) -> None:
    """Refuse a solver that adds noise on the way from a base of one's own, which is no noise of the path's.

    Raises:
        ConfigError: it does, and the base is not the path's noise with rare draws left out.
    """
    if adds_noise(solver) and not base.cut:
        got = f"{type(solver).__name__}, which adds N(0, 1) on the way, and a base of one's own"
        raise ConfigError(explain("a solver of the ODE alone, or noise to start from", got, "Try Heun."))


def _near(one: float | Tensor, other: float | Tensor) -> bool:
    if not isinstance(one, Tensor) and not isinstance(other, Tensor):
        return abs(one - other) <= _CLOSE * (1 + abs(other))
    return bool((_wide(one) - _wide(other)).abs().max() <= _CLOSE * (1 + _wide(other).abs().max()))


def _wide(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value).detach().cpu().double()

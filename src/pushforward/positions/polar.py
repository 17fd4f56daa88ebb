"""Polar positions (PoPE): content is magnitude, position is phase.

A rotary pair mixes content and place: its two features have a phase of their own, to which the position's is added.
Here every feature of a head is a magnitude of its own, and its phase comes from the position alone:

    q~_c = softplus(q_c) e^{i m theta_c},    k~_c = softplus(k_c) e^{i (n theta_c + delta_c)},
    score = sum_c softplus(q_c) softplus(k_c) cos((n - m) theta_c + delta_c),      theta_c = base**(-c/D),

with a learned phase delta in [-2 pi, 0] per head and feature. Queries and keys become twice as wide (real and imaginary
parts). Attention divides by the root of the width it sees, 2 D; queries carry the factor sqrt(2) that makes it D.

References: Gopalakrishnan et al. 2025, Decoupling the "What" and "Where" With Polar Coordinate Positional Embeddings,
arXiv 2509.10534.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ShapeError, explain
from pushforward._typing import Heads
from pushforward.positions.position import Properties, Rotates, Rotation
from pushforward.positions.rotary import check_base
from pushforward.positions.rotation import kept
from pushforward.positions.spectrum import PLAIN, Spectrum


class Polar(nn.Module, Rotates):
    """Polar positions: phases from places, magnitudes from content.

    Args:
        heads: how many heads.
        features: the size of one.
        base: frequencies run from 1 down to about 1/base radians per position.

    References:
        Gopalakrishnan et al. 2025, arXiv 2509.10534.

    >>> q, k, pos = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4), torch.arange(3)
    >>> a, b = Polar(heads=2, features=4).rotate(q, k, pos, pos)
    >>> a.shape
    torch.Size([1, 2, 3, 8])
    """

    def __init__(self, heads: int, features: int, base: float = 10_000.0) -> None:
        super().__init__()
        check_base(base)
        self.base = base
        self.delta = nn.Parameter(torch.zeros(heads, features))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, scale=(2 * self.delta.shape[-1]) ** -0.5)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        if features != self.delta.shape[-1]:
            raise ShapeError(explain(
                f"heads of {self.delta.shape[-1]} features", f"{features}", "Make Polar for this size of a head.",
            ))  # fmt: skip
        spectrum = Spectrum(((self.base, 2 * features, PLAIN),))
        phases_q = spectrum.phases(pos_q).unsqueeze(-3)
        phases_k = phases_q if pos_k is pos_q else spectrum.phases(pos_k).unsqueeze(-3)
        delta = self.delta.clamp(-2 * math.pi, 0).to(phases_k.dtype).unsqueeze(-2)
        return Spread(*(_tables(phases, kept(dtype)) for phases in (phases_q, phases_k + delta)))


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Magnitudes spread over cosine and sine, at given positions."""

    tables_q: Tensor
    tables_k: Tensor

    def __call__(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        return _spread(q, self.tables_q, math.sqrt(2)), _spread(k, self.tables_k, 1.0)


def _tables(phases: Tensor, dtype: torch.dtype) -> Tensor:
    """[cosines | sines]."""
    return torch.cat([phases.cos(), phases.sin()], -1).to(dtype)


def _spread(x: Tensor, tables: Tensor, gain: float) -> Tensor:
    magnitude = gain * nn.functional.softplus(x.to(tables.dtype))
    return (torch.cat([magnitude, magnitude], -1) * tables).to(x.dtype)

"""Rotary positions: queries and keys turn by an angle proportional to where they stand.

    q_m -> R_m q,   k_n -> R_n k,   <R_m q, R_n k> = <q, R_{n-m} k>:

scores depend on the distance alone, norms do not change, and R_a R_b = R_{a+b}, so that cached keys can be
moved to other positions by one more rotation. On a grid each axis has its own share of the features and
its own coordinate (`Axial`). Nothing is learned and no position is out of range.

References: Su et al. 2021, RoFormer, arXiv 2104.09864; Heo et al. 2024, Rotary Position Embedding for Vision
Transformer, arXiv 2403.13298 (axial, base 100).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward.positions.position import Properties, Rotates, Rotation
from pushforward.positions.rotation import Layout, Turn, check_layout, frequencies, phases, rotated_features


@dataclass(frozen=True, slots=True)
class Rotary(Rotates):
    """Rotary positions on a sequence (RoPE).

    Args:
        base: frequencies run from 1 down to about 1/base radians per position.
        layout: which features make a pair; matters only for weights trained elsewhere.
        fraction: the part of each head that is rotated, in (0, 1].

    References:
        Su et al. 2021, arXiv 2104.09864.

    >>> pos, x = torch.arange(3), torch.randn(1, 1, 3, 8, dtype=torch.float64)
    >>> q, k = Rotary().rotate(x, x, pos, pos)
    >>> q7, k7 = Rotary().rotate(x, x, pos + 7, pos + 7)
    >>> torch.allclose(q @ k.mT, q7 @ k7.mT)
    True
    """

    base: float = 10_000.0
    layout: Layout = "interleaved"
    fraction: float = 1.0

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)

    @property
    def properties(self) -> Properties:
        return Properties(relative=True)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        theta = frequencies(self.base, rotated_features(features, self.fraction), pos_q.device)
        phases_q = phases(pos_q, theta)
        phases_k = phases_q if pos_k is pos_q else phases(pos_k, theta)
        return Turn.of(phases_q, phases_k, self.layout, dtype)


@dataclass(frozen=True, slots=True)
class Axial(Rotates):
    """Rotary positions on a grid: the features of a head are shared out between the axes.

    Positions are [*batch, tokens, axes], whole or fractional. With one coordinate fixed, the slice of the
    other axis is exactly `Rotary` with the same base.

    Args:
        base: frequencies of each axis run from 1 down to about 1/base radians per unit of its coordinate.
        axes: how many coordinates a position has: 2 for images, 3 for volumes or video.
        layout: which features make a pair (across the whole head).

    References:
        Heo et al. 2024, arXiv 2403.13298.
    """

    base: float = 100.0
    axes: int = 2
    layout: Layout = "interleaved"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        if self.axes < 1:
            raise ConfigError(explain("at least 1 axis", str(self.axes), "Use axes=2 for images."))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, axes=self.axes)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        if features % (2 * self.axes):
            raise ConfigError(explain(
                f"a head size divisible by {2 * self.axes}: pairs of features for each of {self.axes} axes",
                f"{features}", "Change width or heads.",
            ))  # fmt: skip
        theta = frequencies(self.base, features // self.axes, pos_q.device)
        phases_q = self._phases(pos_q, theta)
        phases_k = phases_q if pos_k is pos_q else self._phases(pos_k, theta)
        return Turn.of(phases_q, phases_k, self.layout, dtype)

    def _phases(self, pos: Tensor, theta: Tensor) -> Tensor:
        if pos.ndim < 2 or pos.shape[-1] != self.axes:
            raise ShapeError(explain(
                f"positions [*batch, tokens, {self.axes}]", f"shape {list(pos.shape)}",
                "Pass one coordinate per axis (see positions.grid), or use Rotary for sequences.",
            ))  # fmt: skip
        return phases(pos, theta).flatten(-2)


def check_base(base: float) -> None:
    """Refuse a base that gives no falling row of frequencies."""
    if not base > 1:
        raise ConfigError(explain("a base above 1", f"{base:g}", "Use 10000 for sequences, 100 for small grids."))

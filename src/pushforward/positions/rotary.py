"""Rotary positions: queries and keys turn by an angle proportional to where they stand.

    q_m -> R_m q,   k_n -> R_n k,   <R_m q, R_n k> = <q, R_{n-m} k>:

scores depend on the distance alone, norms do not change, and R_a R_b = R_{a+b}, so that cached keys can be
moved to other positions by one more rotation (`cache.py`). Nothing is learned and no position is out of range.

`Phased` is what the family has in common: pair c of a head turns by pos[axis_c] theta_c. A member says which
frequencies and which coordinates (`axes.py` has grids). Tables are made of explicit positions when they are needed,
from whole numbers (`spectrum.py`): there are no buffers that a cast or a move could spoil, and no length.

References: Su et al. 2021, RoFormer, arXiv 2104.09864.
"""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.positions.arithmetic import Precision
from pushforward.positions.extension import Extension, Plain
from pushforward.positions.layout import Layout, check_layout, rotated_features
from pushforward.positions.position import Properties, Rotates, Rotation
from pushforward.positions.rotation import Turn
from pushforward.positions.spectrum import Spectrum


class Phased(Rotates):
    """Pair c of a head turns by pos[axis_c] theta_c, with fixed frequencies."""

    layout: Layout

    @abc.abstractmethod
    def spectrum(self, features: int) -> Spectrum:
        """The frequencies of a head of this size, and the coordinate that each pair follows."""

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        return Turn.of(self.spectrum(features), pos_q, pos_k, self.layout, dtype)

    def tables(self, pos: Tensor, features: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Cosines and sines [*batch, tokens, pairs], for `rotate` and for other people's formulas.

        As a complex tensor: `torch.complex(*tables)`. Twice side by side: `torch.cat([cos, cos], -1)`.
        """
        return self.spectrum(features).tables(pos, dtype)


@dataclass(frozen=True, slots=True)
class Rotary(Phased):
    """Rotary positions on a sequence (RoPE).

    Args:
        base: frequencies run from 1 down to about 1/base radians per position.
        layout: which features make a pair; matters only for weights trained elsewhere.
        fraction: the part of each head that is rotated, in (0, 1].
        extension: how frequencies change for a longer context (`extension.py`).
        precision: "exact" at every position, or "float32" to repeat the tables of a checkpoint bit by bit.

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
    extension: Extension = Plain()
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        check_precision(self.precision)

    @property
    def properties(self) -> Properties:
        plain = self.extension.amplitude == 1
        return Properties(relative=True, isometric=plain, composes=plain)

    def spectrum(self, features: int) -> Spectrum:
        row = (self.base, rotated_features(features, self.fraction), self.extension)
        return Spectrum((row,), (), self.extension.amplitude, self.precision)


@dataclass(frozen=True, slots=True)
class CustomRotary(Phased):
    """Rotary positions with frequencies of your own: searched, fitted, read from a file, or of another clock.

    Args:
        theta: radians per unit of position, one per pair; a head has at least twice as many features.
        axis: the coordinate that each pair follows; () for sequences.
        layout: which features make a pair.
        amplitude: what cosines and sines are multiplied by.
        precision: see `Rotary`.
    """

    theta: tuple[float, ...]
    axis: tuple[int, ...] = ()
    layout: Layout = "interleaved"
    amplitude: float = 1.0
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        check_layout(self.layout)
        check_precision(self.precision)
        if not self.theta or not all(map(math.isfinite, self.theta)):
            raise ConfigError(explain("finite frequencies, one per pair", f"{self.theta}", "In radians per position."))
        if self.axis and (len(self.axis) != len(self.theta) or set(self.axis) != set(range(max(self.axis) + 1))):
            raise ConfigError(explain(
                f"an axis for each of {len(self.theta)} frequencies, every axis from 0 on used", f"{self.axis}",
                "Leave axis out for sequences.",
            ))  # fmt: skip

    @property
    def properties(self) -> Properties:
        plain = self.amplitude == 1
        return Properties(relative=True, axes=max(self.axis, default=0) + 1, isometric=plain, composes=plain)

    def spectrum(self, features: int) -> Spectrum:
        return Spectrum(((0.0, 2 * len(self.theta), self.theta),), self.axis, self.amplitude, self.precision)


def check_base(base: float) -> None:
    """Refuse a base that gives no falling row of frequencies."""
    if not base > 1:
        raise ConfigError(explain("a base above 1", f"{base:g}", "Use 10000 for sequences, 100 for small grids."))


def check_precision(precision: str) -> None:
    """Refuse a precision that does not exist."""
    if precision not in ("exact", "float32"):
        raise ConfigError(explain("precision 'exact' or 'float32'", repr(precision), "Choose one of the two."))

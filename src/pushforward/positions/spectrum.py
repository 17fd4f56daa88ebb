"""The frequencies of a head's pairs as exact fractions of a turn, and the phases they give.

A phase matters only up to whole turns. Write a frequency as a 64-bit fraction of a turn,

    F_c = round(2**64 theta_c / (2 pi)) mod 2**64,

and the phase of a whole position m is m F_c mod 2**64: the product of two 64-bit integers as every processor makes it,
which drops whole turns and nothing else. Its error is that of F_c, at most m 2**-65 turns: 2e-7 radians at m = 10**12,
where float32 tables are random numbers. A fractional position adds (m - floor m) theta_c in float64. Phases of two
schedules, or of two positions, differ exactly by the difference of their integers, which is what moves a cache.

`precision="float32"` makes phases as most published checkpoints did (float32 frequency times float32 position), for
results equal to theirs bit by bit, errors included: 3e-2 at position 10**6.

References: Su et al. 2021, arXiv 2104.09864. The integers are a numerically controlled oscillator: Tierney, Rader and
Gold 1971, A digital frequency synthesizer, IEEE Trans. Audio Electroacoust. 19(1).
"""

import abc
import functools
import math
from dataclasses import dataclass
from decimal import localcontext

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward.positions.arithmetic import DIGITS, Arithmetic, Exact, Number, Precision, Single
from pushforward.positions.extension import Extension, Plain


class Row(abc.ABC):
    """Frequencies of consecutive pairs."""

    @abc.abstractmethod
    def frequencies(self, numbers: Arithmetic) -> list[Number]:
        """Radians per unit of position."""


@dataclass(frozen=True, slots=True)
class Geometric(Row):
    """base**(-2c/rotated) for each of rotated / 2 pairs, extended to longer contexts."""

    base: float
    rotated: int
    extension: Extension = Plain()

    def frequencies(self, numbers: Arithmetic) -> list[Number]:
        return self.extension.frequencies(self.base, self.rotated, numbers)


@dataclass(frozen=True, slots=True)
class Given(Row):
    """Frequencies as they are given, in radians."""

    theta: tuple[float, ...]

    def frequencies(self, numbers: Arithmetic) -> list[Number]:
        return [numbers.number(theta) for theta in self.theta]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The frequencies of all pairs of a head, and which coordinate each of them follows.

    Args:
        rows: frequencies in the order of the pairs.
        axis: the coordinate of each pair; () if there is only one.
        amplitude: what cosines and sines are multiplied by.
        precision: "exact", or "float32" to repeat tables made in float32.
    """

    rows: tuple[Row, ...]
    axis: tuple[int, ...] = ()
    amplitude: float = 1.0
    precision: Precision = "exact"

    def tables(self, pos: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [*batch, tokens, pairs] in `dtype`, times the amplitude; views of one tensor."""
        _check_positions(pos)
        if self.precision == "float32":
            angles = self._along(pos.to(torch.float32)) * theta_of(self).to(pos.device, torch.float32)
            return paired(angles.cos() * self.amplitude, angles.sin() * self.amplitude, dtype)
        angles = self.phases(pos)
        return paired(angles.cos() * self.amplitude, angles.sin() * self.amplitude, dtype)

    def phases(self, pos: Tensor, less: "Spectrum | None" = None) -> Tensor:
        """Radians [*batch, tokens, pairs], whole turns dropped; what another spectrum gives is subtracted exactly."""
        _check_positions(pos)
        turns, theta = turns_of(self), theta_of(self)
        if less is not None:
            turns, theta = turns - turns_of(less), theta - theta_of(less)
        wide = widest(pos.device)
        turns, theta = turns.to(pos.device), theta.to(pos.device, wide)
        if not pos.is_floating_point():
            return (self._along(pos.long()) * turns).to(wide) * (2 * math.pi * 2.0**-64)
        whole = pos.detach().floor()
        phase = (self._along(whole.long()) * turns).to(wide) * (2 * math.pi * 2.0**-64)
        return phase + self._along(pos.to(wide) - whole.to(wide)) * theta

    def _along(self, pos: Tensor) -> Tensor:
        """The coordinate of each pair, [*batch, tokens, pairs or 1]."""
        if not self.axis:
            return pos.unsqueeze(-1)
        axes = max(self.axis) + 1
        if pos.ndim < 2 or pos.shape[-1] != axes:
            raise ShapeError(explain(
                f"positions [*batch, tokens, {axes}]", f"shape {list(pos.shape)}",
                "Pass one coordinate per axis (see positions.grid), or use Rotary for sequences.",
            ))  # fmt: skip
        return pos[..., torch.tensor(self.axis, device=pos.device)]


@torch.compiler.assume_constant_result
def turns_of(spectrum: Spectrum) -> Tensor:
    """Fractions of a turn per unit of position, times 2**64, as wrapping int64, [pairs]."""
    return torch.tensor(_integers(spectrum.rows), dtype=torch.int64, device="cpu")


@torch.compiler.assume_constant_result
def theta_of(spectrum: Spectrum) -> Tensor:
    """Radians per unit of position in float64, [pairs]; of float32 precision exactly those float32 numbers."""
    return torch.tensor(_radians(spectrum.rows, spectrum.precision), dtype=torch.float64, device="cpu")


def paired(cos: Tensor, sin: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same numbers side by side in memory, so that together they are a complex tensor without a copy."""
    table = torch.stack([cos, sin], -1).to(dtype)
    cosines, sines = table.unbind(-1)
    return cosines, sines


def widest(device: torch.device | None) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device is not None and device.type == "mps" else torch.float64


def _check_positions(pos: Tensor) -> None:
    """Refuse what cannot count."""
    if pos.dtype in (torch.bfloat16, torch.float16):
        raise ShapeError(explain(
            "positions as integers, float32 or float64", f"{pos.dtype}, which rounds 257 to 256",
            "Make positions before the model is cast: torch.arange(tokens).",
        ))  # fmt: skip


@functools.lru_cache(maxsize=256)
def _integers(rows: tuple[Row, ...]) -> tuple[int, ...]:
    with localcontext(DIGITS):
        exact = Exact()
        turns = [int((theta / exact.turn * (1 << 64)).to_integral_value()) for theta in _all(rows, exact)]
    return tuple((turn + (1 << 63)) % (1 << 64) - (1 << 63) for turn in turns)


@functools.lru_cache(maxsize=256)
def _radians(rows: tuple[Row, ...], precision: Precision) -> tuple[float, ...]:
    numbers = Single() if precision == "float32" else Exact()
    with localcontext(DIGITS):
        return tuple(float(theta) for theta in _all(rows, numbers))


def _all(rows: tuple[Row, ...], numbers: Arithmetic) -> list[Number]:
    return [theta for row in rows for theta in row.frequencies(numbers)]


def rows_of(theta: tuple[float, ...]) -> tuple[Row, ...]:
    """Given frequencies as rows.

    Raises:
        ConfigError: there are none, or one is not finite.
    """
    if not theta or not all(math.isfinite(value) for value in theta):
        raise ConfigError(explain("finite frequencies, one per pair", f"{theta}", "Give radians per position."))
    return (Given(theta),)



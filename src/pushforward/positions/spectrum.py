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

import functools
import math
from dataclasses import dataclass
from decimal import localcontext

import torch
from torch import Tensor

from pushforward._derivatives import constant
from pushforward._errors import ShapeError, explain
from pushforward.positions.arithmetic import DIGITS, Arithmetic, Exact, Number, Precision, Single
from pushforward.positions.extension import Extension, Plain

Row = tuple[float, int, Extension | tuple[float, ...]]
"""Frequencies of consecutive pairs: a base, how many features they turn, and an extension (or the frequencies).

A plain tuple, because `torch.compile` can take its parts for constants.
"""

PLAIN = Plain()


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
            angles = self._along(pos.to(torch.float32)) * theta_of(self.rows, "float32").to(torch.float32).to(
                pos.device
            )
            return paired(angles.cos() * self.amplitude, angles.sin() * self.amplitude, dtype)
        angles = self.phases(pos)
        return paired(angles.cos() * self.amplitude, angles.sin() * self.amplitude, dtype)

    def phases(self, pos: Tensor, less: "Spectrum | None" = None) -> Tensor:
        """Radians [*batch, tokens, pairs], whole turns dropped; what another spectrum gives is subtracted exactly."""
        _check_positions(pos)
        turns, theta = turns_of(self.rows), theta_of(self.rows, self.precision)
        if less is not None:
            turns, theta = turns - turns_of(less.rows), theta - theta_of(less.rows, less.precision)
        wide = widest(pos.device)
        turns, theta = turns.to(pos.device), theta.to(wide).to(pos.device)
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


def turns_of(rows: tuple[Row, ...]) -> Tensor:
    """Fractions of a turn per unit of position, times 2**64, as wrapping int64, [pairs]."""
    return torch.cat([_turns(*row) for row in rows])


def theta_of(rows: tuple[Row, ...], precision: Precision) -> Tensor:
    """Radians per unit of position in float64, [pairs]; of float32 precision exactly those float32 numbers."""
    return torch.cat([_theta(*row, precision) for row in rows])


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


@constant
def _turns(base: float, rotated: int, how: Extension | tuple[float, ...]) -> Tensor:
    return torch.tensor(_integers(base, rotated, how), dtype=torch.int64, device="cpu")


@constant
def _theta(base: float, rotated: int, how: Extension | tuple[float, ...], precision: Precision) -> Tensor:
    return torch.tensor(_radians(base, rotated, how, precision), dtype=torch.float64, device="cpu")


@functools.lru_cache(maxsize=256)
def _integers(base: float, rotated: int, how: Extension | tuple[float, ...]) -> tuple[int, ...]:
    with localcontext(DIGITS):
        exact = Exact()
        fractions = [theta / exact.turn * (1 << 64) for theta in _worked_out(base, rotated, how, exact)]
        return tuple((int(f.to_integral_value()) + (1 << 63)) % (1 << 64) - (1 << 63) for f in fractions)


@functools.lru_cache(maxsize=256)
def _radians(base: float, rotated: int, how: Extension | tuple[float, ...], precision: Precision) -> tuple[float, ...]:
    with localcontext(DIGITS):
        numbers = Single() if precision == "float32" else Exact()
        return tuple(float(theta) for theta in _worked_out(base, rotated, how, numbers))


def _worked_out(base: float, rotated: int, how: Extension | tuple[float, ...], numbers: Arithmetic) -> list[Number]:
    if isinstance(how, tuple):
        return [numbers.number(theta) for theta in how]
    return how.frequencies(base, rotated, numbers)

"""The noise of stochastic solvers, a function of (seed, sample, time).

Nothing is drawn from a running generator: the noise of a step is addressed by the time where it begins, so a sample
gets the same noise in any batch, and a run resumed at its k-th step the same as one that was never stopped.

    White      fresh noise for every step: one draw each, nothing to remember
    Brownian   the increments of one Brownian motion W over [0, 1], whatever the grid: refining the grid refines the
               path instead of drawing another one (strong convergence)

W is built by halving: W(m) of an interval [a, b] with middle m is (W(a) + W(b)) / 2 + sqrt(b - a) / 2 z, with z
addressed by the interval. After `levels` halvings the rest of the way is Brownian bridge noise addressed by the time
itself, right in distribution but known only at the times asked for.

References: Levy 1948 for the construction; Li et al. 2020 (arXiv 2001.01328) for trees addressed by keys.
"""

import abc
import math
import struct
from dataclasses import dataclass, replace

from torch import Tensor

from pushforward._random import Draw, fresh_seed


def address(draw: Draw | None) -> Draw:
    """The given address, or one of a fresh seed."""
    return Draw(fresh_seed(), "solver") if draw is None else draw


class Noise(abc.ABC):
    """A source of noise; a frozen dataclass."""

    @abc.abstractmethod
    def between(self, draw: Draw, x: Tensor, now: float, later: float) -> Tensor:
        """Standard normal noise of x's shape for the step from time `now` to time `later`."""


@dataclass(frozen=True, slots=True)
class White(Noise):
    """Fresh noise for every step."""

    def between(self, draw: Draw, x: Tensor, now: float, later: float) -> Tensor:
        return normal(draw, x, "white", now)


@dataclass(frozen=True, slots=True)
class Brownian(Noise):
    """Increments of one Brownian motion, divided by the root of the time they take.

    Args:
        levels: halvings of [0, 1] before the motion is filled in by the time asked for; grids finer than
            2**-levels no longer refine the same path.
    """

    levels: int = 10

    def between(self, draw: Draw, x: Tensor, now: float, later: float) -> Tensor:
        change = self._motion(draw, x, later) - self._motion(draw, x, now)
        return change / math.sqrt(abs(later - now))

    def _motion(self, draw: Draw, x: Tensor, t: float) -> Tensor:
        """W(t), with W(0) = 0."""
        low, high = 0.0, 1.0
        at_low, at_high = x.new_zeros(x.shape), normal(draw, x, "brownian/end", 1.0)
        for _ in range(self.levels):
            if t in (low, high):
                return at_low if t == low else at_high
            middle = (low + high) / 2
            z = normal(draw, x, "brownian", middle)
            at_middle = (at_low + at_high) / 2 + z * (math.sqrt(high - low) / 2)
            if t >= middle:
                low, at_low = middle, at_middle
            if t <= middle:
                high, at_high = middle, at_middle
        if high == low:
            return at_low
        part = (t - low) / (high - low)
        bridge = normal(draw, x, "brownian/between", t) * math.sqrt((high - low) * part * (1 - part))
        return at_low + part * (at_high - at_low) + bridge


def normal(draw: Draw, x: Tensor, purpose: str, t: float, k: int = 0) -> Tensor:
    """Standard normal noise of x's shape, the k-th for this purpose at time t."""
    moment = int.from_bytes(struct.pack("<d", t), "little")
    here = replace(draw.of(purpose).at(moment + k), device=str(x.device))
    return here.normal(len(x), tuple(x.shape[1:]), x.dtype)

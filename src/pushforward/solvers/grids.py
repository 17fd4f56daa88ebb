"""Where a solver stops on its way: monotone times, as plain numbers.

A grid is even in some clock. Those of time need no path,

    Uniform     t
    Power       (t - end)**(1 / rho)                dense near `end` for rho > 1

those of noise do; with rho_t = sigma / alpha:

    Karras      rho_t**(1 / rho)                    (Karras et al. 2022, rho = 7)
    LogSNR      log(rho_t)                          also called exponential
    Angle       atan(rho_t)                         even steps on the circle of (alpha, sigma)
    Share       rho_t / (scale + rho_t)             even steps of the straight path, whatever the path

and `Chain` stops at whole steps of a discrete path as the diffusers format places them, `Times` and `Angles` where
you say. Where
a path begins in pure noise or ends in clean data, rho_t is infinite or zero, and clocks of noise have no place for
it. The first time is then as given and the even part starts at `most`; the even part ends at `least` and one more
interval goes from there to the end.

References: Karras et al. 2022 (arXiv 2206.00364), Lu et al. 2022 (arXiv 2206.00927) for log-SNR, Lin et al. 2024
(arXiv 2305.08891) for the names of spacings.
"""

import abc
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch

from pushforward._errors import ConfigError, explain
from pushforward.paths import Path


class Grid(abc.ABC):
    """A rule for the times; a frozen dataclass."""

    stops_short: ClassVar[bool] = False
    """Whether its last interval stands for the step to clean data, wherever the path ends."""

    @abc.abstractmethod
    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        """`steps` + 1 times from `start` to `end`, both included exactly (a chain's own spacing may start later)."""


@dataclass(frozen=True, slots=True)
class Uniform(Grid):
    """Equal intervals of time.

    >>> Uniform().times(4, 1.0, 0.0)
    (1.0, 0.75, 0.5, 0.25, 0.0)
    """

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        return (*(start + (end - start) * i / steps for i in range(steps)), end)


@dataclass(frozen=True, slots=True)
class Power(Grid):
    """Intervals that shrink towards the end.

    >>> Power(rho=2.0).times(2, 1.0, 0.0)
    (1.0, 0.25, 0.0)
    """

    rho: float = 2.0

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        done = (1 - (1 - i / steps) ** self.rho for i in range(steps))
        return (*(start + (end - start) * fraction for fraction in done), end)


class _Noise(Grid):
    """Even in a clock of sigma / alpha; the clock is the subclass's."""

    least: float
    most: float

    @abc.abstractmethod
    def clock(self, ratio: float) -> float:
        """What is evenly spaced, rising with the ratio."""

    @abc.abstractmethod
    def ratio(self, reading: float) -> float:
        """The inverse of `clock`."""

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        if path is None:
            fix = "Pass path=, or use the grid Uniform."
            raise ConfigError(explain("a path", f"none for the grid {type(self).__name__}", fix))
        if start < end:
            return tuple(reversed(self.times(steps, end, start, path)))
        c = path.coefficients(torch.tensor([start, end], dtype=torch.float64))
        first, last = (c.sigma / c.alpha).tolist()
        top, low = self.clock(min(first, self.most)), max(last, self.least)
        if self.stops_short and self.ratio(top + (self.clock(self.least) - top) * (steps - 1) / steps) >= last:
            bottom, intervals = self.clock(self.least), steps
        else:  # where the lowest level is not the end, the last interval goes on from there
            bottom, intervals = self.clock(low), steps - (last < self.least)
        inside = [self.ratio(top + (bottom - top) * i / intervals) for i in range(1, steps)]
        ratios = torch.tensor(inside, dtype=torch.float64).clamp(min=last)
        between = path.time_at(torch.ones_like(ratios), ratios).tolist() if inside else []
        return (start, *between, end)


@dataclass(frozen=True, slots=True)
class Karras(_Noise):
    """Even in the rho-th root of the noise level.

    >>> from pushforward.paths import EDM
    >>> [round(t, 3) for t in Karras().times(4, 1.0, 0.0, EDM())]  # EDM's own clock is this one
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    rho: float = 7.0
    least: float = 0.002
    most: float = 80.0

    def clock(self, ratio: float) -> float:
        return ratio ** (1 / self.rho)

    def ratio(self, reading: float) -> float:
        return reading**self.rho


@dataclass(frozen=True, slots=True)
class LogSNR(_Noise):
    """Even in the log of the noise level: equal ratios."""

    least: float = 0.002
    most: float = 80.0

    def clock(self, ratio: float) -> float:
        return math.log(ratio)

    def ratio(self, reading: float) -> float:
        return math.exp(reading)


@dataclass(frozen=True, slots=True)
class Angle(_Noise):
    """Even in the angle of (scale alpha, sigma); `scale` is the noise level that the middle of the grid resolves.

    >>> from pushforward.paths import Cosine
    >>> [round(t, 3) for t in Angle().times(4, 1.0, 0.0, Cosine())]  # the path's own clock
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    scale: float = 1.0
    least: float = 0.0
    most: float = math.inf
    stops_short = True

    def clock(self, ratio: float) -> float:
        return math.atan(ratio / self.scale)

    def ratio(self, reading: float) -> float:
        return math.tan(reading) * self.scale


@dataclass(frozen=True, slots=True)
class Share(_Noise):
    """Even in the time of the straight path; `scale` is the noise level at its middle (its shift, in flow matching).

    >>> from pushforward.paths import Linear
    >>> [round(t, 3) for t in Share().times(4, 1.0, 0.0, Linear())]  # the path's own clock
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    scale: float = 1.0
    least: float = 0.0
    most: float = math.inf
    stops_short = True

    def clock(self, ratio: float) -> float:
        return ratio / (self.scale + ratio) if math.isfinite(ratio) else 1.0

    def ratio(self, reading: float) -> float:
        return self.scale * reading / (1 - reading) if reading < 1 else math.inf


@dataclass(frozen=True, slots=True)
class Angles(Grid):
    """Exactly these angles atan2(sigma, alpha), between the path's own at the start and the end: a grid for every path.

    >>> from pushforward.paths import Cosine
    >>> [round(t, 3) for t in Angles((1.2, 0.4)).times(3, 1.0, 0.0, Cosine())]
    [1.0, 0.764, 0.255, 0.0]
    """

    given: tuple[float, ...]
    stops_short = True

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        given = self.given if start > end else self.given[::-1]
        if path is None or len(given) != steps - 1:
            expected = f"a path and {len(given) + 1} steps for {len(given)} angles"
            raise ConfigError(explain(expected, f"{path} and {steps}", "Pass path=, and set steps."))
        angles = torch.tensor(given, dtype=torch.float64)
        return (start, *(path.time_at(angles.cos(), angles.sin()).tolist() if given else ()), end)


@dataclass(frozen=True, slots=True)
class Chain(Grid):
    """Whole steps of a chain of `length` noise levels, spaced as schedulers in the diffusers format do, then the end.

        leading     0, r, 2 r, ...                 with r = length // steps, upwards from the data
        trailing    length, length - r, ... less 1 with r = length / steps
        linspace    evenly from 0 to length - 1

    Args:
        spacing: one of the three.
        length: levels in the chain.
        offset: added to leading steps (`steps_offset` in checkpoints).

    >>> [round(t * 999) for t in Chain("trailing").times(4, 1.0, 0.0)]
    [999, 749, 499, 249, 0]
    """

    spacing: Literal["leading", "trailing", "linspace"] = "trailing"
    length: int = 1000
    offset: int = 0
    stops_short = True

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        if not 1 <= steps <= self.length or (start, end) != (1.0, 0.0):
            got = f"{steps} from t={start:g} to t={end:g}"
            raise ConfigError(explain(f"1 to {self.length} steps from t=1 to t=0", got, "Use another grid."))
        if self.spacing == "leading":
            places = [i * (self.length // steps) + self.offset for i in range(steps)][::-1]
        elif self.spacing == "trailing":
            places = [round(self.length - i * self.length / steps) - 1 for i in range(steps)]
        else:
            places = [round((self.length - 1) * (1 - i / max(steps - 1, 1))) for i in range(steps)]
        return (*(min(place, self.length - 1) / (self.length - 1) for place in places), end)


@dataclass(frozen=True, slots=True)
class Times(Grid):
    """Exactly these times.

    >>> Times((1.0, 0.4, 0.0)).times(2, 1.0, 0.0)
    (1.0, 0.4, 0.0)
    """

    given: tuple[float, ...]

    def times(self, steps: int, start: float, end: float, path: Path | None = None) -> tuple[float, ...]:
        given = self.given if (self.given[0] - self.given[-1]) * (start - end) > 0 else self.given[::-1]
        if (len(given), given[0], given[-1]) != (steps + 1, start, end):
            expected = f"{steps + 1} times from t={start:g} to t={end:g}"
            got = f"{len(given)} from {given[0]:g} to {given[-1]:g}"
            raise ConfigError(explain(expected, got, "Set steps to one less than the times there are."))
        return given


def checked(times: tuple[float, ...], path: Path | None) -> tuple[float, ...]:
    """The times, if they go one way, and lie in [0, 1] where a path has no others.

    Raises:
        ConfigError: they do not.
    """
    down = times[0] > times[-1]  # one time alone is a grid as well
    one_way = all((now > later) == down and now != later for now, later in pairwise(times))
    if not one_way or not (path is None or all(0 <= t <= 1 for t in times)):
        got = ", ".join(f"{t:g}" for t in times[:8]) + (", ..." if len(times) > 8 else "")
        raise ConfigError(explain("times within [0, 1] that only fall, or only rise", got, "Check the grid."))
    return times

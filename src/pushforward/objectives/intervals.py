"""Between which times a flow map is asked to jump in training.

    Between    t >= s, two draws of one distribution; s = t for a share of them, where u is the velocity     MeanFlow
    ToData     s = 0: only jumps to the end                                                                  consistency
    Halving    t - s = 1, 1/2, 1/4, ... on the grid of that step; s = t for a share                          shortcut
    Stops      one interval of a grid of so many steps                                                       progressive

All times are on the straight path. t of a batch is spread evenly (`paths.Spread`), s and all choices independently.
"""

import abc
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Time
from pushforward.paths import Linear, TimeDistribution, Uniform

_STRAIGHT: Final = Linear()


class Interval(NamedTuple):
    """From t to s, each [batch]; 0 is data, 1 is noise, and s <= t."""

    t: Time
    s: Time


class Intervals(abc.ABC):
    """Where jumps start and land; a frozen dataclass."""

    @abc.abstractmethod
    def sample(self, n: int, draw: Draw, span: tuple[float, float] = (0.0, 1.0)) -> Interval:
        """`n` intervals whose starts lie in the span, in float64."""


@dataclass(frozen=True, slots=True)
class Between(Intervals):
    """Any two times.

    Args:
        times: what both are drawn from; the later is t.
        diagonal: the share of samples with s = t.

    Raises:
        ConfigError: a share outside [0, 1].
    """

    times: TimeDistribution = Uniform()
    diagonal: float = 0.5

    def __post_init__(self) -> None:
        _is_share(self.diagonal)

    def sample(self, n: int, draw: Draw, span: tuple[float, float] = (0.0, 1.0)) -> Interval:
        a = self.times.sample(n, draw.of("time"), _STRAIGHT, span)
        b = self.times.sample(n, draw.of("until"), _STRAIGHT, span, "independent")
        return _with_diagonal(torch.maximum(a, b), torch.minimum(a, b), self.diagonal, draw)


@dataclass(frozen=True, slots=True)
class ToData(Intervals):
    """All the way to t = 0.

    Args:
        times: where the jumps start.
        diagonal: the share of samples with s = t.
    """

    times: TimeDistribution = Uniform()
    diagonal: float = 0.0

    def __post_init__(self) -> None:
        _is_share(self.diagonal)

    def sample(self, n: int, draw: Draw, span: tuple[float, float] = (0.0, 1.0)) -> Interval:
        t = self.times.sample(n, draw.of("time"), _STRAIGHT, span)
        return _with_diagonal(t, torch.zeros_like(t), self.diagonal, draw)


@dataclass(frozen=True, slots=True)
class Halving(Intervals):
    """Steps of 1, 1/2, ..., 2**(1 - levels) of the span, each on its own grid.

    Args:
        levels: how many lengths.
        diagonal: the share of samples with s = t.
    """

    levels: int = 7
    diagonal: float = 0.75

    def __post_init__(self) -> None:
        _is_share(self.diagonal)
        if self.levels < 1:
            raise ConfigError(explain("at least 1 level", str(self.levels), "7 is 128 steps at the finest."))

    def sample(self, n: int, draw: Draw, span: tuple[float, float] = (0.0, 1.0)) -> Interval:
        count = 2.0 ** draw.of("level").integers(n, self.levels).double()
        place = (draw.of("place").uniform(n, dtype=torch.float64) * count).floor()
        low, long = span[0], span[1] - span[0]
        t, s = low + long * (place + 1) / count, low + long * place / count
        anywhere = Uniform().sample(n, draw.of("time"), _STRAIGHT, span)
        here = draw.of("diagonal").uniform(n, dtype=torch.float64) < self.diagonal
        return Interval(torch.where(here, anywhere, t), torch.where(here, anywhere, s))


@dataclass(frozen=True, slots=True)
class Stops(Intervals):
    """One step of the even grid of this many.

    Args:
        steps: intervals of the grid.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(explain("at least 1 step", str(self.steps), "Set steps=1 or more."))

    def sample(self, n: int, draw: Draw, span: tuple[float, float] = (0.0, 1.0)) -> Interval:
        place = draw.of("place").integers(n, self.steps).double()
        low, long = span[0], span[1] - span[0]
        return Interval(low + long * (place + 1) / self.steps, low + long * place / self.steps)


def _with_diagonal(t: Time, s: Time, share: float, draw: Draw) -> Interval:
    here = draw.of("diagonal").uniform(len(t), dtype=torch.float64) < share
    return Interval(t, torch.where(here, t, s))


def _is_share(diagonal: float) -> None:
    if not 0 <= diagonal <= 1:
        raise ConfigError(explain("a share of 0 to 1", f"diagonal={diagonal}", "Half is a good start."))

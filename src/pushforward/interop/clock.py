"""How our time becomes theirs, and back.

Affine      offset + slope t       slope < 0 where their time runs from noise to data
Steps       t (T - 1)              the place in a table of T levels
NoiseLevel  sigma / alpha          the noise itself, as denoisers of the exploding kind are told
"""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time
from pushforward.paths import Discrete, Path


class Clock(abc.ABC):
    """A change of time; a frozen dataclass."""

    @property
    def reversed(self) -> bool:
        """Whether their time runs from noise to data."""
        return False

    @abc.abstractmethod
    def theirs(self, t: Time, path: Path) -> Tensor:
        """Their time at ours, [batch]."""

    @abc.abstractmethod
    def ours(self, time: Tensor, path: Path) -> Time:
        """Our time at theirs, [batch]."""


@dataclass(frozen=True, slots=True)
class Affine(Clock):
    """offset + slope t.

    >>> Affine(1.0, -1.0).theirs(torch.tensor([0.25]), path=None)  # data at 1
    tensor([0.7500])
    """

    offset: float = 0.0
    slope: float = 1.0

    @property
    def reversed(self) -> bool:
        return self.slope < 0

    def theirs(self, t: Time, path: Path) -> Tensor:
        return self.offset + self.slope * t

    def ours(self, time: Tensor, path: Path) -> Time:
        return (time - self.offset) / self.slope


@dataclass(frozen=True, slots=True)
class Steps(Clock):
    """The place in the table of a `paths.Discrete`: 0 to T - 1, real, or rounded if `whole`.

    Args:
        whole: hand over whole numbers (int64), for networks that look their time up.
    """

    whole: bool = False

    def theirs(self, t: Time, path: Path) -> Tensor:
        place = t * (_length(path) - 1)
        return place.round().long() if self.whole else place

    def ours(self, time: Tensor, path: Path) -> Time:
        return time / (_length(path) - 1)


@dataclass(frozen=True, slots=True)
class NoiseLevel(Clock):
    """sigma / alpha."""

    def theirs(self, t: Time, path: Path) -> Tensor:
        c = path.coefficients(t)
        return c.sigma / c.alpha

    def ours(self, time: Tensor, path: Path) -> Time:
        return path.time_at(torch.ones_like(time), time)


def _length(path: Path) -> int:
    if not isinstance(path, Discrete):
        raise ConfigError(explain("a paths.Discrete for a time in steps", repr(path), "Pass time=Affine(0, 999)."))
    return path.steps

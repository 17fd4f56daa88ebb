"""What a solver yields: where a sample is on its way, as an immutable value.

A solver is a generator of states. `for state in solver.trajectory(field, x)` streams them;
`trajectory.send(x)` replaces the current x and goes on exactly as if it had started there; the generator's
return value is the final x. Nothing is kept between calls, so generators interleave and threads share solvers.
"""

import abc
from collections.abc import Callable, Generator
from dataclasses import dataclass

from torch import Tensor

from pushforward._typing import Sample, Time
from pushforward.paths.path import Path

Field = Callable[[Tensor, Tensor], Tensor]
"""A velocity field: (x [batch, *event], t [batch]) -> dx/dt [batch, *event]."""


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a trajectory.

    Args:
        x: the samples now, [batch, *event].
        t: their times, [batch]; 0 is data, 1 is noise.
        x0: where the last network call believed they will end, [batch, *event].
        nfe: network calls made so far (the largest over the batch where samples differ).
    """

    x: Sample
    t: Time
    x0: Sample
    nfe: int


Trajectory = Generator[State, Sample | None, Sample]
"""Yields states, takes an edited x by `send`, returns the final x."""


def drain(trajectory: Trajectory) -> Sample:
    """Run a trajectory to its end and return the final x."""
    while True:
        try:
            next(trajectory)
        except StopIteration as stop:
            return stop.value


class Solver(abc.ABC):
    """A method that follows a velocity field; a frozen dataclass of its settings."""

    @abc.abstractmethod
    def trajectory(
        self, field: Field, x: Sample, start: float = 1.0, end: float = 0.0, path: Path | None = None
    ) -> Trajectory:
        """Follow the field from `start` to `end`: noise to data by default, data to noise with start 0, end 1.

        Args:
            field: the velocity, (x [batch, *event], t [batch]) -> [batch, *event].
            x: where to start, [batch, *event].
            start, end: the first and the last time.
            path: the path the field belongs to, by which `State.x0` is told; straight lines if None.

        Yields:
            One `State` after each interval.
        """

"""What a solver yields: where a sample is on its way, as an immutable value.

A solver is a generator of states. `for state in solver.trajectory(field, x)` streams them;
`trajectory.send(x)` replaces the current x and goes on exactly as if it had started there; the generator's
return value is the final x. Nothing is kept between calls, so generators interleave and threads share solvers.
"""

import abc
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import Sample, Time
from pushforward.paths import Path, Prediction, velocity

Field = Callable[[Tensor, Tensor], Tensor]
"""What a model says along a path: (x [batch, *event], t [batch]) -> [batch, *event], by default dx/dt."""


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a trajectory.

    Args:
        x: the samples now, [batch, *event].
        t: their times, [batch]; 0 is data, 1 is noise.
        end: where the last network call believed they will end, or how to compute it; read it as `x0`.
        nfe: network calls made so far (the largest over the batch where samples differ).
    """

    x: Sample
    t: Time
    end: Sample | Callable[[], Sample]
    nfe: int

    @property
    def x0(self) -> Sample:
        """Where the last network call believed the samples will end, [batch, *event]; computed when it is read."""
        return self.end if isinstance(self.end, Tensor) else self.end()


Trajectory = Generator[State, Sample | None, Sample]
"""Yields states, takes an edited x by `send`, returns the final x."""


def drain(trajectory: Trajectory) -> Sample:
    """Run a trajectory to its end and return the final x."""
    return counted(trajectory)[0]


def counted(trajectory: Trajectory) -> tuple[Sample, int]:
    """Run a trajectory to its end and return the final x and the network calls it took."""
    nfe = 0
    while True:
        try:
            nfe = next(trajectory).nfe
        except StopIteration as stop:
            return stop.value, nfe


class Solver(abc.ABC):
    """A method that follows a field; a frozen dataclass of its settings."""

    open_end: ClassVar[bool] = False
    """Whether it never asks the field at `end`, so that it may end where the velocity is infinite."""

    @abc.abstractmethod
    def trajectory(
        self,
        field: Field,
        x: Sample,
        start: float = 1.0,
        end: float = 0.0,
        path: Path | None = None,
        prediction: Prediction = velocity,
        draw: Draw | None = None,
    ) -> Trajectory:
        """Follow the field from `start` to `end`: noise to data by default, data to noise with start 0, end 1.

        Args:
            field: what a model says, (x [batch, *event], t [batch]) -> [batch, *event].
            x: where to start, [batch, *event].
            start, end: the first and the last time.
            path: the path the field belongs to; straight lines if None, which only velocities can follow.
            prediction: what the field's output is: a row of the table of predictions.
            draw: the address of the noise of solvers that need some; a fresh seed if None.

        Yields:
            One `State` after each interval.

        Raises:
            ConfigError: settings or times that do not fit the path.
            ShapeError: a field whose output is not of x's shape, or a start that is not finite.
        """


class Frugal(Solver):
    """A solver that also differentiates a whole solve in memory that does not grow with its steps."""

    @abc.abstractmethod
    def follow(
        self, field: Field, x: Sample, start: float, end: float, weights: Sequence[Tensor]
    ) -> tuple[Sample, int]:
        """The end of the trajectory of a velocity, with gradients for x and `weights`, and the calls it took.

        Args:
            field: the velocity.
            x: where to start, [batch, *event].
            start, end: the first and the last time.
            weights: everything else that the field depends on and that may want a gradient.
        """

"""One-step solvers of fixed order: each is a tableau, the loop is written once.

    k_i = f(x + h sum_j a_ij k_j, t + c_i h),      x <- x + h sum_i b_i k_i

    solver    order   network calls a step
    Euler     1       1        (DDIM, on the straight path)
    Midpoint  2       2
    Heun      2       2
    RK4       4       4

A network that outputs something else is turned into a velocity, f = a x + b m, with numbers worked out once.

Reference: Hairer, Norsett and Wanner 1993, "Solving Ordinary Differential Equations I".
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Path, Prediction, velocity
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.estimate import estimate_x0
from pushforward.solvers.grids import Grid, Uniform, checked
from pushforward.solvers.levels import bridges, levels, velocity_needs
from pushforward.solvers.state import Field, Solver, State, Trajectory


@dataclass(frozen=True, slots=True)
class Tableau:
    """Butcher's tableau: rows of `a` for stages 2, 3, ..., and the weights `b`. The nodes are the row sums."""

    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]

    @property
    def nodes(self) -> tuple[float, ...]:
        """The stages' times as fractions of the step."""
        return (0.0, *(sum(row) for row in self.matrix))


@dataclass(frozen=True)
class RungeKutta(Solver):
    """A fixed number of steps over a grid of times.

    Args:
        steps: intervals, at least 1.
        grid: where the times lie.
    """

    steps: int = 20
    grid: Grid = Uniform()
    tableau: ClassVar[Tableau]

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"Expected at least 1 step; got {self.steps}. Set steps=1 or more.")

    @property
    def nfe(self) -> int:
        """Network calls of a whole trajectory."""
        return self.steps * len(self.tableau.weights)

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
        velocity_needs(path, prediction)
        times = checked(self.grid.times(self.steps, start, end, path), path)
        stages = _stages(self.tableau, times, path, prediction)
        check_state(x)
        for step, (now, later) in enumerate(pairwise(times)):
            slopes = list[Tensor]()
            for row, (t, a, b) in zip(((), *self.tableau.matrix), stages[step]):
                at = _along(x, slopes, row, later - now)
                m = field(at, at.new_full((len(at),), t))
                slopes.append(m if (a, b) == (0.0, 1.0) else (at * a).add_(m, alpha=b))
            if step == 0:
                check_output(slopes[0], x)
            told = partial(_told, x, slopes[0], now, path)
            x = _along(x, slopes, self.tableau.weights, later - now)
            edited = yield State(x, x.new_full((len(x),), later), told, (step + 1) * len(self.tableau.weights))
            if edited is not None:
                check_state(edited)
                x = edited
        return x


@dataclass(frozen=True)
class Euler(RungeKutta):
    """First order, one call a step. On a perfectly straight flow one step is exact.

    >>> from pushforward.solvers.state import drain
    >>> drain(Euler(steps=1).trajectory(lambda x, t: x - 3.0, torch.ones(1, 1)))  # 1 - (1 - 3)
    tensor([[3.]])
    """

    tableau = Tableau((), (1.0,))


@dataclass(frozen=True)
class Midpoint(RungeKutta):
    """Second order, two calls a step; never evaluates the field at the end of the path."""

    tableau = Tableau(((0.5,),), (0.0, 1.0))


@dataclass(frozen=True)
class Heun(RungeKutta):
    """Second order, two calls a step: the trapezoid. EDM's own, in the noise level, is `Karras`."""

    tableau = Tableau(((1.0,),), (0.5, 0.5))


@dataclass(frozen=True)
class RK4(RungeKutta):
    """Fourth order, four calls a step; the choice for likelihoods on smooth fields."""

    tableau = Tableau(((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


_Stage = tuple[float, float, float]
"""The time of a stage, and (a, b) of the velocity a x + b m there."""


@lru_cache(maxsize=256)
def _stages(
    tableau: Tableau, times: tuple[float, ...], path: Path | None, prediction: Prediction
) -> tuple[tuple[_Stage, ...], ...]:
    """The stages of every interval."""
    each = [[now + node * (later - now) for node in tableau.nodes] for now, later in pairwise(times)]
    flat = [t for row in each for t in row]
    if path is not None:  # a sum of fractions may leave the path by a rounding
        flat = [min(max(t, 0.0), 1.0) for t in flat]
    if path is None or prediction == velocity:
        rows: tuple[tuple[float, float], ...] = ((0.0, 1.0),) * len(flat)
    else:
        rows = bridges(levels(path, flat), prediction, velocity)
    stages, width = [(t, *row) for t, row in zip(flat, rows)], len(tableau.nodes)
    return tuple(tuple(stages[k : k + width]) for k in range(0, len(stages), width))


def _along(x: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: float) -> Tensor:
    for slope, weight in zip(slopes, weights):
        if weight:
            x = torch.add(x, slope, alpha=weight * h)
    return x


def _told(x: Tensor, slope: Tensor, t: float, path: Path | None) -> Tensor:
    return estimate_x0(x, slope, x.new_full((len(x),), t), path)

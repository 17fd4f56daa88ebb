"""One-step solvers of fixed order: each is a tableau, the loop is written once.

    k_i = f(x + h sum_j a_ij k_j, t + c_i h),      x <- x + h sum_i b_i k_i

    solver    order   network calls a step
    Euler     1       1        (DDIM, on the straight path)
    Midpoint  2       2
    Heun      2       2
    RK4       4       4

Reference: Hairer, Norsett and Wanner 1993, "Solving Ordinary Differential Equations I".
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from pushforward._errors import ConfigError
from pushforward._typing import Sample
from pushforward.paths.path import Path
from pushforward.solvers.estimate import estimate_x0
from pushforward.solvers.grids import Grid, Uniform
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
        self, field: Field, x: Sample, start: float = 1.0, end: float = 0.0, path: Path | None = None
    ) -> Trajectory:
        times = self.grid.times(self.steps, start, end)
        for step, (now, later) in enumerate(pairwise(times), 1):
            first = field(x, _full(x, now))
            x0 = estimate_x0(x, first, _full(x, now), path)
            x = self._step(field, x, first, now, later - now)
            edited = yield State(x, _full(x, later), x0, step * len(self.tableau.weights))
            x = x if edited is None else edited
        return x

    def _step(self, field: Field, x: Sample, first: Tensor, t: float, h: float) -> Sample:
        slopes = [first]
        for node, row in zip(self.tableau.nodes[1:], self.tableau.matrix):
            slopes.append(field(_along(x, slopes, row, h), _full(x, t + node * h)))
        return _along(x, slopes, self.tableau.weights, h)


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
    """Second order, two calls a step: the trapezoid that EDM made popular (Karras et al. 2022, arXiv 2206.00364)."""

    tableau = Tableau(((1.0,),), (0.5, 0.5))


@dataclass(frozen=True)
class RK4(RungeKutta):
    """Fourth order, four calls a step; the choice for likelihoods on smooth fields."""

    tableau = Tableau(((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


def _along(x: Tensor, slopes: list[Tensor], weights: tuple[float, ...], h: float) -> Tensor:
    for slope, weight in zip(slopes, weights):
        if weight:
            x = torch.add(x, slope, alpha=weight * h)
    return x


def _full(x: Tensor, t: float) -> Tensor:
    return x.new_full((len(x),), t)

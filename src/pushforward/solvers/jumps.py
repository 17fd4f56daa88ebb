"""Jumping along a flow map: no integration, one network call for each jump.

    x_s = x_t + (s - t) u(x_t, t, s)

over a grid of times, on the straight path. With `renoise` g > 0 a jump goes deeper than the grid's next time, and fresh
noise brings the sample back up to it,

    rho' = sqrt(1 - g**2) rho_s,     x_s = (1 - s) (x' / (1 - t')) + g rho_s (1 - s) z,      rho = t / (1 - t),

so that errors of earlier jumps are forgotten: g = 1 is the multistep sampling of consistency models, g = 0 follows the
flow. The last jump is never noised. Where a model starts from something else than noise, only g = 0 is right.

References: Song et al. 2023 (arXiv 2303.01469, algorithm 1); Kim et al. 2023 (arXiv 2310.02279, algorithm 3).
"""

import abc
import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample, Time
from pushforward.paths import Path, Prediction, velocity
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.grids import Grid, Uniform, checked
from pushforward.solvers.noise import address, normal
from pushforward.solvers.state import Field, Solver, State, Trajectory


class FlowField(abc.ABC):
    """A field that knows two times: as (x, t) the velocity, which any solver follows, and the average over a jump."""

    @abc.abstractmethod
    def __call__(self, x: Sample, t: Time) -> Sample:
        """dx/dt at time t, [batch, *event]."""

    @abc.abstractmethod
    def average(self, x: Sample, t: Time, s: Time) -> Sample:
        """(x_s - x_t) / (s - t) on the trajectory through x at time t, [batch, *event]."""


@dataclass(frozen=True)
class Jumps(Solver):
    """The solver of flow maps: one network call a jump.

    Args:
        steps: jumps, at least 1.
        grid: where they land.
        renoise: g, from 0 (the flow) to 1 (fresh noise after each jump but the last).

    Raises:
        ConfigError: no steps, or a renoise outside [0, 1].
    """

    steps: int = 1
    grid: Grid = Uniform()
    renoise: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.renoise <= 1:
            raise ConfigError(explain("at least 1 step and a renoise of 0 to 1", f"{self}", "Change it."))

    @property
    def nfe(self) -> int:
        """Network calls of a whole trajectory."""
        return self.steps

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
        if not isinstance(field, FlowField) or prediction != velocity:
            got = f"{type(field).__name__} of {prediction.name}"
            raise ConfigError(explain("a flow map to jump along", got, "Use FlowMap.of(model), or another solver."))
        times, draw = checked(self.grid.times(self.steps, start, end, path), path), address(draw)
        check_state(x)
        for step, (now, later) in enumerate(pairwise(times)):
            lands = later if step == self.steps - 1 or later > now else _deeper(later, self.renoise)
            u = field.average(x, x.new_full((len(x),), now), x.new_full((len(x),), lands))
            if step == 0:
                check_output(u, x)
            told = partial(_told, x, u, now)
            x = x + (lands - now) * u
            if lands != later:
                kept, rho = (1 - later) / (1 - lands), self.renoise * later
                x = kept * x + rho * normal(draw, x, "renoise", now)
            edited = yield State(x, x.new_full((len(x),), later), told, step + 1)
            if edited is not None:
                check_state(edited)
                x = edited
        return x


def _deeper(t: float, renoise: float) -> float:
    """The time whose noise level is sqrt(1 - renoise**2) of t's; t itself without renoise."""
    if not renoise:
        return t
    rho = math.sqrt(1 - renoise**2) * t
    return rho / (1 - t + rho)


def _told(x: Tensor, u: Tensor, t: float) -> Tensor:
    return x - t * u

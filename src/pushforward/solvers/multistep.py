"""Multistep solvers: every one is rows of numbers, and the loop over them is written once.

A network's output m is linear in what a solver holds on to (x0, eps or v), and so is every step of every solver of this
kind. At the i-th of its times, with h_i = a x + b m what is held there and z fresh noise,

    x <- A x + M m + sum_j B_j h_{i-j} + C z,           j = 0, 1, ...

(A method that first corrects its last step, x <- x + sum_j f_j h_{i-j}, has A f_j + B_j for B_j.) The numbers depend
on the path, the grid and the method and not on the samples, so they are worked out once, in double precision; a step is
one multiplication and a few additions in place. After an edit by `send` nothing earlier is known to be true, and the
steps that follow are planned as if the edit were a start.

`Linear` is the loop. A method says what it holds and what its steps are; see `exponential`, `dpm`, `ancestral`,
`tuned`."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from pushforward._errors import ConfigError, ConversionError
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Path, Prediction, velocity, x0
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.grids import Grid, Uniform
from pushforward.solvers.levels import Level, bridges, grid_levels, needs_path
from pushforward.solvers.noise import Noise, White, address
from pushforward.solvers.state import Field, Solver, State, Trajectory


@dataclass(frozen=True, slots=True)
class Step:
    """What is done at one time of the grid, in the module's letters.

    Args:
        x, m: A and M.
        held: B, the newest first.
        noise: C.
        hold: (a, b).
    """

    x: float
    m: float = 0.0
    held: tuple[float, ...] = ()
    noise: float = 0.0
    hold: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Linear(Solver):
    """A solver whose steps are rows of numbers.

    Args:
        steps: network calls, at least 1.
        grid: where they are made.
        clean: let the last interval end in clean data (alpha = 1, sigma = 0) even where the path ends above them, as
            VE, EDM and discrete paths do; otherwise it ends where the path does.
        noise: where noise comes from, in methods that add some.
    """

    steps: int = 20
    grid: Grid = Uniform()
    clean: bool = True
    noise: Noise = White()
    open_end = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"Expected at least 1 step; got {self.steps}. Set steps=1 or more.")
        self.validate()

    @abc.abstractmethod
    def validate(self) -> None:
        """Refuse settings of the method's own that make no sense."""

    @property
    def nfe(self) -> int:
        """Network calls of a whole trajectory."""
        return self.steps

    @abc.abstractmethod
    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        """The step from node i to the next.

        Args:
            nodes: the grid, one level more than there are steps.
            i: which node the samples are at.
            first: the first node whose held value is known.
            prediction: what the network outputs.
            path: the path the nodes lie on.
        """

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
        key = (self, needs_path(path, self), prediction, start, end)
        plan = _planned(*key, 0)
        check_state(x)
        noise = address(draw) if any(step.noise for step in plan.steps) else draw
        held, t = list[Tensor](), x.new_full((len(x),), plan.nodes[0].t)
        for i, (now, later) in enumerate(pairwise(plan.nodes)):
            m = field(x, t)
            if i == 0:
                check_output(m, x)
            step, tell, t = plan.steps[i], partial(told, x, m, plan.ends[i], now), x.new_full((len(x),), later.t)
            x = _advance(x, m, step, held, plan.depth)
            if step.noise:
                x.add_(self.noise.between(address(noise), x, now.t, later.t), alpha=step.noise)
            edited = yield State(x, t, tell, i + 1)
            if edited is not None:
                check_state(edited)
                x, plan = edited, _planned(*key, i + 1)
                held.clear()
        return x


class _Plan(NamedTuple):
    """A method laid out on a grid: the steps before the first known node are never taken."""

    nodes: tuple[Level, ...]
    steps: tuple[Step, ...]
    ends: tuple[tuple[float, float], ...]
    depth: int


@lru_cache(maxsize=256)
def _planned(solver: Linear, path: Path, prediction: Prediction, start: float, end: float, first: int) -> _Plan:
    nodes = grid_levels(solver.grid, solver.steps, path, start, end, solver.clean)
    steps = [Step(1.0)] * first
    steps += [solver.step(nodes, i, first, prediction, path) for i in range(first, len(nodes) - 1)]
    ends = bridges(nodes[:-1], prediction, x0, strict=False)
    depth = max((len(step.held) for step in steps), default=0)
    return _Plan(nodes, tuple(steps), ends, depth)


def _advance(x: Tensor, m: Tensor, step: Step, held: list[Tensor], depth: int) -> Tensor:
    """One step as a fresh tensor. What is held of this call joins the front of `held`, `depth` values in all."""
    (a, b), newest = step.hold, step.held[0] if step.held else 0.0
    if depth > 1:
        held.insert(0, m if step.hold == (0.0, 1.0) else combine(x, m, a, b))
        del held[depth:]
    new = combine(x, m, step.x + newest * a, step.m + newest * b)
    for weight, h in zip(step.held[1:], held[1:]):
        new.add_(h, alpha=weight)
    return new


def combine(x: Tensor, m: Tensor, a: float, b: float) -> Tensor:
    """a x + b m, a fresh tensor."""
    if a == 0:
        return m * b
    return (x * a).add_(m, alpha=b) if b else x * a


def told(x: Tensor, m: Tensor, row: tuple[float, float], here: Level) -> Tensor:
    """x0 = a x + b m at a level.

    Raises:
        ConversionError: the row is not known.
    """
    a, b = row
    if a != a:
        raise ConversionError(
            f"The network's output says nothing about x0 at t={here.t:g}: alpha is {here.alpha:g} and sigma "
            f"{here.sigma:g} there. Read `x0` of a later state."
        )
    return combine(x, m, a, b)

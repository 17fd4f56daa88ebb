"""An algebraically reversible solver: what it encodes it decodes, to rounding, whatever the field.

Two copies of the state, y and its twin w, lean on each other. With Psi_h(y) the increment of the midpoint rule over h
and 0 < coupling c <= 1,

    there     y' = c y + (1 - c) w + Psi_h(w),        w' = w - Psi_{-h}(y')
    back      w  = w' + Psi_{-h}(y'),                 y  = (y' - (1 - c) w - Psi_h(w)) / c

Each line uses what both directions have, so one undoes the other exactly, however far both are from the flow; and they
follow it with the midpoint rule's order 2. Rounding grows like c**-steps on the way back, so c stays near 1.

The rule works where every path is regular, on the circle: y = x / s against theta = atan2(sigma, alpha), dy = (v / s)
dtheta with s = hypot(alpha, sigma) and v = alpha eps - sigma x0.

References: Kidger et al. 2021 (arXiv 2105.13493), McCallum and Foster 2024 (arXiv 2410.11648).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Path, Prediction, v, velocity, x0
from pushforward.solvers import grids
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.grids import Grid
from pushforward.solvers.levels import Level, bridges, grid_levels, levels, needs_path
from pushforward.solvers.multistep import combine, told
from pushforward.solvers.state import Field, Solver, State, Trajectory


@dataclass(frozen=True, slots=True)
class Pair:
    """A state and its twin, which `Reversible` needs to go back exactly, each [batch, *event]."""

    x: Sample
    twin: Sample


@dataclass(frozen=True)
class Reversible(Solver):
    """The midpoint rule in a form that can be undone. Four network calls a step.

    As any solver it takes and gives x alone. `encode` and `decode` keep the twin and undo each other to rounding.

    Args:
        steps: intervals.
        grid: where they end.
        coupling: c; 1 is least damped.

    >>> field = lambda x, t: torch.sin(3 * x) - t[:, None]
    >>> from pushforward.paths import Linear
    >>> x, solver = torch.linspace(-1, 1, 4).double()[:, None], Reversible(steps=20)
    >>> pair = solver.encode(field, x, path=Linear())
    >>> bool((solver.decode(field, pair, path=Linear()) - x).abs().max() < 1e-12)
    True
    """

    steps: int = 20
    grid: Grid = grids.Uniform()
    coupling: float = 0.999

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.coupling <= 1:
            got = f"{self.steps} and {self.coupling}"
            raise ConfigError(explain("at least 1 step and a coupling in (0, 1]", got, "Change it."))

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
        twin, nfe = x, 0
        check_state(x)
        for h, here, middle, later in _intervals(self, start, end, needs_path(path, self), prediction):
            x, twin, m = self._there(field, Pair(x, twin), h, here, middle, later)
            nfe += 4
            tell = partial(told, *m, here.x0, here.level)
            edited = yield State(x, x.new_full((len(x),), later.level.t), tell, nfe)
            if edited is not None:
                check_state(edited)
                x = twin = edited
        return x

    def encode(
        self,
        field: Field,
        x: Sample,
        start: float = 0.0,
        end: float = 1.0,
        path: Path | None = None,
        prediction: Prediction = velocity,
    ) -> Pair:
        """From data to noise with the twin; arguments as for `trajectory`."""
        pair = Pair(x, x)
        for interval in _intervals(self, start, end, needs_path(path, self), prediction):
            x, twin, _ = self._there(field, pair, *interval)
            pair = Pair(x, twin)
        return pair

    def decode(
        self,
        field: Field,
        pair: Pair,
        start: float = 1.0,
        end: float = 0.0,
        path: Path | None = None,
        prediction: Prediction = velocity,
    ) -> Sample:
        """Back to what `encode` was given, with the same settings and the ends exchanged."""
        y, w, c = pair.x, pair.twin, self.coupling
        for h, here, middle, later in reversed(list(_intervals(self, end, start, needs_path(path, self), prediction))):
            y, w = y / later.level.size, w / later.level.size
            w = w + _increment(field, y, -h, later, middle)[0]
            y = (y - (1 - c) * w - _increment(field, w, h, here, middle)[0]) / c
            y, w = y * here.level.size, w * here.level.size
        return y

    def _there(
        self, field: Field, pair: Pair, h: float, here: "_Node", middle: "_Node", later: "_Node"
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        y, w = pair.x / here.level.size, pair.twin / here.level.size
        change, m = _increment(field, w, h, here, middle)
        y = self.coupling * y + (1 - self.coupling) * w + change
        w = w - _increment(field, y, -h, later, middle)[0]
        return y * later.level.size, w * later.level.size, (pair.twin, m)


@dataclass(frozen=True, slots=True)
class _Node:
    """A level, how the network's output there becomes v / s, and how it becomes x0."""

    level: Level
    v: tuple[float, float]
    x0: tuple[float, float]


def _increment(field: Field, y: Tensor, h: float, here: _Node, middle: _Node) -> tuple[Tensor, Tensor]:
    """Psi_h(y) from node `here` on, and the network's first output."""
    x = y * here.level.size
    m = field(x, x.new_full((len(x),), here.level.t))
    check_output(m, x)
    between = (y + h / 2 * combine(x, m, *here.v)) * middle.level.size
    again = field(between, x.new_full((len(x),), middle.level.t))
    return h * combine(between, again, *middle.v), m


def _intervals(
    solver: Reversible, start: float, end: float, path: Path, prediction: Prediction
) -> Iterator[tuple[float, _Node, _Node, _Node]]:
    """(h, here, middle, later) of each interval, in angles."""
    ends = grid_levels(solver.grid, solver.steps, path, start, end, clean=False)
    turns = torch.tensor([(a.angle + b.angle) / 2 for a, b in pairwise(ends)], dtype=torch.float64)
    middles = levels(path, path.time_at(turns.cos(), turns.sin()).clamp(0, 1).tolist())
    nodes = [_nodes(each, prediction) for each in (ends, middles)]
    for here, middle, later in zip(nodes[0], nodes[1], nodes[0][1:]):
        yield later.level.angle - here.level.angle, here, middle, later


def _nodes(at: tuple[Level, ...], prediction: Prediction) -> list[_Node]:
    rows, ends = bridges(at, prediction, v), bridges(at, prediction, x0, strict=False)
    return [_Node(level, (a / level.size, b / level.size), end) for level, (a, b), end in zip(at, rows, ends)]

"""Solvers whose grid and weights were fitted to one model: non-stationary linear multistep.

Every node of the grid has weights of its own. In coordinates of one size, y = x / s with s = hypot(alpha, sigma), and
with h what is held (see `exponential`),

    y_{i+1} = A_i y_i + sum_j B_ij h_{i-j},       j = 0, ..., memory - 1

so the numbers do not depend on the path: a model moved to another path keeps its solver. An exponential method, with
its correction or without, is one choice of A and B (`weights_of`); `models.tune` starts there and fits the rest.

References: Shaul et al. 2024 (arXiv 2403.01329) for solvers with free weights at each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pushforward._errors import ConfigError, explain
from pushforward.paths import Path, Prediction
from pushforward.solvers.exponential import HELD, Exponential, Hold
from pushforward.solvers.levels import Level, grid_levels
from pushforward.solvers.multistep import Linear, Step

Weights = tuple[tuple[float, ...], ...]
"""(A, B_0, B_1, ...) of each node."""


@dataclass(frozen=True)
class Tuned(Linear):
    """A multistep method with weights of its own at every node of its grid.

    After an edit by `send` the values its weights were fitted for are gone; it goes on with the exponential method of
    order 2 that holds the same.

    Args:
        weights: (A, B_0, B_1, ...) for each of the steps.
        hold: what B multiplies.
    """

    weights: Weights = ()
    hold: Hold = "v"

    def validate(self) -> None:
        if len(self.weights) != self.steps or self.hold not in HELD:
            got = f"{len(self.weights)} rows for {self.steps} steps, hold {self.hold!r}"
            raise ConfigError(
                explain(f"a row of weights for each step, and hold of {', '.join(HELD)}", got, "Tune anew.")
            )

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        plain = Exponential(self.steps, order=2, hold=self.hold, clock="angle").step(nodes, i, first, prediction, path)
        if first > 0:
            return plain
        carried, *held = self.weights[i]
        here, later = nodes[i], nodes[i + 1]
        return Step(
            carried * later.size / here.size, held=tuple(later.size * weight for weight in held), hold=plain.hold
        )


def weights_of(solver: Exponential, path: Path, start: float = 1.0) -> tuple[tuple[float, ...], Weights]:
    """An exponential method from `start` on as (angles of its inner nodes, weights), whatever the prediction.

    Raises:
        ConfigError: it holds what the path's start does not determine.
    """
    nodes = grid_levels(solver.grid, solver.steps, path, start, 0.0, solver.clean)
    rows = list[tuple[float, ...]]()
    for i, (here, later) in enumerate(pairwise(nodes)):
        step = solver.step(nodes, i, 0, HELD[solver.hold], path)
        if step.m:
            got = f"hold={solver.hold!r} on {path}"
            raise ConfigError(explain("a method that can carry x from the start", got, "Hold v, flow or x0."))
        rows.append((step.x * here.size / later.size, *(weight / later.size for weight in step.held)))
    return tuple(node.angle for node in nodes[1:-1]), tuple(rows)

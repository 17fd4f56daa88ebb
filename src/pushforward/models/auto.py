"""The best solver for a model and a budget of network calls, found from trajectories of the model itself.

A few starts z are followed to their ends x_ref with many calls; then what matters is the distance between where a
solver takes a start and where the flow does,

    error(solver) = sqrt( mean |x_N - x_ref|**2 / mean |x_ref|**2 ).

`auto` chooses among `Exponential` methods and grids by it: first the grid, whose one number is the noise level
`scale` that its middle resolves (it sets the error by a factor of ten and more), then what is held, the clock, the
order and the correction, then the scale again by golden section. The error it reports is that on starts it has not
seen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample
from pushforward.models.diffusion import Diffusion
from pushforward.solvers import Exponential, Linear, grids
from pushforward.solvers.exponential import HELD, Clock, Hold

_METHODS: tuple[tuple[Hold, Clock, int, bool], ...] = (
    ("v", "angle", 2, False), ("x0", "angle", 2, True), ("v", "linear", 2, False), ("v", "angle", 3, False),
    ("v", "angle", 1, True), ("v", "angle", 2, True), ("v", "angle", 3, True), ("v", "linear", 3, True),
    ("x0", "angle", 2, False), ("x0", "angle", 3, True), ("x0", "log_snr", 2, False), ("x0", "log_snr", 2, True),
    ("flow", "linear", 2, False), ("flow", "linear", 3, False), ("flow", "linear", 2, True),
    ("flow", "linear", 3, True), ("eps", "ratio", 3, False), ("eps", "angle", 2, True),
)  # fmt: skip
_SCALES = tuple(0.05 * 2 ** (k / 2) for k in range(15))


@dataclass(frozen=True, slots=True)
class Choice:
    """A solver and what it was measured to do.

    Args:
        solver: immutable; `solvers.save` writes it.
        error: relative root mean square distance to the flow's own ends, on starts the search did not see.
        median: the median of that distance over those starts.
        calls: network calls of one trajectory.
        spent: network calls of the search, each on `samples` starts or fewer.
        samples: starts used.
    """

    solver: Linear
    error: float
    median: float
    calls: int
    spent: int
    samples: int

    def __str__(self) -> str:
        return (
            f"{self.calls} calls: error {self.error:.2g} (median {self.median:.2g}) on unseen starts, "
            f"after {self.spent:,} calls on up to {self.samples} starts\n{self.solver}"
        )


@torch.no_grad()
def auto(
    model: Diffusion,
    calls: int,
    context: Context = None,
    samples: int = 256,
    seed: int = 0,
    progress: bool = False,
) -> Choice:
    """The grid and the method with the smallest error for `calls` network calls.

    Args:
        model: any `Diffusion`; what its network predicts and on which path does not matter.
        calls: network calls of one trajectory, at least 1.
        context: what to condition on, [samples, ...]; the solver is chosen for these.
        samples: starts that are followed; a quarter of them is kept for the report.
        seed: of the starts.
        progress: show a bar.

    Raises:
        ConfigError: calls or samples that are too few.

    >>> from pushforward import models, paths
    >>> found = auto(models.ring(8, 1.0, 0.1, paths.EDM()), calls=6, samples=64)
    >>> found.calls, found.error < 0.05
    (6, True)
    """
    search = Search.start(model, calls, context, samples, seed)
    with tqdm(desc=f"auto, {calls} calls", disable=not progress, leave=False) as bar:
        return search.choice(chosen(search, calls, bar))


# the search --------------------------------------------------------------------------------------------------------


class Starts(NamedTuple):
    """Some starts, where the flow takes them, and the size of those ends."""

    z: Sample
    ends: Sample
    context: Context
    size: float


class Search:
    """A model, starts with known ends, and a count of network calls."""

    def __init__(self, model: Diffusion, z: Sample, context: Context) -> None:
        self.model, self.spent, n = model, 0, len(z)
        ends = self.run(Exponential(256, grids.Share(0.3), order=3, hold="v", clock="angle", correct=True), z, context)
        size = ends.square().mean().sqrt().item()

        def part(low: int, high: int) -> Starts:
            return Starts(z[low:high], ends[low:high], None if context is None else context[low:high], size)

        self.screen, self.fitting = part(0, n // 4), part(0, n // 2)
        self.validation, self.unseen = part(n // 2, 3 * n // 4), part(3 * n // 4, n)

    @classmethod
    def start(cls, model: Diffusion, calls: int, context: Context, samples: int, seed: int) -> "Search":
        if calls < 1 or samples < 8:
            raise ConfigError(
                explain("calls of 1 or more and samples of 8 or more", f"{calls} and {samples}", "Raise it.")
            )
        return cls(model, model.noise(samples, seed), context)

    def run(self, solver: Linear, z: Sample, context: Context) -> Sample:
        self.spent += solver.steps
        return self.model.decode(z, context, solver)

    def error(self, solver: Linear, on: Starts) -> float:
        off = self.run(solver, on.z, on.context) - on.ends
        return _finite(off.square().mean().sqrt().item() / on.size)

    def choice(self, solver: Linear) -> Choice:
        on = self.unseen
        off = (self.run(solver, on.z, on.context) - on.ends).flatten(1).square().mean(1).sqrt()
        error, median = off.square().mean().sqrt().item() / on.size, off.median().item() / on.size
        return Choice(solver, error, median, solver.steps, self.spent, 4 * len(on.z))


def chosen(search: Search, calls: int, bar: "tqdm[Any]", holds: tuple[str, ...] = tuple(HELD)) -> Exponential:
    """Grid, then method, then the grid's scale."""
    methods = [method for method in _METHODS if method[0] in holds]
    some = [_method(calls, grid, *method) for grid in _grids() for method in methods[:2]]
    leading = _best(search, some, search.screen, 4, bar)
    places = list(dict.fromkeys(solver.grid for solver in leading))
    every = [_method(calls, grid, *method) for grid in places for method in methods]
    finalists = _best(search, every, search.screen, 6, bar)
    refined = [_refined(search, solver, bar) for solver in finalists[:4]]
    return _best(search, [*finalists, *refined], search.fitting, 1, bar)[0]


def _grids() -> Iterable[grids.Grid]:
    for scale in _SCALES:
        yield grids.Share(scale)
        yield grids.Angle(scale)
    yield from (grids.Karras(7.0, least) for least in (0.002, 0.02))
    yield from (grids.LogSNR(least, most) for least in (0.002, 0.02, 0.05) for most in (10.0, 80.0))


def _method(calls: int, grid: grids.Grid, hold: Hold, clock: Clock, order: int, correct: bool) -> Exponential:
    return Exponential(calls, grid, order=order, hold=hold, clock=clock, correct=correct)


def _best(
    search: Search, solvers: Iterable[Exponential], on: Starts, count: int, bar: "tqdm[Any]"
) -> list[Exponential]:
    found = list[tuple[float, int, Exponential]]()
    for k, solver in enumerate(solvers):
        found.append((search.error(solver, on), k, solver))
        bar.update()
    return [solver for _, _, solver in sorted(found)[:count]]


def _refined(search: Search, solver: Exponential, bar: "tqdm[Any]", rounds: int = 8) -> Exponential:
    """The same method on the best scale near its own, by golden section in the logarithm."""
    grid = solver.grid
    if not isinstance(grid, grids.Share | grids.Angle):
        return solver

    def at(log_scale: float) -> Exponential:
        return replace(solver, grid=replace(grid, scale=math.exp(log_scale)))

    def error(log_scale: float) -> float:
        bar.update()
        return search.error(at(log_scale), search.fitting)

    low, high, golden = math.log(grid.scale) - 0.35, math.log(grid.scale) + 0.35, (math.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = error(a), error(b)
    for _ in range(rounds):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = error(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = error(b)
    return at(a if at_a < at_b else b)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf

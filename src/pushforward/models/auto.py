"""The best solver for a model and a budget of network calls, found from trajectories of the model itself.

A few starts z are followed to their ends x_ref with many calls; then what matters is the distance between where a
solver takes a start and where the flow does,

    error(solver) = sqrt( mean |x_N - x_ref|**2 / mean |x_ref|**2 ).

Where ends are attracted to few places (the digits of a data set), a start goes exactly right or altogether wrong, a
handful of wrong ones decide the figure by chance, and no error at all may be luck. How far a solver strays on the way,

    wander(solver) = sqrt( mean over nodes and starts |y_i - y_ref(theta_i)|**2 ),       y = x / hypot(alpha, sigma),

(over the 95 % that stray least) tells the risk of going wrong without waiting for it. So among the solvers whose mean
square is not clearly above the least (by the standard error of the difference, start by start, and the square of 0.3
wander), the one with the least hypot(error of the 95 % that do best, 0.3 wander) is taken.

`auto` chooses among `Exponential` methods and grids by it: first the grid, whose one number is the noise level
`scale` that its middle resolves (it sets the error by a factor of ten and more), then what is held, the clock, the
order and the correction, then the scale again, finer. The error it reports is that on starts it has not
seen."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
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
RISK = 0.3
"""How much of what a solver strays on the way counts as error."""

SCREENED = 256
"""Most starts that all candidates are tried on."""

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
    samples: int = 512,
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


class Measured(NamedTuple):
    """A solver, its squared error at each start by the mean size of ends, and how far it wanders from the flow."""

    solver: Linear
    squares: Tensor
    wander: float

    @property
    def error(self) -> float:
        return _finite(self.squares.mean().sqrt().item())


class Search:
    """A model, starts with known ends (the first `kept` also with their way there), and a count of network calls."""

    def __init__(self, model: Diffusion, z: Sample, context: Context, kept: int) -> None:
        self.model, self.spent, n = model, 0, len(z)
        exact = Exponential(256, _fine(model), order=3, hold="v", clock="angle", correct=True)
        ends, self.way = self._follow(exact, z, context, kept)
        size = ends.square().mean().sqrt().item()

        def part(low: int, high: int) -> Starts:
            return Starts(z[low:high], ends[low:high], None if context is None else context[low:high], size)

        self.all, self.screen, self.fitting = part(0, n), part(0, min(n // 4, SCREENED)), part(0, n // 2)
        self.validation, self.unseen = part(n // 2, 3 * n // 4), part(3 * n // 4, n)

    @classmethod
    def start(
        cls, model: Diffusion, calls: int, context: Context, samples: int, seed: int, fits: bool = False
    ) -> "Search":
        """With `fits`, the way of all starts for fitting and validation is kept, not only that of the screened."""
        if calls < 1 or samples < 8:
            got = f"{calls} and {samples}"
            raise ConfigError(explain("calls of 1 or more and samples of 8 or more", got, "Raise it."))
        kept = 3 * samples // 4 if fits else min(samples // 4, SCREENED)
        return cls(model, model.noise(samples, seed, context=context), context, kept)

    def measure(self, solver: Linear, on: Starts) -> Measured:
        """The solver's errors on these starts; how it wanders is told where the starts begin with the screened ones."""
        shared = len(self.screen.z) if on.z.data_ptr() == self.screen.z.data_ptr() else 0
        ends, way = self._follow(solver, on.z, on.context, shared)
        squares = (ends - on.ends).flatten(1).square().mean(1).double() / on.size**2
        return Measured(solver, squares.nan_to_num(math.inf), self._wander(way) if shared else 0.0)

    def _wander(self, way: list[tuple[float, Sample]]) -> float:
        """Root mean square over nodes and the 95 % of starts that stray least."""
        off = (
            torch.stack([(y - self.at(angle, slice(len(y)))).flatten(1).square().mean(1) for angle, y in way])
            .mean(0)
            .double()
        )
        usual = off[off <= off.quantile(0.95)]
        return _finite(usual.mean().sqrt().item())

    def choice(self, solver: Linear) -> Choice:
        found = self.measure(solver, self.unseen)
        return Choice(
            solver, found.error, found.squares.sqrt().median().item(), solver.steps, self.spent, 4 * len(self.unseen.z)
        )

    def _follow(
        self, solver: Linear, z: Sample, context: Context, kept: int
    ) -> tuple[Sample, list[tuple[float, Sample]]]:
        """Ends, and (angle, y) of the first `kept` starts on the way, at most 64 of them evenly over the steps."""
        self.spent += solver.steps
        way, x, every = list[tuple[float, Sample]](), z, max(1, solver.steps // 64)
        for k, state in enumerate(self.model.decoding(z, context, solver), 1):
            x = state.x
            if kept and (k % every == 0 or k == solver.steps):
                c = self.model.path.coefficients(state.t[:1].double())
                alpha, sigma = (1.0, 0.0) if k == solver.steps else (c.alpha.item(), c.sigma.item())
                way.append((math.atan2(sigma, alpha), x[:kept] / math.hypot(alpha, sigma)))
        return x, way

    def at(self, angle: float, which: slice) -> Sample:
        """y of the flow at an angle, of some of the starts, between the places that were kept."""
        places = [place for place, _ in self.way]
        k = next((k for k, place in enumerate(places) if place <= angle), len(places) - 1)
        if k == 0:
            return self.way[0][1][which]
        (before, y), (after, y_after) = self.way[k - 1], self.way[k]
        part = (before - angle) / (before - after)
        return y[which] + part * (y_after[which] - y[which])


def ranked(found: Sequence[Measured]) -> list[Measured]:
    """From the best on, by the rule of the module."""
    first = min(found, key=lambda each: math.hypot(each.error, RISK * each.wander))

    def place(each: Measured) -> tuple[bool, float]:
        more = each.squares - first.squares
        even = bool(more.mean() <= more.std() / math.sqrt(len(more)) + (RISK * first.wander) ** 2)
        usual = each.squares[each.squares <= each.squares.quantile(0.95)].mean().sqrt().item()
        return not even, math.hypot(usual if even else each.error, RISK * each.wander)

    return sorted(found, key=place)


def chosen(search: Search, calls: int, bar: "tqdm[Any]", holds: tuple[str, ...] = tuple(HELD)) -> Exponential:
    """Grid, then method, then the grid's scale."""
    methods = [method for method in _METHODS if method[0] in holds]
    some = [_method(calls, grid, *method) for grid in _grids() for method in methods[:2]]
    places = list(dict.fromkeys(solver.grid for solver in _best(search, some, search.screen, 6, bar)))
    every = [_method(calls, grid, *method) for grid in places for method in methods]
    finalists = _best(search, every, search.screen, 6, bar)
    refined = [_refined(search, solver, bar) for solver in finalists[:4]]
    return _best(search, [*finalists, *refined], search.fitting, 1, bar)[0]


def _fine(model: Diffusion, steps: int = 256) -> grids.Times:
    """Many times, half of them even in the path's clock and half in that of `Share`: networks turn fast in either."""
    start = model.span[1]
    t = torch.linspace(start, 0.0, 16 * steps, dtype=torch.float64)
    c = model.path.coefficients(t)
    clocks = (t, c.sigma / (0.3 * c.alpha + c.sigma))
    both = torch.stack([(clock[0] - clock) / (clock[0] - clock[-1]) for clock in clocks]).mean(0)
    inner = steps - (c.sigma[-1].item() > 0)
    even = torch.linspace(0, 1, inner + 1, dtype=torch.float64)[1:-1]
    k = torch.searchsorted(both, even).clamp(min=1)
    part = (even - both[k - 1]) / (both[k] - both[k - 1])
    between = t[k - 1] + part * (t[k] - t[k - 1])
    return grids.Times((start, *between.tolist(), 0.0))


def _grids() -> Iterable[grids.Grid]:
    yield grids.Uniform()
    for scale in _SCALES:
        yield grids.Share(scale)
        yield grids.Angle(scale)
    yield from (grids.Karras(7.0, least) for least in (0.002, 0.02))
    yield from (grids.LogSNR(least, most) for least in (0.002, 0.02, 0.05) for most in (10.0, 80.0))


def _method(calls: int, grid: grids.Grid, hold: Hold, clock: Clock, order: int, correct: bool) -> Exponential:
    return Exponential(calls, grid, order=order, hold=hold, clock=clock, correct=correct)


def _best(search: Search, solvers: Iterable[Exponential], on: Starts, count: int, bar: "tqdm[Any]") -> list[Any]:
    found = list[Measured]()
    for solver in dict.fromkeys(solvers):
        found.append(search.measure(solver, on))
        bar.update()
    return [each.solver for each in ranked(found)[:count]]


def _refined(search: Search, solver: Exponential, bar: "tqdm[Any]") -> Exponential:
    """The same method on the best scale near its own."""
    grid = solver.grid
    if not isinstance(grid, grids.Share | grids.Angle):
        return solver
    near = [replace(solver, grid=replace(grid, scale=grid.scale * math.exp(step / 10))) for step in range(-3, 4)]
    best = _best(search, near, search.fitting, 1, bar)[0]
    nearer = [replace(best, grid=replace(best.grid, scale=best.grid.scale * math.exp(by))) for by in (-0.05, 0.0, 0.05)]
    return _best(search, nearer, search.fitting, 1, bar)[0]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf

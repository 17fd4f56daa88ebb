"""Solvers fitted to a model: every node and every weight of a `Tuned` solver is free.

`tune` starts from the method that `auto` chooses and goes on by the rounds of `fitting.py`, on the way and to the ends.
Both are needed where ends are few places (a data set by heart): a start then goes exactly right or to another place,
and ends have no slope in p. On the way, while the network still wavers, D changes most for the starts near the border
of two ends and across that border, which is what decides; where all is decided, or nothing yet, it says nothing.
Where the last calls are made decides in which valley the fit ends. So the fit on the way starts from the grid that was
found, or from the same with as many calls more whose last are left out: which one is tried on a part of the starts.

Among all rounds whose mean square error on other starts is not clearly above the least (by the standard error of the
difference, start by start), the one is taken that has the least r on the way there: a handful of wrong ends decide
the error by chance.

References: Shaul et al. 2024 (arXiv 2403.01329) for the idea of tuning solvers to a model.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.models.auto import Choice, Search, chosen
from pushforward.models.diffusion import Diffusion
from pushforward.models.fitting import Fit
from pushforward.solvers import Exponential, Tuned, grids, weights_of

_LEFT_OUT = 3
"""Most last calls of a longer grid that are left out to start from."""


@torch.no_grad()
def tune(
    model: Diffusion,
    calls: int,
    context: Context = None,
    samples: int = 4096,
    seed: int = 0,
    memory: int = 4,
    rounds: int = 12,
    progress: bool = False,
) -> Choice:
    """A solver with nodes and weights fitted to the model, for `calls` network calls.

    The other arguments are those of `auto`, where it starts. Half of the starts are fitted to, a quarter decides which
    round was best, another is kept for the report.

    Args:
        memory: held values that a step may look back at, this call's included.
        rounds: most rounds of each of the three fits (to the ends, on the way, and from there to the ends); one costs
            about calls**2 (memory + 2) / 2 network calls on half of the starts, and two more choose where to begin.

    Raises:
        ConfigError: calls, samples, memory or rounds that are too few.
    """
    if memory < 1 or rounds < 1:
        raise ConfigError(explain("memory and rounds of 1 or more", f"{memory} and {rounds}", "Change them."))
    search = Search.start(model, calls, context, samples, seed, fits=True)
    with tqdm(desc=f"tune, {calls} calls", disable=not progress, leave=False) as bar:
        begin = chosen(search, calls, bar, holds=("v", "x0", "flow"))
        begins = [Fit.of(search, each, memory) for each in _begins(search, begin)]
        return search.choice(_chosen(list(_all_rounds(begins, rounds, bar))))


class _Round(NamedTuple):
    """A solver on the starts for validation: its squared errors, and the root mean square of r on the way."""

    solver: Tuned
    squares: Tensor
    strays: float


def _begins(search: Search, solver: Exponential) -> Iterator[Exponential]:
    """The solver, and the same where a grid of more calls is cut short."""
    yield solver
    for more in range(1, _LEFT_OUT + 1 if solver.steps > 1 else 1):
        longer = replace(solver, steps=solver.steps + more)
        inner = weights_of(longer, search.model.path, search.model.span[1])[0]
        yield replace(solver, grid=grids.Angles(inner[: solver.steps - 1]))


def _all_rounds(begins: list[Fit], rounds: int, bar: "tqdm[Any]") -> Iterator[_Round]:
    """Those to the ends, those on the way from the best start for it, and from there to the ends."""
    on = range(len(begins[0].search.fitting.z))
    yield _judged(begins[0])
    yield from _to_ends(begins[0], rounds, on, bar)
    part = range(max(1, len(on) // 4))
    tried = [[each, *each.rounds(True, 2, part, bar)][-1] for each in begins]
    now = best = min(tried, key=lambda each: each.error(True, on))
    for now in best.rounds(True, rounds, on, bar):
        yield _judged(now)
    yield from _to_ends(now, rounds, on, bar)


def _to_ends(fit: Fit, rounds: int, on: range, bar: "tqdm[Any]") -> Iterator[_Round]:
    """Stopped where it learns the starts by heart."""
    least = math.inf
    for each in fit.rounds(False, rounds, on, bar):
        found = _judged(each)
        yield found
        error = found.squares.mean().sqrt().item()
        if error > 1.5 * least:
            break
        least = min(least, error)


def _judged(fit: Fit) -> _Round:
    solver, on = fit.solver(), fit.search.validation
    first = len(fit.search.fitting.z)
    strays = fit.error(True, range(first, first + len(on.z)))
    return _Round(solver, fit.search.measure(solver, on).squares, strays)


def _chosen(found: list[_Round]) -> Tuned:
    """By the rule of the module."""
    first = min(found, key=lambda each: each.squares.mean().item())

    def even(each: _Round) -> bool:
        more = each.squares - first.squares
        return each is first or bool(more.mean() <= more.std() / math.sqrt(len(more)))

    return min(filter(even, found), key=lambda each: each.strays).solver

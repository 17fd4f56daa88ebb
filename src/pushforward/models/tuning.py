"""Solvers fitted to a model: every node and every weight of a `Tuned` solver is free.

`tune` starts from the method that `auto` chooses and goes on by Gauss and Newton's method with Levenberg and
Marquardt's damping. With x_N where the solver takes a start, x_ref where the flow does, D_i and D_ref what the network
says of x0 at node i for the solver's state and for the flow's there, and p the free numbers,

    on the way    r(p) = (x_N - x_ref, D_1 - D_ref, ..., D_{N-1} - D_ref) / size
    to the ends   r(p) = (x_N - x_ref) / size
    each by       p <- p - (J^T J + m diag J^T J)^-1 J^T r

a column of J is a difference of two runs. That needs no gradients of the network and no memory for a graph, and a
change at node i costs the calls after i alone.

Both are needed where ends are few places (a data set by heart): a start then goes exactly right or to another place,
and ends have no slope in p. On the way, while the network still wavers, D changes most for the starts near the border
of two ends and across that border, which is what decides; where all is decided, or nothing yet, it says nothing.

References: Shaul et al. 2024 (arXiv 2403.01329) for the idea of tuning solvers to a model; Levenberg 1944, Marquardt
1963."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample
from pushforward.models.auto import Choice, Search, chosen
from pushforward.models.diffusion import Diffusion
from pushforward.paths import Prediction, bridge, x0
from pushforward.paths.path import Coefficients
from pushforward.solvers import Exponential, Tuned, grids, weights_of
from pushforward.solvers.exponential import HELD, Hold

_CELLS = 2**25
"""How many numbers of J are held at a time."""

_STEP = 2e-3
"""How far a free number is moved for its column of J: a weight, or an angle by its distance to the next."""


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
        rounds: most rounds of fitting, on the way and again to the ends; each costs about calls**2 (memory + 2) / 2
            network calls on half of the starts.

    Raises:
        ConfigError: calls, samples, memory or rounds that are too few.
    """
    if memory < 1 or rounds < 1:
        raise ConfigError(explain("memory and rounds of 1 or more", f"{memory} and {rounds}", "Change them."))
    search = Search.start(model, calls, context, samples, seed, fits=True)
    with tqdm(desc=f"tune, {calls} calls", disable=not progress, leave=False) as bar:
        begin = chosen(search, calls, bar, holds=("v", "x0", "flow"))
        fitted = _Fit.of(search, begin, memory).run(rounds, bar)
    return search.choice(fitted)


class _Run(NamedTuple):
    """Some starts followed: y at each node and at the end, and of each call what is held and what it says of x0."""

    ys: list[Tensor]
    held: list[Tensor]
    data: list[Tensor]


@dataclass
class _Fit:
    """A `Tuned` solver being fitted: angles of all nodes, and (A, B_0, ...) of each step, padded with zeros."""

    search: Search
    hold: Hold
    angles: list[float]
    weights: Tensor

    @classmethod
    def of(cls, search: Search, solver: Exponential, memory: int) -> "_Fit":
        path, span = search.model.path, search.model.span
        inner, rows = weights_of(solver, path, span[1])
        ends = path.coefficients(torch.tensor([span[1]], dtype=torch.float64))
        width = max(memory, *(len(row) - 1 for row in rows))
        padded = [[*row, *[0.0] * (width + 1 - len(row))] for row in rows]
        start = math.atan2(ends.sigma.item(), ends.alpha.item())
        return cls(search, solver.hold, [start, *inner, 0.0], torch.tensor(padded, dtype=torch.float64))

    def solver(self) -> Tuned:
        rows = tuple(tuple(row[: 2 + i].tolist()) for i, row in enumerate(self.weights))
        return Tuned(len(rows), grids.Angles(tuple(self.angles[1:-1])), weights=rows, hold=self.hold)

    def run(self, rounds: int, bar: "tqdm[Any]") -> Tuned:
        """Fitted to the ends, and on the way and then to the ends: what was best on the starts for validation."""
        found = [(self._held_out(), self.solver())]
        found += replace(self)._fitted(False, rounds, bar)
        found += self._fitted(True, rounds, bar) + self._fitted(False, rounds, bar)
        return min(found, key=lambda each: each[0])[1]

    def _fitted(self, way: bool, rounds: int, bar: "tqdm[Any]") -> list[tuple[float, Tuned]]:
        """The iteration of the module: each round's error on the starts for validation, and its solver."""
        error, damping, found = self._error(way), 1e-2, list[tuple[float, Tuned]]()
        for _ in range(rounds):
            normal, slope = self._linearised(way, bar)
            while damping < 1e6:
                tried = self._moved(_damped(normal, slope, damping))
                reached = tried._error(way) if tried is not None else math.inf
                if tried is not None and reached < error:
                    break
                damping *= 4
            else:
                break
            gain, error, damping = error - reached, reached, damping / 8
            self.angles, self.weights = tried.angles, tried.weights
            found.append((self._held_out(), self.solver()))
            lost = not way and found[-1][0] > 1.5 * min(each for each, _ in found)
            if lost or gain < 1e-3 * error:
                break
        return found

    def _held_out(self) -> float:
        return self.search.measure(self.solver(), self.search.validation).error

    def _free(self) -> list[tuple[int, int]]:
        """The free numbers: (i, 0) is the angle of node i, (i, k) the k-th weight of its step."""
        width = self.weights.shape[1]
        return [(i, k) for i in range(len(self.weights)) for k in range(0 if i else 1, width + 1) if k < 3 + i]

    def _parts(self, way: bool) -> Iterator[slice]:
        """The starts for fitting, as many at a time as J has room for."""
        z = self.search.fitting.z
        rows = max(1, _CELLS // (z[0].numel() * len(self._free()) * (len(self.weights) if way else 1)))
        yield from (slice(first, first + rows) for first in range(0, len(z), rows))

    def _error(self, way: bool) -> float:
        """Root mean square of the residual."""
        total = 0.0
        for which in self._parts(way):
            total += self._residual(self._started(which), which, self._flow(which) if way else []).square().sum().item()
        return math.sqrt(total / self.search.fitting.z.numel()) if math.isfinite(total) else math.inf

    def _linearised(self, way: bool, bar: "tqdm[Any]") -> tuple[Tensor, Tensor]:
        """J^T J and J^T r."""
        free = len(self._free())
        normal = torch.zeros(free, free, dtype=torch.float64)
        slope = torch.zeros(free, dtype=torch.float64)
        for which in self._parts(way):
            run, flow = self._started(which), self._flow(which) if way else []
            residual = self._residual(run, which, flow)
            slopes = torch.stack([self._column(place, run, residual, which, flow) for place in self._free()])
            normal += (slopes @ slopes.T).cpu()
            slope += (slopes @ residual).cpu()
            bar.update()
        return normal, slope

    def _column(self, place: tuple[int, int], run: _Run, residual: Tensor, which: slice, flow: list[Tensor]) -> Tensor:
        """The residual's slope in one free number."""
        (i, k), step = place, _STEP
        if k == 0:
            step *= min(self.angles[i - 1] - self.angles[i], self.angles[i] - self.angles[i + 1])
        near = self._changed([(place, step)])
        if k == 0 and flow:
            flow = [*flow[: i - 1], near._flow_at(i, which), *flow[i:]]
        return (near._residual(near._onward(run, i, i + (k > 0), which), which, flow) - residual) / step

    def _residual(self, run: _Run, which: slice, flow: list[Tensor]) -> Tensor:
        """The module's r, flat; without the flow on the way, that of the ends."""
        off = [run.ys[-1] - self.search.fitting.ends[which]]
        off += [said - true for said, true in zip(run.data[1:], flow)]
        return torch.stack(off).flatten().double() / self.search.fitting.size

    def _flow(self, which: slice) -> list[Tensor]:
        """What the network says of x0 where the flow is at each node but the first."""
        return [self._flow_at(i, which) for i in range(1, len(self.weights))]

    def _flow_at(self, i: int, which: slice) -> Tensor:
        return self._says(i, self.search.at(self.angles[i], which), which)[1]

    def _started(self, which: slice) -> _Run:
        c = self._place(self.angles[0])[1]
        y = self.search.fitting.z[which] / math.hypot(c.alpha.item(), c.sigma.item())
        return self._onward(_Run([y], [], []), 0, 0, which)

    def _onward(self, run: _Run, i: int, known: int, which: slice) -> _Run:
        """The run from node i on, where the first `known` calls are as they were."""
        ys, held, data = run.ys[: i + 1], run.held[:known], run.data[:known]
        for k in range(i, len(self.weights)):
            if k >= known:
                h, said = self._says(k, ys[-1], which)
                held.append(h)
                data.append(said)
            carried, *weights = self.weights[k].tolist()
            y = ys[-1] * carried
            for weight, h in zip(weights, reversed(held)):
                y = y.add_(h, alpha=weight)
            ys.append(y)
        return _Run(ys, held, data)

    def _says(self, i: int, y: Tensor, which: slice) -> tuple[Tensor, Tensor]:
        """What the network says at node i, as what is held and as x0."""
        model, context, (t, c) = self.search.model, self.search.fitting.context, self._place(self.angles[i])
        self.search.spent += 1
        size = math.hypot(c.alpha.item(), c.sigma.item())
        x = y * size
        m = model.raw(x, t.to(x).expand(len(x)), None if context is None else context[which])

        def told(what: Prediction) -> Sample:
            a, b = (each.item() for each in bridge(c, model.prediction, what))
            return a * x + b * m

        h = told(HELD[self.hold])
        if self.hold == "x0":
            return h, h
        return h / size if self.hold == "v" else h, told(x0) if i else h

    def _place(self, angle: float) -> tuple[Tensor, Coefficients]:
        model, turn = self.search.model, torch.tensor([angle], dtype=torch.float64)
        t = model.path.time_at(turn.cos(), turn.sin()).clamp(*model.span)
        return t, model.path.coefficients(t)

    def _changed(self, changes: Iterable[tuple[tuple[int, int], float]]) -> "_Fit":
        """Free numbers changed by so much."""
        angles, weights = list(self.angles), self.weights.clone()
        for (i, k), by in changes:
            if k == 0:
                angles[i] += by
            else:
                weights[i, k - 1] += by
        return replace(self, angles=angles, weights=weights)

    def _moved(self, change: Tensor) -> "_Fit | None":
        """All free numbers changed, or None where the nodes would leave their order."""
        c = self.search.model.path.coefficients(torch.tensor([self.search.model.span[0]], dtype=torch.float64))
        lowest = math.atan2(c.sigma.item(), c.alpha.item())
        moved = self._changed(zip(self._free(), change.tolist()))
        ordered = all(a > b for a, b in pairwise(moved.angles))
        return moved if ordered and min(moved.angles[1:-1], default=lowest) >= lowest else None


def _damped(normal: Tensor, slope: Tensor, damping: float) -> Tensor:
    """The step of Levenberg and Marquardt."""
    scale = normal.diagonal().clamp(min=1e-12 * normal.diagonal().max())
    return -torch.linalg.solve(normal + torch.diag(damping * scale), slope)

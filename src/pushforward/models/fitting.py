"""A `Tuned` solver on its way to a model: Gauss and Newton's method on every node and every weight.

With x_N where the solver takes a start, x_ref where the flow does, D_i and D_ref what the network says of x0 at node i
for the solver's state and for the flow's there, and p the free numbers,

    on the way    r(p) = (x_N - x_ref, D_1 - D_ref, ..., D_{N-1} - D_ref) / size
    to the ends   r(p) = (x_N - x_ref) / size
    each by       p <- p - (J^T J + m diag J^T J)^-1 J^T r

with the best m on the way, and the first that makes |r| less to the ends (Levenberg and Marquardt's damping). No node
moves further than a part of its way to the next one, and the rest is solved for given that: two nodes that meet never
part. A column of J is a difference of two runs, forward and backward by turns. That needs no gradients of the network
and no memory for a graph, and a change at node i costs the calls after i alone.

References: Levenberg 1944, Marquardt 1963.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._typing import Sample
from pushforward.models.auto import Search
from pushforward.paths import Prediction, bridge, x0
from pushforward.paths.path import Coefficients
from pushforward.solvers import Exponential, Tuned, grids, weights_of
from pushforward.solvers.exponential import HELD, Hold

_CELLS = 2**25
"""How many numbers of J are held at a time."""

_STEP = 5e-3
"""How far a free number is moved for its column of J: a weight, or an angle by half of its distance to the next."""

_ROOM = 0.3
"""Which part of its distance to the next a node may move at most, in one round."""


class _Run(NamedTuple):
    """Some starts followed: y at each node and at the end, and of each call what is held and what it says of x0."""

    ys: list[Tensor]
    held: list[Tensor]
    data: list[Tensor]


@dataclass(frozen=True)
class Fit:
    """A `Tuned` solver being fitted: angles of all nodes, and (A, B_0, ...) of each step, padded with zeros."""

    search: Search
    hold: Hold
    angles: list[float]
    weights: Tensor

    @classmethod
    def of(cls, search: Search, solver: Exponential, memory: int) -> "Fit":
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

    def rounds(self, way: bool, most: int, on: range, bar: "tqdm[Any]") -> Iterator["Fit"]:
        """The iteration of the module, on some of the starts, until two rounds gain next to nothing."""
        now, error, damping, idle = self, self.error(way, on), 1e-3, 0
        for count in range(most):
            normal, slope = now._linearised(way, on, -_STEP if count % 2 else _STEP, bar)
            best, before, found = now, error, 0.0
            while 1e-6 < damping < 1e6:
                tried = now._moved(normal, slope, damping)
                better = (reached := tried.error(way, on)) < error
                if better:
                    best, error, found = tried, reached, damping
                if found and not (better and way):
                    break
                damping *= 0.25 if found else 4
            damping = 1e-3
            if found:
                now, damping = best, max(found * (4 if way else 0.125), 4e-6)
                yield now
            idle = idle + 1 if before - error < 2e-3 * error else 0
            if idle == 2:
                break

    def _free(self) -> list[tuple[int, int]]:
        """The free numbers: (i, 0) is the angle of node i, (i, k) the k-th weight of its step."""
        width = self.weights.shape[1]
        return [(i, k) for i in range(len(self.weights)) for k in range(0 if i else 1, width + 1) if k < 3 + i]

    def _parts(self, way: bool, on: range) -> Iterator[slice]:
        """Some starts, as many at a time as J has room for."""
        size = self.search.all.z[0].numel() * len(self._free()) * (len(self.weights) if way else 1)
        rows = max(1, _CELLS // size)
        yield from (slice(first, min(first + rows, on.stop)) for first in range(on.start, on.stop, rows))

    def error(self, way: bool, on: range) -> float:
        """Root mean square of the residual."""
        total = 0.0
        for which in self._parts(way, on):
            total += self._residual(self._started(which), which, self._flow(which) if way else []).square().sum().item()
        return math.sqrt(total / (len(on) * self.search.all.z[0].numel())) if math.isfinite(total) else math.inf

    def _linearised(self, way: bool, on: range, step: float, bar: "tqdm[Any]") -> tuple[Tensor, Tensor]:
        """J^T J and J^T r."""
        free = len(self._free())
        normal = torch.zeros(free, free, dtype=torch.float64)
        slope = torch.zeros(free, dtype=torch.float64)
        for which in self._parts(way, on):
            run, flow = self._started(which), self._flow(which) if way else []
            residual = self._residual(run, which, flow)
            slopes = torch.stack([self._column(place, step, run, residual, which, flow) for place in self._free()])
            normal += (slopes @ slopes.T).cpu()
            slope += (slopes @ residual).cpu()
            bar.update()
        return normal, slope

    def _column(
        self, place: tuple[int, int], step: float, run: _Run, residual: Tensor, which: slice, flow: list[Tensor]
    ) -> Tensor:
        """The residual's slope in one free number."""
        i, k = place
        if k == 0:
            step *= 2 * min(self.angles[i - 1] - self.angles[i], self.angles[i] - self.angles[i + 1])
        near = self._changed([(place, step)])
        if k == 0 and flow:
            flow = [*flow[: i - 1], near._flow_at(i, which), *flow[i:]]
        return (near._residual(near._onward(run, i, i + (k > 0), which), which, flow) - residual) / step

    def _residual(self, run: _Run, which: slice, flow: list[Tensor]) -> Tensor:
        """The module's r, flat; without the flow on the way, that of the ends."""
        off = [run.ys[-1] - self.search.all.ends[which]]
        off += [said - true for said, true in zip(run.data[1:], flow)]
        return torch.stack(off).flatten().double() / self.search.all.size

    def _flow(self, which: slice) -> list[Tensor]:
        """What the network says of x0 where the flow is at each node but the first."""
        return [self._flow_at(i, which) for i in range(1, len(self.weights))]

    def _flow_at(self, i: int, which: slice) -> Tensor:
        return self._says(i, self.search.at(self.angles[i], which), which)[1]

    def _started(self, which: slice) -> _Run:
        c = self._place(self.angles[0])[1]
        y = self.search.all.z[which] / math.hypot(c.alpha.item(), c.sigma.item())
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
        model, context, (t, c) = self.search.model, self.search.all.context, self._place(self.angles[i])
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

    def _changed(self, changes: Iterable[tuple[tuple[int, int], float]]) -> "Fit":
        """Free numbers changed by so much."""
        angles, weights = list(self.angles), self.weights.clone()
        for (i, k), by in changes:
            if k == 0:
                angles[i] += by
            else:
                weights[i, k - 1] += by
        return replace(self, angles=angles, weights=weights)

    def _moved(self, normal: Tensor, slope: Tensor, damping: float) -> "Fit":
        """All free numbers changed by the step of Levenberg and Marquardt."""
        free, scale = self._free(), normal.diagonal().clamp(min=1e-12 * normal.diagonal().max())
        low, high = torch.tensor([self._room(i, k) for i, k in free], dtype=torch.float64).T
        change = _least(normal + torch.diag(damping * scale), slope, low, high)
        return self._changed(zip(free, change.tolist()))

    def _room(self, i: int, k: int) -> tuple[float, float]:
        """How far a free number may move down and up: nodes stay in their order and where the path goes."""
        if k:
            return -math.inf, math.inf
        c = self.search.model.path.coefficients(torch.tensor([self.search.model.span[0]], dtype=torch.float64))
        before, here, after = self.angles[i - 1 : i + 2]
        lowest = math.atan2(c.sigma.item(), c.alpha.item())
        return min(0.0, max(_ROOM * (after - here), lowest - here)), _ROOM * (before - here)


def _least(normal: Tensor, slope: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The x of least x^T normal x / 2 + slope^T x, but for numbers that left their bounds: these are put there."""
    x, free = torch.zeros_like(slope), torch.ones_like(slope, dtype=torch.bool)
    while True:
        pull = slope[free] + normal[free][:, ~free] @ x[~free]
        x[free] = -torch.linalg.solve(normal[free][:, free], pull)
        inside = (low <= x) & (x <= high)
        if inside.all() or not x.isfinite().all():
            return x
        free &= inside
        x = x.clamp(low, high)

"""Solvers fitted to a model: every node and every weight of a `Tuned` solver is free.

`tune` starts from the method that `auto` chooses and goes on by Gauss and Newton's method with Levenberg and
Marquardt's damping. With x_N where the solver takes a start, x_ref where the flow does and p the free numbers,

    r(p) = (x_N(p) - x_ref) / size,      p <- p - (J^T J + m diag J^T J)^-1 J^T r,

a column of J is a difference of two runs. That needs no gradients of the network and no memory for a graph, and a
change at node i costs the calls after i alone.

References: Shaul et al. 2024 (arXiv 2403.01329) for the idea of tuning solvers to a model; Levenberg 1944, Marquardt
1963."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.models.auto import Choice, Search, Starts, chosen
from pushforward.models.diffusion import Diffusion
from pushforward.paths import bridge
from pushforward.paths.path import Coefficients
from pushforward.solvers import Exponential, Tuned, grids, weights_of
from pushforward.solvers.exponential import HELD, Hold


@torch.no_grad()
def tune(
    model: Diffusion,
    calls: int,
    context: Context = None,
    samples: int = 1024,
    seed: int = 0,
    memory: int = 4,
    rounds: int = 12,
    progress: bool = False,
) -> Choice:
    """A solver with nodes and weights fitted to the model, for `calls` network calls.

    The other arguments are those of `auto`, where it starts. A quarter of the starts decides when to stop, another is
    kept for the report.

    Args:
        memory: held values that a step may look back at, this call's included.
        rounds: most rounds of fitting; each costs about calls**2 (memory + 2) / 2 network calls.

    Raises:
        ConfigError: calls, samples, memory or rounds that are too few.
    """
    if memory < 1 or rounds < 1:
        raise ConfigError(explain("memory and rounds of 1 or more", f"{memory} and {rounds}", "Change them."))
    search = Search.start(model, calls, context, samples, seed)
    with tqdm(desc=f"tune, {calls} calls", disable=not progress, leave=False) as bar:
        begin = chosen(search, calls, bar, holds=("v", "x0", "flow"))
        fitted = _Fit.of(search, begin, memory).run(rounds, bar)
    return search.choice(fitted)


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
        """Levenberg and Marquardt's iteration; the solver that was best on the starts for validation."""
        on, damping = self.search.fitting, 1e-2
        best = self.solver()
        least = self.search.measure(best, self.search.validation).error
        error = self.search.measure(best, on).error
        for _ in range(rounds):
            residual, slopes = self._linearised(on, bar)
            while damping < 1e6:
                tried = self._moved(_damped(residual, slopes, damping))
                reached = self.search.measure(tried.solver(), on).error if tried is not None else math.inf
                if tried is not None and reached < error:
                    break
                damping *= 4
            else:
                break
            gain, error, damping = error - reached, reached, damping / 8
            self.angles, self.weights = tried.angles, tried.weights
            held_out = self.search.measure(self.solver(), self.search.validation).error
            if held_out < least:
                best, least = self.solver(), held_out
            if gain < 1e-3 * error or held_out > 1.5 * least:
                break
        return best

    def _free(self) -> list[tuple[int, int]]:
        """The free numbers: (i, 0) is the angle of node i, (i, k) the k-th weight of its step."""
        width = self.weights.shape[1]
        return [(i, k) for i in range(len(self.weights)) for k in range(0 if i else 1, width + 1) if k < 3 + i]

    def _linearised(self, on: Starts, bar: "tqdm[Any]") -> tuple[Tensor, Tensor]:
        """The residual, [n], and its slope in each free number, [n, free]."""
        ys, hs = self._follow(on, 0, on.z / self._size(0), [])
        small = 1e-5 if on.z.dtype == torch.float64 else 2e-3
        columns = list[Tensor]()
        for i, k in self._free():
            if k == 0:
                step = small * min(self.angles[i - 1] - self.angles[i], self.angles[i] - self.angles[i + 1])
                h = self._held(on, self.angles[i] + step, ys[i])
                y = self._step(i, ys[i], [*hs[:i], h])
                held = [*hs[:i], h]
            else:
                step = small
                y = ys[i + 1] + step * (ys[i] if k == 1 else hs[i - k + 2])
                held = hs[: i + 1]
            end = self._follow(on, i + 1, y, held)[0][-1]
            columns.append(((end - ys[-1]) / step).flatten().double() / on.size)
            bar.update()
        return (ys[-1] - on.ends).flatten().double() / on.size, torch.stack(columns, 1)

    def _follow(self, on: Starts, i: int, y: Tensor, held: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """All y from node i on (those before are left as y) and all held values."""
        ys, hs = [y] * (i + 1), list(held)
        for k in range(i, len(self.weights)):
            hs.append(self._held(on, self.angles[k], ys[-1]))
            ys.append(self._step(k, ys[-1], hs))
        return ys, hs

    def _step(self, i: int, y: Tensor, held: list[Tensor]) -> Tensor:
        carried, *weights = self.weights[i].tolist()
        total = y * carried
        for weight, h in zip(weights, reversed(held)):
            total = total.add_(h, alpha=weight)
        return total

    def _held(self, on: Starts, angle: float, y: Tensor) -> Tensor:
        """What the network says at an angle, as what is held."""
        model, t, c = self.search.model, *self._place(angle)
        self.search.spent += 1
        a, b = (each.item() for each in bridge(c, model.prediction, HELD[self.hold]))
        size = math.hypot(c.alpha.item(), c.sigma.item())
        x = y * size
        h = a * x + b * model.raw(x, t.to(x).expand(len(x)), on.context)
        return h / size if self.hold == "v" else h

    def _place(self, angle: float) -> tuple[Tensor, Coefficients]:
        model, turn = self.search.model, torch.tensor([angle], dtype=torch.float64)
        t = model.path.time_at(turn.cos(), turn.sin()).clamp(*model.span)
        return t, model.path.coefficients(t)

    def _size(self, i: int) -> float:
        c = self._place(self.angles[i])[1]
        return math.hypot(c.alpha.item(), c.sigma.item())

    def _moved(self, change: Tensor) -> "_Fit | None":
        """The free numbers changed, or None where the nodes would leave their order."""
        angles, weights = list(self.angles), self.weights.clone()
        c = self.search.model.path.coefficients(torch.tensor([self.search.model.span[0]], dtype=torch.float64))
        lowest = math.atan2(c.sigma.item(), c.alpha.item())
        for (i, k), by in zip(self._free(), change.tolist()):
            if k == 0:
                angles[i] += by
            else:
                weights[i, k - 1] += by
        inner = angles[1:-1]
        if inner and (min(inner) < lowest or any(a <= b for a, b in pairwise(angles))):
            return None
        return replace(self, angles=angles, weights=weights)


def _damped(residual: Tensor, slopes: Tensor, damping: float) -> Tensor:
    """The step of Levenberg and Marquardt."""
    normal = slopes.T @ slopes
    scale = normal.diagonal().clamp(min=1e-12 * normal.diagonal().max())
    return -torch.linalg.solve(normal + torch.diag(damping * scale), slopes.T @ residual)

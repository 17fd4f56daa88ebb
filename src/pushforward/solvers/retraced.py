"""Gradients through a solve whose memory does not grow with its steps, and which are exact.

The twin states of `reversible.py`, with the increment Psi of the classical Runge-Kutta method and order 4:

    there     y' = c y + (1 - c) w + Psi_h(w),        w' = w - Psi_{-h}(y')
    back      w  = w' + Psi_{-h}(y'),                 y  = (y' - (1 - c) w - Psi_h(w)) / c

Going forward nothing is kept but the last pair. Going backward each step is undone, computed once more with its graph,
differentiated, and forgotten: discretise, then optimise. The gradient is that of backpropagation through every step,
up to the rounding of the way back, where the adjoint method's (Chen et al. 2018) is that of another discretisation and
its backward solve need not retrace the path. A step costs 8 calls of the field, and 16 more for its gradient.

References: McCallum and Foster 2024 (arXiv 2410.11648), who reverse any one-step method this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import underivable
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Path, Prediction, velocity
from pushforward.solvers import grids
from pushforward.solvers.adaptive import as_velocity
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.estimate import estimate_x0
from pushforward.solvers.grids import Grid, checked
from pushforward.solvers.state import Field, Frugal, State, Trajectory


@dataclass(frozen=True)
class Retraced(Frugal):
    """Fourth order, eight calls a step, for training by likelihood where memory is short.

    Args:
        steps: intervals.
        grid: where they end.
        coupling: c; smaller damps more, and rounding grows like c**-steps on the way back.
    """

    steps: int = 8
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
        times = checked(self.grid.times(self.steps, start, end, path), path)
        check_state(x)
        field, twin = as_velocity(field, path, prediction), x
        for step, (now, later) in enumerate(pairwise(times)):
            seen = twin
            x, twin, slope = _there(self, field, x, twin, now, later)
            told = partial(estimate_x0, seen, slope, x.new_full((len(x),), now), path)
            edited = yield State(x, x.new_full((len(x),), later), told, 8 * (step + 1))
            if edited is not None:
                check_state(edited)
                x = twin = edited
        return x

    def follow(
        self, field: Field, x: Sample, start: float, end: float, weights: Sequence[Tensor]
    ) -> tuple[Sample, int]:
        times = checked(self.grid.times(self.steps, start, end, None), None)
        check_state(x)
        return _Follow.apply(self, field, times, x, *weights), 8 * self.steps  # pyright: ignore[reportReturnType]


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, solver: Retraced, field: Field, times: Sequence[float], x: Tensor, *weights: Tensor
    ) -> Tensor:
        y = w = x
        for now, later in pairwise(times):
            y, w, _ = _there(solver, field, y, w, now, later)
        ctx.solver, ctx.field, ctx.times = solver, field, times
        ctx.save_for_backward(y, w, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with torch.no_grad():
            found = _pulled(ctx, grad_outputs[0])
        if torch.is_grad_enabled():
            found = underivable(found, "a retraced solve", grad_outputs[0], *ctx.saved_tensors)
        to_x, *others = found
        each = iter(others)
        return None, None, None, to_x, *(next(each) if want else None for want in ctx.needs_input_grad[4:])


def _pulled(ctx: Any, g_y: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x and of the weights that want one."""
    y, w, *weights = ctx.saved_tensors
    g_w = torch.zeros_like(w)
    wanted = [weight for weight, want in zip(weights, ctx.needs_input_grad[4:]) if want]
    totals = [torch.zeros_like(weight) for weight in wanted]
    for later, now in pairwise(reversed(ctx.times)):
        y, w = (each.detach().requires_grad_() for each in _back(ctx.solver, ctx.field, y, w, now, later))
        with torch.enable_grad():
            ends = _there(ctx.solver, ctx.field, y, w, now, later)[:2]
        options = {"allow_unused": True, "materialize_grads": True}
        g_y, g_w, *more = torch.autograd.grad(ends, [y, w, *wanted], [g_y, g_w], **options)
        for total, each in zip(totals, more, strict=True):
            total.add_(each)
    return g_y + g_w, *totals


def _there(s: Retraced, field: Field, y: Tensor, w: Tensor, now: float, later: float) -> tuple[Tensor, Tensor, Tensor]:
    """The next pair, and the velocity at w."""
    change, slope = _increment(field, w, now, later)
    y = s.coupling * y + (1 - s.coupling) * w + change
    return y, w - _increment(field, y, later, now)[0], slope


def _back(s: Retraced, field: Field, y: Tensor, w: Tensor, now: float, later: float) -> tuple[Tensor, Tensor]:
    w = w + _increment(field, y, later, now)[0]
    return (y - (1 - s.coupling) * w - _increment(field, w, now, later)[0]) / s.coupling, w


def _increment(field: Field, x: Tensor, now: float, later: float) -> tuple[Tensor, Tensor]:
    """What the classical Runge-Kutta method adds between two times, and the first velocity it meets."""
    h, t = later - now, [x.new_full((len(x),), at) for at in (now, (now + later) / 2, later)]
    a = field(x, t[0])
    check_output(a, x)
    b = field(x + h / 2 * a, t[1])
    c = field(x + h / 2 * b, t[1])
    return h / 6 * (a + 2 * (b + c) + field(x + h * c, t[2])), a

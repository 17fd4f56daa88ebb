"""Gradients through a solve by another solve, backwards: the adjoint method.

    dx/dt = f(x, t; w),      a(t) = dL/dx(t),      da/dt = -(df/dx)^T a,      dL/dw = integral of (df/dw)^T a dt

At the end x and a = dL/dx are known, so one solve from there back to the start carries all three,

    d/dt (x, a, g) = (f, -(df/dx)^T a, -(df/dw)^T a),      g = 0 at the end,

and leaves dL/dx and dL/dw at the start. Of the way there nothing is kept but its last x, however many steps it took,
and of the way back the graph of one call of f. Whatever else f depends on is a w: weights, and a context. Where f holds
a divergence besides (`augmented`), log-determinants are columns of x like any other.

The gradient is that of the ODE, to the accuracy of the way back: optimise, then discretise. It is not the gradient of
the steps taken there, which `Retraced` has, exactly and in constant memory too; and x need not retrace its way where f
contracts, since backwards it expands (Gholami et al.). What is gained is that any solver will do, adaptive ones among
them. All of (x, a, g) is linear in a, so a is divided by its largest entry first: tolerances then mean the same for
every loss. g belongs to the whole batch, so the way back is one event, of one time and one step.

References:
    Pontryagin et al. 1962. Chen, Rubanova, Bettencourt, Duvenaud 2018, arXiv 1806.07366.
    Gholami, Keutzer, Biros 2019, arXiv 1902.10298 (where it fails).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import underivable
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Path, Prediction, velocity
from pushforward.solvers.adaptive import Adaptive
from pushforward.solvers.runge_kutta import RungeKutta
from pushforward.solvers.state import Field, Frugal, Solver, Trajectory, counted, drain


@dataclass(frozen=True)
class Adjoint(Frugal):
    """Another solver, whose gradients come from a solve backwards, in memory that does not grow with its steps.

    For training by likelihood: `models.ffjord((2,), solver=Adjoint(Adaptive()))`. Samples are the other solver's.

    Args:
        solver: of the way there, Runge-Kutta or adaptive.
        back: of the way back; the same if None.

    Raises:
        ConfigError: a solver of another kind.

    References:
        Chen, Rubanova, Bettencourt, Duvenaud 2018, arXiv 1806.07366.

    >>> rate, x = torch.tensor(0.5, requires_grad=True), torch.ones(1, 1)
    >>> end, nfe = Adjoint().follow(lambda x, t: rate * x, x, 0.0, 1.0, [rate])  # exp(0.5)
    >>> end.sum().backward()
    >>> rate.grad
    tensor(1.6487)
    """

    solver: Solver = Adaptive()
    back: Solver | None = None

    def __post_init__(self) -> None:
        for each in (self.solver, self.back or self.solver):
            if not isinstance(each, RungeKutta | Adaptive):
                fix = "Pass RK4(steps=20) or Adaptive()."
                raise ConfigError(explain("a Runge-Kutta or adaptive solver for an adjoint", repr(each), fix))

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
        return self.solver.trajectory(field, x, start, end, path, prediction, draw)

    def follow(
        self, field: Field, x: Sample, start: float, end: float, weights: Sequence[Tensor]
    ) -> tuple[Sample, int]:
        return _Follow.apply(self, field, (start, end), x, *weights)  # pyright: ignore[reportReturnType]


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, adjoint: Adjoint, field: Field, ends: tuple[float, float], x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, int]:
        last, nfe = counted(adjoint.solver.trajectory(field, x, *ends))
        ctx.solver, ctx.field, ctx.ends = adjoint.back or adjoint.solver, field, ends
        ctx.save_for_backward(last, *weights)
        return last, nfe

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with torch.no_grad():
            found = _pulled(ctx, grad_outputs[0])
        if torch.is_grad_enabled():
            found = underivable(found, "an adjoint", grad_outputs[0], *ctx.saved_tensors)
        to_x, *others = found
        each = iter(others)
        return None, None, None, to_x, *(next(each) if want else None for want in ctx.needs_input_grad[4:])


def _pulled(ctx: Any, a: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x and of the weights that want one."""
    (x, *weights), wants = ctx.saved_tensors, ctx.needs_input_grad[4:]
    wanted = [weight for weight, want in zip(weights, wants, strict=True) if want]
    sizes = [x.numel(), x.numel(), *(weight.numel() for weight in wanted)]
    unit = a.abs().max().clamp(min=torch.finfo(a.dtype).tiny)
    begin = torch.cat([x.flatten(), (a / unit).flatten(), x.new_zeros(sum(sizes[2:]))])[None]
    finish = drain(ctx.solver.trajectory(_backward(ctx.field, x.shape, wanted), begin, *reversed(ctx.ends)))
    _, a, *totals = finish[0].split(sizes)
    each = (total.view_as(weight).to(weight) * unit for total, weight in zip(totals, wanted, strict=True))
    return a.view_as(x) * unit, *each


def _backward(field: Field, shape: torch.Size, wanted: list[Tensor]) -> Field:
    """d/dt (x, a, g) as a field over one event, all three laid out flat."""
    n = shape.numel()

    def both(state: Tensor, t: Tensor) -> Tensor:
        x, a = (part.view(shape) for part in state[0, : 2 * n].split(n))
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            slope = field(x, t.expand(len(x)))
        pulled = torch.autograd.grad(slope, [x, *wanted], a, allow_unused=True, materialize_grads=True)
        return torch.cat([slope.detach().flatten(), *(-each.flatten().to(x.dtype) for each in pulled)])[None]

    return both

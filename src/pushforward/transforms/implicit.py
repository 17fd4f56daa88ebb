"""Solutions found by iteration, as good as formulas: certified, and differentiable.

x solves f(x; theta) = y and was found without derivatives. By the implicit function theorem

    dx = J^-1 (dy - df),      J = df/dx at x,      df the change of f under a change of theta at fixed x,

so the gradient g of a loss in x becomes v = J^-T g in y and -v in f. The transposed system is solved with
vector-Jacobian products alone,

    v <- v + (g - J^T v) / d,

which for triangular J and its diagonal d ends after as many rounds as there are levels, exactly; and for
J = 1 + (a contraction) and d = 1 converges like the iteration that found x. Memory does not grow with either. First
derivatives are all there are: a second one is refused.

A solution is certified by one call of f: wherever neither f(x) is within tolerance of y, nor x (by one Newton
step of the diagonal) of the true solution, an error says how many samples are concerned. That is the error of the
search. What a map amplifies of its own rounding is no fault of it, and larger where the map is ill-conditioned.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import once
from pushforward._errors import PushforwardError, explain

Equation = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x [batch, n] -> (f(x) [batch, n], log of the diagonal of its Jacobian [batch, n])."""


def solution(f: Equation, x: Tensor, y: Tensor, rounds: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """(x, log-diagonal there), certified, and with the derivatives of the exact solution of f(x) = y.

    Args:
        f: the equation; called once, and once more where derivatives are wanted.
        x: the solution that was found, [batch, n]; it carries no gradient.
        y: the values wanted, [batch, n].
        rounds: after how many rounds at most the transposed system is solved.
        tolerance: largest error, relative to 1 + |y| or 1 + |x|; never below 256 units of the precision.

    Raises:
        PushforwardError: samples that are no solution; the message says how many.
    """
    leaf = x.detach()
    if torch.is_grad_enabled():
        leaf = leaf.requires_grad_()
    value, diagonal = f(leaf)
    certify(value.detach(), y.detach(), leaf.detach(), diagonal.detach(), tolerance)
    if not (value.requires_grad or y.requires_grad):
        return leaf, diagonal
    found: Tensor = _Implicit.apply(y - value, leaf, value, diagonal.detach(), rounds)  # pyright: ignore[reportAssignmentType]
    return found, f(found)[1]


def certify(value: Tensor, y: Tensor, x: Tensor, diagonal: Tensor, tolerance: float) -> None:
    """Raise unless f(x) = `value` is near `y`, or x near the solution, in each sample that has one.

    Where y is not finite, or no x was found (it is NaN), the sample is NaN, which is said and spoils no other.
    """
    tolerance = max(tolerance, 256 * torch.finfo(y.dtype).eps)
    error = (value - y).abs()
    near = (error <= tolerance * (1 + y.abs())) | (error * (-diagonal).exp() <= tolerance * (1 + x.abs()))
    failed = ~near.flatten(1).all(1) & (y.isfinite() & ~x.isnan()).flatten(1).all(1)
    if bool(failed.any()):
        worst = error.flatten(1).amax(1)[failed].nan_to_num(float("inf")).max()
        got = f"{int(failed.sum())} of {len(y)} samples beyond it (worst {worst:.1g})"
        fix = "Use float64, bound the scales of the model, or call eval() if it has dropout."
        raise PushforwardError(explain(f"an inverse within {tolerance:.1g}", got, fix))


class _Implicit(torch.autograd.Function):
    """x as a function of the residual y - f(x): backward solves the transposed system."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, value: Tensor, diagonal: Tensor, rounds: int) -> Tensor:
        ctx.save_for_backward(x, value, diagonal, residual)
        ctx.rounds = rounds
        return x.detach().clone()

    @staticmethod
    @once
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        (g,), (x, value, diagonal, _) = grad_outputs, ctx.saved_tensors
        scale, eps = (-diagonal).exp(), 4 * torch.finfo(g.dtype).eps
        v = g * scale
        for _ in range(ctx.rounds):
            (product,) = torch.autograd.grad(value, x, v, retain_graph=True)
            step = (g - product) * scale
            v = v + step
            if not bool((step.abs() > eps * v.abs().amax(1, keepdim=True)).any()):
                break
        return v, None, None, None, None

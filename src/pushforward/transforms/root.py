"""Where an increasing function of one number takes a given value: Newton's method within a bracket.

    f(x) = y,   low <= x <= high,      x <- x - (f(x) - y) / f'(x),  or the middle of the bracket if that leaves it

The bracket shrinks with every value seen. Newton's steps may go to and fro between its ends and hardly move them, so
of two in a row that pass more than half of it the second is the middle instead: convergence is certain, and quadratic
at the end. Each number stops by itself when its step is within rounding, so that no result depends on the batch around
it.

The search runs without derivatives. Two further Newton steps with them make the result differentiable in y and in
the parameters of f: if x0 is right at the parameters' values but constant in them, a Newton step from it errs by
O(d**2) under a change d of the parameters, and the next one by O(d**4), so derivatives up to the third are those of
the exact inverse.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward._derivatives import refuse_vmap


def root(f: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, low: Tensor, high: Tensor, most: int = 128) -> Tensor:
    """x with f(x) = y for every number of y, with its derivatives.

    Args:
        f: x -> (value, slope), number by number, increasing on the bracket.
        y: the values wanted; each within [f(low), f(high)] but for rounding.
        low, high: the bracket, of y's shape. No derivative is taken through it.
        most: Newton steps at most; bisection alone needs about 60 in float64.

    >>> root(lambda x: (x**3, 3 * x**2), torch.tensor([8.0]), torch.zeros(1), torch.tensor([100.0]))
    tensor([2.])
    """
    with torch.no_grad():
        x = _search(f, y.detach(), low.detach(), high.detach(), most)
    for _ in range(2):
        value, slope = f(x)
        x = x - (value - y) / slope
    return x


def _search(f: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, low: Tensor, high: Tensor, most: int) -> Tensor:
    x, eps = 0.5 * (low + high), 4 * torch.finfo(y.dtype).eps
    moving, leapt = torch.ones_like(y, dtype=torch.bool), torch.zeros_like(y, dtype=torch.bool)
    for _ in range(most):
        value, slope = f(x)
        refuse_vmap(value, y)
        low, high = torch.where(value <= y, x, low), torch.where(value >= y, x, high)
        newton = x - (value - y) / slope
        far = 2 * (newton - x).abs() > high - low
        taken = (newton > low) & (newton < high) & ~(far & leapt)
        leapt = far & taken
        step = torch.where(moving, torch.where(taken, newton, 0.5 * (low + high)) - x, 0)
        x = x + step
        moving = moving & (step.abs() > eps * (1 + x.abs()))
        if not moving.any():
            break
    return x

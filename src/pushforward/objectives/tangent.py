"""The derivative of a network along a direction, however it can be had.

    d f(x + h dx, t + h dt) / dh  at h = 0

Forward mode (`torch.func.jvp`) is exact and costs about two calls. Some kernels have none (fused attention among them);
there the central difference stands in, two calls and an error of order h**2 beside the rounding of order 1 / h.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Derivative = Literal["auto", "jvp", "difference"]
"""Forward mode, the difference quotient, or the first where it works and else the second."""

_EXCUSES = ("forward AD", "jvp", "JVP", "functorch", "torch.func", "setup_context", "dual")


def tangent(
    f: Callable[..., Tensor],
    at: tuple[Tensor, ...],
    along: tuple[Tensor, ...],
    how: Derivative = "auto",
    h: float = 1e-3,
) -> Tensor:
    """The derivative of `f` at these arguments along these directions, of f's shape.

    Args:
        f: a function of tensors whose first axis is the batch.
        at: its arguments.
        along: a direction for each.
        how: see `Derivative`.
        h: half the step of the difference quotient.

    >>> tangent(lambda x, t: x * t, (torch.ones(1), torch.ones(1)), (torch.ones(1), torch.ones(1)), "jvp")
    tensor([2.])
    """
    if how != "difference":
        try:
            return torch.func.jvp(f, at, along)[1]
        except (NotImplementedError, RuntimeError) as error:
            if how == "jvp" or not _is_excuse(error):
                raise
    ahead, behind = (f(*(x + sign * h * dx for x, dx in zip(at, along, strict=True))) for sign in (1, -1))
    return (ahead - behind) / (2 * h)


def _is_excuse(error: Exception) -> bool:
    """Whether the error says that there is no forward-mode derivative, and nothing else."""
    return isinstance(error, NotImplementedError) or any(word in str(error) for word in _EXCUSES)

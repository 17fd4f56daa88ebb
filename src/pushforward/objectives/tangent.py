"""The derivative of a network along a direction, however it can be had.

    d f(x + h dx, t + h dt) / dh  at h = 0

Forward mode (`torch.func.jvp`) is exact and costs about two calls. Some kernels have none (fused attention among them);
there the central difference stands in, two calls and a relative error of (w h)**2 / 6 for a wave of w radians per unit
beside the rounding, of order 1 / h. The fastest waves that our networks are told the time in have w = 128 pi, so h is
1e-4 in float32. Under autocast the rounding would be all there is: the two calls are made without it. And they drop the
same units, where a network drops some.
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
    h: float | None = None,
) -> Tensor:
    """The derivative of `f` at these arguments along these directions, of f's shape.

    Args:
        f: a function of tensors whose first axis is the batch.
        at: its arguments.
        along: a direction for each.
        how: see `Derivative`.
        h: half the step of the difference quotient; by default what the precision of the first argument allows, 1e-4 in
            float32.

    >>> tangent(lambda x, t: x * t, (torch.ones(1), torch.ones(1)), (torch.ones(1), torch.ones(1)), "jvp")
    tensor([2.])
    """
    if how != "difference":
        try:
            return torch.func.jvp(f, at, along)[1]
        except (NotImplementedError, RuntimeError) as error:
            if how == "jvp" or not _is_excuse(error):
                raise
    return _difference(f, at, along, _step(at[0].dtype) if h is None else h)


def _difference(f: Callable[..., Tensor], at: tuple[Tensor, ...], along: tuple[Tensor, ...], h: float) -> Tensor:
    device = at[0].device
    with torch.autocast(device.type, enabled=False):
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # one dropout for both sides
            behind = f(*(x - h * dx for x, dx in zip(at, along, strict=True)))
        return (f(*(x + h * dx for x, dx in zip(at, along, strict=True))) - behind) / (2 * h)


def _step(dtype: torch.dtype) -> float:
    """Rounding over h is level with h**2, both in units of the fastest wave: 1e-4 in float32.

    >>> f"{_step(torch.float32):.1e}"
    '9.8e-05'
    """
    return torch.finfo(dtype).eps ** (1 / 3) / 50


def _is_excuse(error: Exception) -> bool:
    """Whether the error says that there is no forward-mode derivative, and nothing else."""
    return isinstance(error, NotImplementedError) or any(word in str(error) for word in _EXCUSES)

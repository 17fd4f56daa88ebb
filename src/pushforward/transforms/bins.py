"""The bin of a rational spline that holds each number, straight from unconstrained parameters, as one node.

With e_j = exp(raw_j) and S_k = e_1 + .. + e_k, the knots between low and high are

    X_k = low + total (least k + c S_k / S_K),      c = 1 - least K,      total = high - low

and of all K + 1 knots on either side a number needs the two around it. So do derivatives: with q_j = e_j / S_K and
gradients g_0, g_1 in the knots k and k + 1,

    d/d raw_j = total c q_j (g_0 [j <= k] + g_1 [j <= k + 1] - (g_0 S_k + g_1 S_(k+1)) / S_K).

Everything runs along the numbers, one row for each parameter, so that short axes are never in the inner loop; a network
that lays its output out that way (`nets.MaskedDense`) saves a copy. `splines.py` says the same in plain operations, for
derivatives of other kinds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Ends = tuple[Tensor, ...]
"""x_0, x_1, y_0, y_1 of the bin, and the raw slopes at its ends, each of the shape of the numbers."""


class Layout(NamedTuple):
    """Which parameter is what: 2 `bins` rows of widths and heights, then raw slopes.

    `slopes` says for each knot which of these it reads, -1 for a slope of 1.
    """

    bins: int
    low: float
    high: float
    least: float
    slopes: tuple[int, ...]


def ends(x: Tensor, params: Tensor, layout: Layout, inverse: bool, plain: Callable[[Tensor, Tensor], Ends]) -> Ends:
    """The ends of the bins that hold numbers [*], of parameters [*, size]; `plain` computes the same."""
    return _Ends.apply(x, params, layout, inverse, plain)  # pyright: ignore[reportReturnType]


class _Ends(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, params: Tensor, layout: Layout, inverse: bool, plain: Callable[[Tensor, Tensor], Ends]
    ) -> Ends:
        bins, axes = layout.bins, _axes(params)
        rows = params.permute(-1, *axes)
        rows = rows.contiguous() if params.stride(-1) == 1 else rows
        raw = rows[: 2 * bins].unflatten(0, (2, bins))  # [widths and heights, bins, *]
        table = raw.new_empty(3, bins + 1, *raw.shape[2:])  # S_0 = 0 to S_K of both, and the raw slopes at all knots
        sums, table[:2, 0] = table[:2], 0.0
        e = torch.sub(raw, raw.amax(1, keepdim=True), out=None if params.requires_grad else sums[:, 1:]).exp_()
        for j in range(bins):
            torch.add(sums[:, j], e[:, j], out=sums[:, j + 1])
        table[2, 1:-1] = rows[2 * bins : 3 * bins - 1]
        for knot in (0, bins):
            table[2, knot] = 0.0 if layout.slopes[knot] < 0 else rows[2 * bins + layout.slopes[knot]]
        least, total, last = layout.least * (layout.high - layout.low), layout.high - layout.low, sums[:, -1]
        scale, number = total * (1 - layout.least * bins) / last, x.permute(axes)
        even = layout.low + least * _steps(bins + 1, number)
        knots = torch.addcmul(even[1:-1], sums[int(inverse), 1:-1], scale[int(inverse)])
        k = (number >= knots).sum(0)
        around = torch.stack([k, k + 1])
        found = table.gather(1, around.expand(3, *around.shape))
        corners = torch.addcmul(layout.low + least * around.to(x.dtype), found[:2], scale[:, None])
        corners[:, 1].masked_fill_(k == bins - 1, layout.high)
        ctx.save_for_backward(x, params, e, last, k, found[:2])
        ctx.layout, ctx.plain = layout, plain
        back = torch.tensor(axes).argsort().tolist()
        return tuple(end.permute(back) for end in (*corners.flatten(0, 1), *found[2]))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, params, e, last, k, found = ctx.saved_tensors
        if torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():  # pyright: ignore[reportAttributeAccessIssue]
            with torch.enable_grad():
                grads = torch.autograd.grad(ctx.plain(x, params), params, grad_outputs, create_graph=True)
            return None, *grads, None, None, None
        layout: Layout = ctx.layout
        bins = layout.bins
        axes = _axes(params)
        g = torch.stack([each.permute(axes) for each in grad_outputs])
        g_0, g_1 = g[0:4:2], g[1:4:2]
        scale = (layout.high - layout.low) * (1 - layout.least * bins)
        grad = torch.empty_like(params)  # laid out as they are, where they fill their memory
        rows = grad.permute(-1, *axes)
        raw = rows[: 2 * bins].unflatten(0, (2, bins))
        distance = k.to(e.dtype)[None] - _steps(bins, e[0, 0])  # [j <= k] and [j <= k + 1] are its clamps, j from 1
        torch.mul(distance.clamp(0, 1), g_0[:, None], out=raw)
        raw.addcmul_(distance.add_(1).clamp_(0, 1), g_1[:, None])
        shares = found / last[:, None]
        raw.sub_((g_0 * shares[:, 0]).addcmul_(g_1, shares[:, 1])[:, None]).mul_(e).mul_((scale / last)[:, None])
        places = torch.tensor(layout.slopes, device=x.device)[torch.stack([k, k + 1])]
        slopes = g[4:].masked_fill_(places < 0, 0.0)
        rows[2 * bins :] = 0
        rows[2 * bins :].scatter_add_(0, places.clamp_min(0), slopes)
        return None, grad, None, None, None


def _axes(params: Tensor) -> list[int]:
    """The axes of the numbers, that of the longest stride first."""
    return sorted(range(params.ndim - 1), key=lambda axis: -params.stride(axis))


def _steps(bins: int, like: Tensor) -> Tensor:
    """0, 1, .., bins - 1 as rows that broadcast over numbers."""
    return torch.arange(bins, dtype=like.dtype, device=like.device).view(-1, *[1] * like.ndim)

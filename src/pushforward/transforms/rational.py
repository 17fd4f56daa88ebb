"""The rational-quadratic spline straight from unconstrained parameters, as one node.

With e = softmax(raw) and S_k = e_1 + .. + e_k, the knots between low and high are

    X_k = low + total (least k + c S_k),      c = 1 - least K,      total = high - low,

of which a number needs the two around it. In its bin, of width w, height h and s = h / w, with xi from 0 to 1 and
o = 1 - xi, the formula of `splines.py` is, with a name for what repeats,

    p = s xi + d_0 o,    q = d_1 xi + s o,    b = s + (d_0 + d_1 - 2 s) xi o,    m = xi q + o p
    y = y_0 + h xi p / b,      y' = (s / b)**2 m,      L = log y'

A loss with gradients g in y and u in L has, from the outside in,

    in m    u / m                                   in xi    g y' w + 2 u ((q - p) / m - (d_0 + d_1 - 2 s) (o - xi) / b)
    in b    -(a xi p + 2 u) / b,   a = g h / b      in s     a xi**2 + 2 u / s, and its share of b and m

and of the knots k and k + 1 gradients g_0 and g_1, which reach the parameters as

    d/d raw_j = total c e_j (g_0 [j <= k] + g_1 [j <= k + 1] - g_0 S_k - g_1 S_(k+1)).

The inverse is an implicit function: gradients g in x and v in -L are (v dL/dx - g) / y' in y(x), and -v in L.

Everything runs along the numbers, one row for each parameter, so that short axes are never in the inner loop; a network
that lays its output out that way (`nets.MaskedDense`) saves a copy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._derivatives import Fused, Tensors
from pushforward.transforms.splines import place


class Layout(NamedTuple):
    """Which parameter is what: 2 `bins` rows of widths and heights, then raw slopes.

    `slopes` says for each knot which of these it reads, -1 for a slope of 1. Shares of the interval and slopes are
    `least` at least.
    """

    bins: int
    low: float
    high: float
    least: float
    slopes: tuple[int, ...]


@dataclass(frozen=True)
class RationalSpline(Fused):
    """(value, ladj) [*] of numbers [*] and parameters [*, size]; `otherwise` says the same in plain operations."""

    layout: Layout
    inverse: bool
    otherwise: Callable[[Tensor, Tensor], Tensors]

    def plain(self, *inputs: Tensor) -> Tensors:
        x, params = inputs
        return self.otherwise(x, params)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, params = inputs
        low, high, least = self.layout[1:4]
        axes = _axes(params)
        number = x.permute(axes)
        rows = params.permute(-1, *axes)
        e, table = self._table(rows.contiguous() if params.stride(-1) == 1 else rows)
        k = (number >= table[int(self.inverse), 1:-1]).sum(0)
        around = torch.stack([k, k + 1])
        corners, raw = table.gather(1, around.expand(3, *around.shape)).split([2, 1])
        v = raw[0].add_(math.log(math.e - 1))
        d = softplus(v).mul_(1 - least).add_(least)
        (x_0, y_0), (w, h), (d_0, d_1) = corners[:, 0], corners[:, 1] - corners[:, 0], d
        s, c = h / w, number.clamp(low, high)
        xi = place((c - y_0) / h, s, d_0, d_1) if self.inverse else ((c - x_0) / w).clamp_(0, 1)
        o = 1 - xi
        p, q = (d_0 * o).addcmul_(s, xi), (s * o).addcmul_(d_1, xi)
        b = (d_0 + d_1).sub_(s, alpha=2).mul_(xi).mul_(o).add_(s)
        m = (xi * q).addcmul_(o, p)
        slope = (s / b).square_().mul_(m)
        beyond, ladj = number - c, slope.log()
        if self.inverse:
            value, ladj = torch.addcmul(x_0, w, xi).addcdiv_(beyond, slope), ladj.neg_()
        else:
            value = (xi * p).div_(b).mul_(h).add_(y_0).addcmul_(beyond, slope)
        results = value.permute(_back(axes)), ladj.permute(_back(axes))
        return results, (results[0] if self.inverse else x, e, around, corners, v, d, s, xi, p, q, b, m, slope)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (_, params), (number, e, around, corners, v, d, s, xi, p, q, b, m, slope) = inputs, kept
        bins, low, high, least, _ = self.layout
        axes = _axes(params)
        number = number.permute(axes)
        g, u = (each.permute(axes) for each in results)
        (w, h), (d_0, d_1), o = corners[:, 1] - corners[:, 0], d, 1 - xi
        steep = (d_0 + d_1).sub_(s, alpha=2).mul_(xi - o).div_(b).add_((q - p).div_(m)).mul_(2)  # dL/dxi
        bend = _within(steep.div_(w), number, low, high)
        if self.inverse:
            to_x, u = torch.addcmul(g, u, bend, value=-1).div_(slope), -u
            along, g = -g, -to_x
        else:
            to_x = along = (g * slope).addcmul_(u, bend)
        t, u = xi * o, torch.addcmul(u, g * slope, number - number.clamp(low, high))
        ratio = (xi * p).div_(b)
        a, in_m = g * h / b, u / m
        in_b = (a * ratio).addcdiv_(u, b, value=2).neg_()
        in_s = torch.addcmul(in_b, t, in_m - in_b, value=2).addcmul_(a, xi.square()).addcdiv_(u, s, value=2)
        in_d = torch.stack([(a + in_b).mul_(t).addcmul_(in_m, o.square_()), (in_b * t).addcmul_(in_m, xi.square())])
        in_s.div_(w)
        upper = torch.stack([torch.addcmul(in_s * s, along, xi).neg_(), torch.addcmul(in_s, g, ratio)])
        lower = torch.stack([-along, g]).sub_(upper)
        grad = torch.empty_like(params)  # laid out as they are, where they fill their memory
        rows = grad.permute(-1, *axes)
        self._to_knots(rows[: 2 * bins].unflatten(0, (2, bins)), lower, upper, e, around, corners)
        in_d.mul_(v.sigmoid()).mul_(1 - least)
        self._to_slopes(rows[2 * bins :], in_d, around)
        return to_x.permute(_back(axes)), grad

    def _table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """e, and X_k, Y_k and the raw slopes at all knots, [3, bins + 1, *]."""
        bins, low, high, least, slopes = self.layout
        e = rows[: 2 * bins].unflatten(0, (2, bins)).softmax(1)
        table = e.new_empty(3, bins + 1, *e.shape[2:])
        sums, total = table[:2].unbind(1), high - low
        sums[0].zero_()
        for below, each, above in zip(sums, e.unbind(1), sums[1:], strict=False):
            torch.add(below, each, out=above)
        even = torch.linspace(low, low + total * least * bins, bins + 1, dtype=e.dtype, device=e.device)
        torch.add(even.view(-1, *[1] * (e.ndim - 2)), table[:2], alpha=total * (1 - least * bins), out=table[:2])
        table[:2, -1] = high
        table[2, 1:-1] = rows[2 * bins : 3 * bins - 1]
        for knot in (0, bins):
            table[2, knot] = 0.0 if slopes[knot] < 0 else rows[2 * bins + slopes[knot]]
        return e, table

    def _to_knots(self, raw: Tensor, lower: Tensor, upper: Tensor, e: Tensor, around: Tensor, corners: Tensor) -> None:
        """Gradients of the knots below and above, [2, *], into those of raw widths and heights, [2, bins, *]."""
        bins, low, high, least, _ = self.layout
        free = (high - low) * (1 - least * bins)
        sums = (corners - low - least * (high - low) * around.to(e.dtype)).mul_(1 / free)  # S_k, S_(k+1)
        lower, upper = lower.mul_(free), upper.mul_(free)
        steps = torch.arange(bins, dtype=e.dtype, device=e.device).view(-1, *[1] * (e.ndim - 2))
        distance = around[0].to(e.dtype) - steps  # [j <= k] and [j <= k + 1] are its clamps, j from 1
        torch.mul(distance.clamp(0, 1), lower[:, None], out=raw)
        raw.addcmul_(distance.add_(1).clamp_(0, 1), upper[:, None])
        raw.sub_((lower * sums[:, 0]).addcmul_(upper, sums[:, 1])[:, None]).mul_(e)

    def _to_slopes(self, rows: Tensor, ends: Tensor, around: Tensor) -> None:
        """Gradients of the slopes at both ends, [2, *], into those of raw slopes."""
        bins, slopes = self.layout.bins, self.layout.slopes
        table = ends.new_zeros(bins + 1, *ends.shape[1:]).scatter_(0, around, ends)
        rows[: bins - 1] = table[1:-1]
        rows[bins - 1 :] = 0
        for knot in (0, bins):
            if slopes[knot] >= 0:
                rows[slopes[knot]] += table[knot]


_within = torch.ops.aten.hardtanh_backward
"""A gradient where the number lies between the ends, 0 elsewhere."""


def _axes(params: Tensor) -> list[int]:
    """The axes of the numbers, that of the longest stride first."""
    return sorted(range(params.ndim - 1), key=lambda axis: -params.stride(axis))


def _back(axes: list[int]) -> list[int]:
    """The order that undoes an order."""
    return sorted(range(len(axes)), key=axes.__getitem__)

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
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._derivatives import Fused, Tensors, whole
from pushforward.transforms.compiled import axes_of, spline, spline_for, strides_of
from pushforward.transforms.splines import Layout, place
from pushforward.transforms.unrolled import in_graph


@dataclass(frozen=True)
class RationalSpline(Fused):
    """(value, ladj) [*] of numbers [*] and parameters [*, size]; `otherwise` says the same in plain operations."""

    layout: Layout
    inverse: bool
    otherwise: Callable[[Tensor, Tensor], Tensors]

    def plain(self, *inputs: Tensor) -> Tensors:
        x, params = inputs
        found = in_graph(x, params, self.layout, self.inverse) if whole() else None
        return self.otherwise(x, params) if found is None else found

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, params = inputs
        if (quick := spline_for(x, x.numel())) is not None:
            found = quick.mapped(x, params, self.layout, self.inverse)
            return found, (found[0] if self.inverse else x,)
        axes = axes_of(params)
        number, rows = x.permute(axes).reshape(-1), params.permute(-1, *axes).reshape(params.shape[-1], x.numel())
        value, ladj, *kept = self._mapped(number, rows)
        strides = strides_of(x.shape, axes)
        results = value.as_strided(x.shape, strides), ladj.as_strided(x.shape, strides)
        return results, (value if self.inverse else number, *kept)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor, Tensor]:
        x, params = inputs
        if len(kept) == 1 and (quick := spline()) is not None:
            return quick.pulled(*kept, params, *results, self.layout, self.inverse)
        axes = axes_of(params)
        to_x, rows = self._pulled(*(each.permute(axes).reshape(-1) for each in results), *kept)
        strides = strides_of(x.shape, axes)
        return to_x.as_strided(x.shape, strides), rows.as_strided(params.shape, (*strides, x.numel()))

    def _mapped(self, number: Tensor, rows: Tensor) -> Tensors:
        """(value, ladj) of numbers [n] and rows of parameters [size, n], and what `_pulled` is to be given."""
        bins, low, high, least, _ = self.layout
        e, k, (x_0, y_0), (w, h) = self._bins(number, rows[: 2 * bins])
        slots, outside = self._slots(k)
        v = rows[2 * bins :].gather(0, slots).add_(math.log(math.e - 1))
        d = softplus(v).mul_(1 - least).add_(least)
        if outside is not None:
            d.masked_fill_(outside, 1.0)
        (d_0, d_1), s, c = d, h / w, number.clamp(low, high)
        xi = place((c - y_0).div_(h), s, d_0, d_1) if self.inverse else (c - x_0).div_(w).clamp_(0, 1)
        p, q = torch.lerp(d_0, s, xi), torch.lerp(s, d_1, xi)
        b, m = torch.lerp(q, p, xi), torch.lerp(p, q, xi)
        slope, share = (s / b).square_().mul_(m), (xi * p).div_(b)
        beyond, ladj = number - c, slope.log()
        if self.inverse:
            value, ladj = torch.addcmul(x_0, w, xi).addcdiv_(beyond, slope), ladj.neg_()
        else:
            value = torch.addcmul(y_0, h, share).addcmul_(beyond, slope)
        return value, ladj, e, k, w, h, v, d, s, xi, p, q, b, m, slope, share

    def _pulled(
        self, g: Tensor, u: Tensor, number: Tensor, e: Tensor, k: Tensor, w: Tensor, h: Tensor, v: Tensor, d: Tensor,
        s: Tensor, xi: Tensor, p: Tensor, q: Tensor, b: Tensor, m: Tensor, slope: Tensor, share: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The gradients of numbers [n] and rows of parameters [size, n], of those of value and ladj."""
        bins, low, high, least, _ = self.layout
        (d_0, d_1), o = d, 1 - xi
        steep = (d_0 + d_1).sub_(s, alpha=2).mul_(xi - o).div_(b).add_((q - p).div_(m)).mul_(2)  # dL/dxi
        bend = _within(steep.div_(w), number, low, high)
        if self.inverse:
            to_x, u = torch.addcmul(g, u, bend, value=-1).div_(slope), -u
            along, g = -g, -to_x
        else:
            to_x = along = (g * slope).addcmul_(u, bend)
        t, u = xi.mul(o), torch.addcmul(u, g * slope, number - number.clamp(low, high))
        a, in_m = g * h / b, u / m
        in_b = (a * share).addcdiv_(u, b, value=2).neg_()
        in_s = torch.addcmul(in_b, t, in_m - in_b, value=2).addcmul_(a, xi.square()).addcdiv_(u, s, value=2).div_(w)
        in_d = torch.stack([(a + in_b).mul_(t).addcmul_(in_m, o.square_()), in_b.mul_(t).addcmul_(in_m, xi.square())])
        size = 2 * bins + len(set(self.layout.slopes) - {-1})
        rows = g.new_empty(size, len(g))
        in_below = torch.stack([-along, g])
        in_own = torch.stack([(in_s * s).addcmul_(along, xi).neg_(), in_s.addcmul_(g, share)])
        self._to_shares(rows[: 2 * bins].view(e.shape), in_below, in_own, e, k)
        self._to_slopes(rows[2 * bins :], in_d.mul_(v.sigmoid()).mul_(1 - least), k)
        return to_x, rows

    def _bins(self, number: Tensor, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Shares e [2, bins, n], bins k [n] that numbers lie in, their lower corners and their sizes, [2, n]."""
        bins, low, high, least, _ = self.layout
        e = raw.view(2, bins, len(number)).softmax(1)
        free, floor = (high - low) * (1 - least * bins), (high - low) * least
        knots = e.new_empty(2, bins + 1, len(number))
        ends = knots.unbind(1)
        ends[0].fill_(low)
        for (below, above), size in zip(pairwise(ends), e.mul(free).add_(floor).unbind(1), strict=True):
            torch.add(below, size, out=above)
        ends[-1].fill_(high)
        k = (number >= knots[int(self.inverse), 1:-1]).sum(0)
        lower, upper = (knots.gather(1, (k + i).expand(2, 1, len(k)))[:, 0] for i in (0, 1))
        return e, k, lower, upper - lower

    def _to_shares(self, raw: Tensor, in_below: Tensor, in_own: Tensor, e: Tensor, k: Tensor) -> None:
        """Gradients in the shares below a number's own, and in its own, [2, n], into those of raw ones [2, bins, n]."""
        bins, low, high, least, _ = self.layout
        free = (high - low) * (1 - least * bins)
        steps = torch.arange(bins, dtype=e.dtype, device=e.device)
        below = (k.to(e.dtype) - steps[:, None]).clamp_(0, 1)
        in_e = below * in_below.mul_(free)[:, None]
        in_e.scatter_(1, k.expand(2, 1, len(k)), in_own.mul_(free)[:, None])
        _through_softmax(in_e, e, 1, e.dtype, grad_input=raw)

    def _to_slopes(self, raw: Tensor, in_d: Tensor, k: Tensor) -> None:
        """Gradients in the slopes at both ends of a number's bin, [2, n], into those of raw slopes."""
        bins, slopes = self.layout.bins, self.layout.slopes
        knots = in_d.new_zeros(bins + 1, len(k)).scatter_(0, torch.stack([k, k + 1]), in_d)
        raw[: bins - 1] = knots[1:-1]
        raw[bins - 1 :] = 0
        for knot in (0, bins):
            if slopes[knot] >= 0:
                raw[slopes[knot]] += knots[knot]

    def _slots(self, k: Tensor) -> tuple[Tensor, Tensor | None]:
        """Which raw slopes the ends of bins k read, [2, n], and where there is none: a slope of 1."""
        slopes = self.layout.slopes
        if slopes[0] < 0:
            beside = torch.stack([k - 1, k])
            slots = beside.clamp(0, self.layout.bins - 2)
            return slots, slots != beside
        return torch.tensor(slopes, device=k.device)[torch.stack([k, k + 1])], None


_within = torch.ops.aten.hardtanh_backward
"""A gradient where the number lies between the ends, 0 elsewhere."""

_through_softmax = torch.ops.aten._softmax_backward_data.out

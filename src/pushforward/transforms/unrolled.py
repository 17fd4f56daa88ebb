"""The rational-quadratic spline in graphs of `torch.compile`, along the numbers.

Tables of knots are reductions and gathers along a short axis, which inductor makes several slow loops of. Here each bin
is written out in operations on whole rows of numbers, a parameter each, which become one loop; or numba's spline is
one operation of the graph, where it takes such numbers: it compiles in a fraction of the time.
"""

import math
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward.transforms.compiled import graphs
from pushforward.transforms.splines import Layout, place

BINS = 16
"""More are too long to write out: two couplings of 16 bins take a minute and a half to compile."""

_ONE_SLOPE = math.log(math.e - 1)


def in_graph(x: Tensor, params: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor] | None:
    """(value, ladj) [*] of numbers [*] and parameters [*, size], None if there are too many bins."""
    if not (quick := graphs.takes(x)) and layout.bins > BINS:
        return None
    along = x.ndim > 0 and params.stride(0) == 1  # the batch
    number, rows = (x.movedim(0, -1), params.movedim(0, -2)) if along else (x, params)
    flat = number.reshape(-1), rows.movedim(-1, 0).reshape(params.shape[-1], x.numel())
    found = (graphs.mapped if quick else unrolled)(*flat, layout, inverse)
    value, ladj = (each.view(number.shape) for each in found)
    return (value.movedim(-1, 0), ladj.movedim(-1, 0)) if along else (value, ladj)


def unrolled(x: Tensor, rows: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor]:
    """(value, ladj) [n] of numbers [n] and rows of parameters [size, n]: the formula of `rational.py`."""
    bins, low, high, least, slopes = layout
    raw, none = rows.unbind(0), torch.zeros_like(x)
    (xs, ws), (ys, hs) = (_bins(raw[k : k + bins], low, high, least) for k in (0, bins))
    vs = [none if k < 0 else raw[2 * bins + k] for k in slopes]
    bin_of = [*zip(xs, ws, ys, hs, vs, vs[1:], strict=False)]
    found = bin_of[0]
    for edge, here in zip((ys if inverse else xs)[1:], bin_of[1:], strict=True):
        beyond = x >= edge
        found = [torch.where(beyond, new, old) for new, old in zip(here, found, strict=True)]
    x_0, w, y_0, h, *ends = found
    d_0, d_1 = (softplus(v + _ONE_SLOPE) * (1 - least) + least for v in ends)
    s, c = h / w, x.clamp(low, high)
    xi = place((c - y_0) / h, s, d_0, d_1) if inverse else ((c - x_0) / w).clamp(0, 1)
    p, q = torch.lerp(d_0, s, xi), torch.lerp(s, d_1, xi)
    b, m = torch.lerp(q, p, xi), torch.lerp(p, q, xi)
    slope = (s / b).square() * m
    if inverse:
        return x_0 + w * xi + (x - c) / slope, -slope.log()
    return y_0 + h * xi * p / b + (x - c) * slope, slope.log()


def _bins(raw: Sequence[Tensor], low: float, high: float, least: float) -> tuple[list[Tensor], list[Tensor]]:
    """The lower edges and the sizes of the bins of raw shares."""
    top = reduce(torch.maximum, raw).detach()
    shares, floor = [(each - top).exp() for each in raw], (high - low) * least
    rate = (high - low - floor * len(raw)) / reduce(torch.add, shares)
    sizes = [share * rate + floor for share in shares[:-1]]
    edges = [torch.full_like(top, low), *(each + low for each in accumulate(sizes))]
    return edges, [*sizes, high - edges[-1]]

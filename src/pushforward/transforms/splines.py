"""Increasing splines as pure functions of their knots. (`spline_maps.py` makes monotone maps of them.)

Knots (x_k, y_k), k = 0..K, and slopes d_k > 0 at them. With w, h the width and height of the bin that holds x,
s = h / w, xi = (x - x_0) / w, eta = (y - y_0) / h (x_0, d_0 and x_1, d_1 its ends):

    rational    y = y_0 + h (s xi**2 + d_0 t) / (s + (d_0 + d_1 - 2 s) t),       t = xi (1 - xi)
    cubic       y = y_0 + h xi**2 (3 - 2 xi) + w t ((1 - xi) d_0 - xi d_1)
    quadratic   y = y_0 + w (d_0 xi + (d_1 - d_0) xi**2 / 2),                    where h = w (d_0 + d_1) / 2
    linear      y = y_0 + h xi

Inverses. Rational: with u = d_0 (1 - eta) - d_1 eta, the discriminant of its quadratic equation is

    u**2 + 4 s**2 eta (1 - eta),

a sum of squares: nothing cancels, so there is nothing to assert. Of the two forms of the root the one that adds
numbers of one sign is xi = 2 s eta / (u + sqrt + 2 s eta) for u >= 0, and its mirror image (eta -> 1 - eta,
xi -> 1 - xi) for u < 0. Quadratic: the discriminant is d_0**2 (1 - eta) + d_1**2 eta. Cubic: Newton in a bracket.

Outside the knots a spline goes on as a line. Both cases are one formula without a branch: with c = clamp(x),

    y = f(c) + f'(c) (x - c),      ladj = log f'(c),

so the formula of a bin never sees a number from outside it, and no derivative is NaN, however far out x is.

References:
    Gregory, Delbourgo 1982, IMA J. Numer. Anal. 2(2) (the rational spline).
    Müller, McWilliams, Rousselle, Gross, Novák 2019, arXiv 1808.03856 (linear, quadratic).
    Durkan, Bekasov, Murray, Papamakarios 2019, arXiv 1906.02145 (cubic), 1906.04032 (rational quadratic).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

from pushforward.transforms.monotone import Pair
from pushforward.transforms.root import root

LEAST = 1e-3
"""The smallest share of the interval a bin takes, and the smallest slope."""

_Knots = tuple[Tensor, Tensor, Tensor]


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


def rational_quadratic(x: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor, *, inverse: bool = False) -> Pair:
    """The rational-quadratic spline through the knots, or its inverse.

    Args:
        x: numbers [*], anywhere; y if `inverse`.
        xs, ys: the knots, increasing, [*, K + 1] (axes before the last broadcast).
        slopes: dy/dx at the knots, above 0, [*, K + 1].
        inverse: go from y to x.

    Returns:
        (value, log-derivative of this direction), each of x's shape.

    >>> knots = torch.tensor([0.0, 1.0, 3.0])
    >>> rational_quadratic(torch.tensor([1.0, 9.0]), knots, 2 * knots, torch.full((3,), 2.0))[0]
    tensor([ 2., 18.])
    """
    x_0, x_1, y_0, y_1, d_0, d_1, c = bins_of(x, (xs, ys, slopes), inverse)
    w, h = x_1 - x_0, y_1 - y_0
    s = h / w
    xi = place((c - y_0) / h, s, d_0, d_1) if inverse else ((c - x_0) / w).clamp(0, 1)
    t = xi * (1 - xi)
    below = s + (d_0 + d_1 - 2 * s) * t
    slope = (s / below).square() * (d_1 * xi.square() + 2 * s * t + d_0 * (1 - xi).square())
    value = x_0 + w * xi if inverse else y_0 + h * (s * xi.square() + d_0 * t) / below
    return _beyond(x, c, value, slope, inverse)


def place(eta: Tensor, s: Tensor, d_0: Tensor, d_1: Tensor) -> Tensor:
    """xi of eta in the bin of a rational-quadratic spline."""
    eta = eta.clamp(0, 1)  # knots are rounded: a number on one may lie a hair outside its bin
    u = d_0 * (1 - eta) - d_1 * eta
    near = torch.where(u >= 0, eta, 1 - eta)
    v = 2 * s * near
    v = v / (u.abs() + (u.square() + 4 * s.square() * eta * (1 - eta)).sqrt() + v)
    return torch.where(u >= 0, v, 1 - v)


def cubic(x: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor, *, inverse: bool = False) -> Pair:
    """The cubic Hermite spline through the knots; increasing if no slope exceeds 3 times that of a bin beside it.

    Arguments and result as those of `rational_quadratic`.
    """
    x_0, x_1, y_0, y_1, d_0, d_1, c = bins_of(x, (xs, ys, slopes), inverse)
    w, h = x_1 - x_0, y_1 - y_0
    a, b = d_0 * w / h, d_1 * w / h  # the slopes of the bin as a unit square

    def unit(xi: Tensor) -> Pair:
        t = xi * (1 - xi)
        value = xi.square() * (3 - 2 * xi) + t * ((1 - xi) * a - xi * b)
        return value, 6 * t + a * (1 - xi) * (1 - 3 * xi) + b * xi * (3 * xi - 2)

    xi = root(unit, (c - y_0) / h, torch.zeros_like(c), torch.ones_like(c)) if inverse else (c - x_0) / w
    value, slope = unit(xi)
    # beyond the knots by the slope itself: Newton's xi is only nearly 0 or 1
    slope = _or_ends(x, c, slope * h / w, d_0, d_1)
    return _beyond(x, c, x_0 + w * xi if inverse else y_0 + h * value, slope, inverse)


def quadratic(x: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor, *, inverse: bool = False) -> Pair:
    """The spline whose derivative is the line through the slopes, bin by bin.

    Arguments and result as those of `rational_quadratic`; `ys` must rise by the trapezoids under the slopes.
    """
    x_0, x_1, y_0, y_1, d_0, d_1, c = bins_of(x, (xs, ys, slopes), inverse)
    w, h = x_1 - x_0, y_1 - y_0
    if inverse:
        eta = (c - y_0) / h
        slope = (d_0.square() * (1 - eta) + d_1.square() * eta).sqrt()
        value = x_0 + 2 * (c - y_0) / (d_0 + slope)
    else:
        xi = (c - x_0) / w
        slope = d_0 + (d_1 - d_0) * xi
        value = y_0 + 0.5 * w * xi * (d_0 + slope)
    return _beyond(x, c, value, slope, inverse)


def linear(x: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor, *, inverse: bool = False) -> Pair:
    """The broken line through the knots; of the slopes only the two outermost are read, beyond the knots.

    Arguments and result as those of `rational_quadratic`.
    """
    x_0, x_1, y_0, y_1, d_0, d_1, c = bins_of(x, (xs, ys, slopes), inverse)
    slope = (y_1 - y_0) / (x_1 - x_0)
    value = x_0 + (c - y_0) / slope if inverse else y_0 + (c - x_0) * slope
    return _beyond(x, c, value, _or_ends(x, c, slope, d_0, d_1), inverse)


def knots(raw: Tensor, low: float, high: float, least: float = LEAST) -> Tensor:
    """K + 1 increasing numbers from `low` to `high`, of K unconstrained ones; equally spaced if those are equal.

    Args:
        raw: [*, K].
        low, high: the first and the last knot.
        least: every bin takes this share of the interval at least.

    >>> knots(torch.zeros(4), 0.0, 1.0)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    raw = raw.contiguous()
    bins = raw.shape[-1]
    # the running sums of a softmax, written out: torch's own takes five times as long over so short an axis
    sums = (raw - raw.detach().amax(-1, keepdim=True)).exp().cumsum(-1)
    floor = least * torch.arange(1, bins, dtype=raw.dtype, device=raw.device)
    share = floor + (1 - least * bins) * (sums[..., :-1] / sums[..., -1:])
    inner = low + (high - low) * share
    return pad(pad(inner, (1, 0), value=low), (0, 1), value=high)


def positive(raw: Tensor, least: float = LEAST) -> Tensor:
    """Numbers above `least` of unconstrained ones; 1 for 0, growing like a line.

    >>> positive(torch.zeros(1))
    tensor([1.])
    """
    return least + (1 - least) * softplus(raw + math.log(math.e - 1))


def bins_of(x: Tensor, table: _Knots, inverse: bool) -> tuple[Tensor, ...]:
    """(x_0, x_1, y_0, y_1, d_0, d_1) of the bin that holds each number, and the number clamped into the knots."""
    searched = table[1] if inverse else table[0]
    c = torch.minimum(torch.maximum(x, searched[..., 0]), searched[..., -1])
    k = (c.unsqueeze(-1) >= searched[..., 1:-1]).sum(-1, keepdim=True)
    stacked = torch.stack(table, -2).expand(*x.shape, 3, searched.shape[-1])
    ends = stacked.gather(-1, torch.cat([k, k + 1], -1).unsqueeze(-2).expand(*x.shape, 3, 2))
    return (*ends.flatten(-2).unbind(-1), c)


def _or_ends(x: Tensor, c: Tensor, slope: Tensor, d_0: Tensor, d_1: Tensor) -> Tensor:
    return torch.where(x < c, d_0, torch.where(x > c, d_1, slope))


def _beyond(x: Tensor, c: Tensor, value: Tensor, slope: Tensor, inverse: bool) -> Pair:
    """The line outside the knots, and the log-derivative; `slope` is dy/dx at the clamped number."""
    out = x - c
    return (value + out / slope, -slope.log()) if inverse else (value + out * slope, slope.log())

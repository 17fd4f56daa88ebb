"""The rational-quadratic spline, compiled; `transforms/rational.py` has the formula, `calls.py` what calls this.

Numbers are taken `LANES` at a time; what is known of them stands in one scratch array, a row of lanes each.
Gradients begin again from numbers and parameters: nothing is kept between the two.
"""

from typing import Any

import numpy as np

from pushforward.transforms.compiled.functions import exp, fast, log, real, sigmoid, twice_atanh

LANES = 256

_ONE_SLOPE = real(0.5413248546129181)  # log(e - 1), whose softplus is 1

# Rows of the scratch array: what is known of a number, and gradients.
_X, _BIN, _X0, _Y0, _W, _H, _V0, _V1, _S0, _S1, _VALUE, _LADJ, _G, _U, _DX, _DY, _OWN_X, _OWN_Y, _D0, _D1 = (
    LANES * row for row in range(20)
)
_RATE_X, _RATE_Y = 20 * LANES, 21 * LANES


@fast
def _slope(v: Any, learned: Any, least: Any) -> Any:
    """least + (1 - least) softplus(v), or 1 where none is learned."""
    t = exp(-abs(v))
    d = ((v if v > real(0) else real(0)) + twice_atanh(t / (t + real(2)))) * (real(1) - least) + least
    return d if learned > real(0) else real(1)


@fast
def _shares(rows: Any, first: Any, start: Any, m: Any, shares: Any, sums: Any, tops: Any) -> None:
    """exp(raw - the greatest) of as many rows as there are shares, and the sums of those before each and of all."""
    bins = len(shares)
    row, top = rows[first][start : start + m], tops[0][:m]
    for i in range(m):
        top[i] = row[i]
    for j in range(1, bins):  # from one array into the other: LLVM makes no vectors of a maximum that stays in place
        row, lower, top = rows[first + j][start : start + m], tops[(j - 1) % 2][:m], tops[j % 2][:m]
        for i in range(m):
            top[i] = row[i] if row[i] > lower[i] else lower[i]
    total = sums[0][:m]
    for i in range(m):
        total[i] = real(0)
    for j in range(bins):
        row, share, below, total = rows[first + j][start : start + m], shares[j][:m], sums[j][:m], sums[j + 1][:m]
        for i in range(m):
            share[i] = exp(row[i] - top[i])
            total[i] = below[i] + share[i]


@fast
def _bin(at: Any, rows: Any, start: Any, m: Any, layout: Any, ends: Any, shares: Any, sums: Any, known: Any) -> None:
    """What is known of m numbers: the corner and the size of their bins, and raw slopes, by x (at 0) or y (at 1)."""
    bins, low, high, floor = layout[0], real(layout[1]), real(layout[2]), real((layout[2] - layout[1]) * layout[3])
    free, first = real((layout[2] - layout[1]) * (1 - layout[3] * layout[0])), _RATE_Y if at else _RATE_X
    rates = known[first : first + m]
    for i in range(m):
        known[_RATE_X + i], known[_RATE_Y + i] = free / sums[0, bins, i], free / sums[1, bins, i]
    for i in range(m):
        known[_BIN + i] = real(0)
    for j in range(1, bins):
        total, edge = sums[at, j][:m], low + floor * real(j)
        for i in range(m):
            known[_BIN + i] += real(1) if known[_X + i] >= total[i] * rates[i] + edge else real(0)
    for i in range(m):
        k, rate_x, rate_y = int(known[_BIN + i]), known[_RATE_X + i], known[_RATE_Y + i]
        edge, last = low + floor * real(k), k == bins - 1
        x_0, y_0 = sums[0, k, i] * rate_x + edge, sums[1, k, i] * rate_y + edge
        known[_X0 + i], known[_W + i] = x_0, high - x_0 if last else shares[0, k, i] * rate_x + floor
        known[_Y0 + i], known[_H + i] = y_0, high - y_0 if last else shares[1, k, i] * rate_y + floor
        before, after = k - 1 if k > 0 else ends[0], k if k < bins - 1 else ends[1]
        known[_S0 + i], known[_S1 + i] = real(before >= 0), real(after >= 0)
        known[_V0 + i] = rows[2 * bins + max(before, 0), start + i] + _ONE_SLOPE
        known[_V1 + i] = rows[2 * bins + max(after, 0), start + i] + _ONE_SLOPE


@fast
def _encoded(m: Any, layout: Any, known: Any) -> None:
    low, high, least = real(layout[1]), real(layout[2]), real(layout[3])
    for i in range(m):
        x, w, h = known[_X + i], known[_W + i], known[_H + i]
        d_0, d_1 = _slope(known[_V0 + i], known[_S0 + i], least), _slope(known[_V1 + i], known[_S1 + i], least)
        c, s = _within(x, low, high), h / w
        xi = _within((c - known[_X0 + i]) / w, real(0), real(1))
        share, slope = _shape(xi, s, d_0, d_1)[4:]
        known[_VALUE + i] = known[_Y0 + i] + h * share + (x - c) * slope
        known[_LADJ + i] = log(slope)


@fast
def _decoded(m: Any, layout: Any, known: Any) -> None:
    low, high, least = real(layout[1]), real(layout[2]), real(layout[3])
    for i in range(m):
        y, w, h = known[_X + i], known[_W + i], known[_H + i]
        d_0, d_1 = _slope(known[_V0 + i], known[_S0 + i], least), _slope(known[_V1 + i], known[_S1 + i], least)
        c, s = _within(y, low, high), h / w
        eta = _within((c - known[_Y0 + i]) / h, real(0), real(1))
        u = d_0 * (real(1) - eta) - d_1 * eta
        v = real(2) * s * (eta if u >= real(0) else real(1) - eta)
        v = v / (abs(u) + np.sqrt(u * u + real(4) * s * s * eta * (real(1) - eta)) + v)
        xi = v if u >= real(0) else real(1) - v
        slope = _shape(xi, s, d_0, d_1)[5]
        known[_VALUE + i] = known[_X0 + i] + w * xi + (y - c) / slope
        known[_LADJ + i] = -log(slope)


@fast
def _within(x: Any, low: Any, high: Any) -> Any:
    return low if x < low else (high if x > high else x)


@fast
def _shape(xi: Any, s: Any, d_0: Any, d_1: Any) -> Any:
    """p, q, b, m, xi p / b and the slope."""
    o = real(1) - xi
    p, q = s * xi + d_0 * o, d_1 * xi + s * o
    b, m = p * xi + q * o, q * xi + p * o
    r = s / b
    return p, q, b, m, xi * p / b, r * r * m


@fast
def _pulled(m: Any, layout: Any, inverse: Any, known: Any) -> None:
    """Gradients in numbers, in what lies below them, in their own shares, and in raw slopes."""
    low, high, least = real(layout[1]), real(layout[2]), real(layout[3])
    for i in range(m):
        x, w, h, g, u = known[_X + i], known[_W + i], known[_H + i], known[_G + i], known[_U + i]
        v_0, v_1, learned_0, learned_1 = known[_V0 + i], known[_V1 + i], known[_S0 + i], known[_S1 + i]
        d_0, d_1 = _slope(v_0, learned_0, least), _slope(v_1, learned_1, least)
        c, s = _within(x, low, high), h / w
        xi = _within((c - known[_X0 + i]) / w, real(0), real(1))
        p, q, b, mid, share, slope = _shape(xi, s, d_0, d_1)
        o = real(1) - xi
        bend = real(2) * ((q - p) / mid - (d_0 + d_1 - real(2) * s) * (o - xi) / b) / w
        bend = real(0) if x <= low or x >= high else bend
        if inverse:
            to_x = (g - u * bend) / slope
            known[_VALUE + i], along, g, u = to_x, -g, -to_x, -u
        else:
            along = g * slope + u * bend
            known[_VALUE + i] = along
        t, u = xi * o, u + (x - c) * (g * slope)
        a, in_m = g * h / b, u / mid
        in_b = -(a * share + real(2) * u / b)
        in_s = (in_b + real(2) * t * (in_m - in_b) + a * xi * xi + real(2) * u / s) / w
        known[_DX + i], known[_DY + i] = -along, g
        known[_OWN_X + i], known[_OWN_Y + i] = -(in_s * s + along * xi), in_s + g * share
        known[_D0 + i] = ((a + in_b) * t + in_m * o * o) * sigmoid(v_0) * learned_0 * (real(1) - least)
        known[_D1 + i] = (in_b * t + in_m * xi * xi) * sigmoid(v_1) * learned_1 * (real(1) - least)


@fast
def _to_shares(
    rate: Any, below: Any, own: Any, start: Any, m: Any, shares: Any, sums: Any, known: Any, grad: Any
) -> None:
    """Gradients of raw shares [bins, n]: e (g - sum e g), g that of the shares e."""
    to_below, to_own, rates = known[below : below + m], known[own : own + m], known[rate : rate + m]
    total = sums[len(shares)][:m]
    for i in range(m):
        k = int(known[_BIN + i])
        known[_X0 + i] = (to_below[i] * sums[k, i] + to_own[i] * shares[k, i]) / total[i]
    for j in range(len(shares)):
        out, share, here = grad[j][start : start + m], shares[j][:m], real(j)
        for i in range(m):
            k = known[_BIN + i]
            inside = to_below[i] * real(k > here) + to_own[i] * real(k == here)
            out[i] = share[i] * rates[i] * (inside - known[_X0 + i])


@fast
def _to_slopes(bins: Any, ends: Any, start: Any, m: Any, known: Any, grad: Any) -> None:
    for j in range(2 * bins, len(grad)):
        out, lower, upper = grad[j][start : start + m], real(j - 2 * bins + 1), real(j - 2 * bins)
        lower = lower if j < 3 * bins - 1 else real(0 if j - 2 * bins == ends[0] else -1)
        upper = upper if j < 3 * bins - 1 else real(bins - 1 if j - 2 * bins == ends[1] else -1)
        for i in range(m):
            k = known[_BIN + i]
            out[i] = known[_D0 + i] * real(k == lower) + known[_D1 + i] * real(k == upper)


@fast
def fill(rows: Any, x: Any, layout: Any, ends: Any, inverse: Any, value: Any, ladj: Any) -> None:
    """Fill value and ladj [n]; `ends` are the raw slopes of the outer knots, or -1."""
    shares, sums, tops, known = _scratch(layout[0])
    for start in range(0, len(x), LANES):
        m = min(LANES, len(x) - start)
        _take(known, _X, x, start, m)
        for axis in range(2):
            _shares(rows, axis * layout[0], start, m, shares[axis], sums[axis], tops)
        _bin(1 if inverse else 0, rows, start, m, layout, ends, shares, sums, known)
        if inverse:
            _decoded(m, layout, known)
        else:
            _encoded(m, layout, known)
        _give(known, _VALUE, value, start, m)
        _give(known, _LADJ, ladj, start, m)


@fast
def fill_gradients(
    rows: Any, x: Any, g: Any, u: Any, layout: Any, ends: Any, inverse: Any, to_x: Any, grad: Any
) -> None:
    """Fill the gradients of numbers and parameters, of those of value and ladj; x is the number on the data's side."""
    bins = layout[0]
    shares, sums, tops, known = _scratch(bins)
    for start in range(0, len(x), LANES):
        m = min(LANES, len(x) - start)
        _take(known, _X, x, start, m)
        _take(known, _G, g, start, m)
        _take(known, _U, u, start, m)
        for axis in range(2):
            _shares(rows, axis * bins, start, m, shares[axis], sums[axis], tops)
        _bin(0, rows, start, m, layout, ends, shares, sums, known)
        _pulled(m, layout, inverse, known)
        _give(known, _VALUE, to_x, start, m)
        _to_shares(_RATE_X, _DX, _OWN_X, start, m, shares[0], sums[0], known, grad)
        _to_shares(_RATE_Y, _DY, _OWN_Y, start, m, shares[1], sums[1], known, grad[bins:])
        _to_slopes(bins, ends, start, m, known, grad)


@fast
def _take(known: Any, row: Any, numbers: Any, start: Any, m: Any) -> None:
    part = numbers[start : start + m]
    for i in range(m):
        known[row + i] = part[i]


@fast
def _give(known: Any, row: Any, numbers: Any, start: Any, m: Any) -> None:
    part = numbers[start : start + m]
    for i in range(m):
        part[i] = known[row + i]


@fast
def _scratch(bins: Any) -> Any:
    """Shares and sums of both axes, two rows for their maxima, and what is known of numbers."""
    shares, sums = np.empty((2, bins, LANES), real), np.empty((2, bins + 1, LANES), real)
    return shares, sums, np.empty((2, LANES), real), np.empty(22 * LANES, real)

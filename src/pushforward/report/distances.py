"""How far apart two sets of samples are.

Two of the three distances are one formula with two kernels k (Sejdinovic et al. 2013, arXiv 1207.6076):

    D(X, Y) = E k(x, x') + E k(y, y') - 2 E k(x, y)

    energy distance    k(a, b) = -|a - b|
    squared MMD        k(a, b) = mean_s exp(-|a - b|^2 / (2 s^2))

estimated without bias by leaving the pairs (x_i, x_i) out, so the estimate is 0 on average when the distributions
agree and may then be negative. Standard errors are jackknifed over the samples of both sides: leaving out one
sample changes three sums, all known from the row sums of one pass. The jackknife is conservative when the two
distributions coincide (the statistic is then degenerate).

The Frechet distance compares the first two moments only, as if both sides were Gaussian:

    d^2 = |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x^1/2 C_y C_x^1/2)^1/2)

It is biased upwards by about (features / samples), so it means something only beside a floor: the same distance
between two sets of real data of the same sizes. Its standard error is a jackknife over groups of samples.

Everything is summed in float64 and in chunks; memory beyond the inputs is chunk^2, whatever the number of samples.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from pushforward._errors import ShapeError, explain
from pushforward.report.estimate import Estimate

Kernel = Callable[[Tensor], Tensor]
_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def energy_distance(x: Tensor, y: Tensor, chunk: int = 1024) -> Estimate:
    """The energy distance 2 E|x - y| - E|x - x'| - E|y - y'|, unbiased; no settings, zero only if equal.

    Args:
        x: samples, [n, *event], n >= 3.
        y: other samples, [m, *event], m >= 3.
        chunk: rows compared at a time; memory is chunk^2 numbers.

    Returns:
        The (squared) energy distance in the unit of the data, with its standard error.

    Raises:
        ShapeError: too few samples, different event shapes, or numbers that are not finite.

    References:
        Szekely & Rizzo, Energy statistics, J. Stat. Plan. Inference 143 (2013).

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> energy_distance(x, x + 10).value
    17.333...
    """
    x, y = _checked(x, y)
    return _discrepancy(x, y, torch.neg, chunk)


def mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float] | None = None, chunk: int = 1024) -> Estimate:
    """The squared maximum mean discrepancy under a mixture of Gaussian kernels, unbiased.

    Args:
        x: samples, [n, *event], n >= 3.
        y: other samples, [m, *event], m >= 3.
        bandwidths: the kernels' widths s. None takes `median_bandwidths(x, y)`; numbers to be compared with one
            another must share their bandwidths, so pass those of the reference data.
        chunk: rows compared at a time.

    Returns:
        The squared MMD, between about 0 and 2, with its standard error (the bandwidths held fixed).

    Raises:
        ShapeError: as `energy_distance`; or a bandwidth that is not positive.

    References:
        Gretton et al., A kernel two-sample test, JMLR 13 (2012), eq. 3.
    """
    x, y = _checked(x, y)
    widths = median_bandwidths(x, y, chunk) if bandwidths is None else tuple(bandwidths)
    if not widths or not all(math.isfinite(s) and s > 0 for s in widths):
        raise ShapeError(explain("positive bandwidths", str(widths), "Leave them out for median-based ones."))

    def kernel(distance: Tensor) -> Tensor:
        square = distance.square()
        return torch.stack([(square / (-2 * s * s)).exp() for s in widths]).mean(0)

    return _discrepancy(x, y, kernel, chunk)


def median_bandwidths(x: Tensor, y: Tensor, chunk: int = 1024, bins: int = 4096) -> tuple[float, ...]:
    """The median distance among all samples of both sides times 1/4, 1/2, 1, 2 and 4.

    The median is read off a histogram of all distances (`bins` wide bins), so it needs one pass, constant memory,
    and does not depend on the order of the samples.
    """
    pooled = torch.cat([x.flatten(1), y.flatten(1)])
    centre = _centre(pooled)
    rows = [_rows(pooled, centre, span) for span in _spans(len(pooled), chunk)]
    top = 2.0 * max(float(r.norm(dim=1).max()) for r in rows)
    if top == 0:
        return _FACTORS
    counts = torch.zeros(bins, dtype=torch.float64)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[i:]):
            distance = _cdist(a, b)
            if j == 0:
                distance.fill_diagonal_(-1)  # out of the histogram's range: a sample is no neighbour of its own
            counts += torch.histc(distance, bins, 0, top).cpu() * (1 if j == 0 else 2)
    middle = int((counts.cumsum(0) < counts.sum() / 2).sum())
    return tuple(f * top * (middle + 1) / bins for f in _FACTORS)


def frechet_distance(x: Tensor, y: Tensor, groups: int = 20) -> Estimate:
    """The squared Frechet distance between Gaussians of the same first two moments (FID, given Inception features).

    Args:
        x: features, [n, width], n >= 2 groups.
        y: other features, [m, width], m >= 2 groups.
        groups: groups of the jackknife; memory is groups x width^2 numbers. 0 gives no standard error.

    Returns:
        The squared distance with its standard error. Biased upwards: compare it with a floor of the same sizes.

    Raises:
        ShapeError: too few samples, different widths, or numbers that are not finite.

    References:
        Dowson & Landau, J. Multivariate Anal. 12 (1982); Heusel et al. 2017 (arXiv 1706.08500).
    """
    x, y = _checked(x, y, least=max(3, 2 * groups))
    centre = _centre(x)
    a, b = _moments(x, centre, max(1, groups)), _moments(y, centre, max(1, groups))
    whole = [part.sum(0) for part in a], [part.sum(0) for part in b]
    value = _frechet(*whole[0], *whole[1])
    if groups < 2:
        return Estimate(value)
    leave_x = [_frechet(*(w - p[g] for w, p in zip(whole[0], a)), *whole[1]) for g in range(groups)]
    leave_y = [_frechet(*whole[0], *(w - p[g] for w, p in zip(whole[1], b))) for g in range(groups)]
    variance = sum(_jackknife(torch.tensor(leave, dtype=torch.float64)) for leave in (leave_x, leave_y))
    return Estimate(value, math.sqrt(variance))


def nearest_distances(x: Tensor, y: Tensor, chunk: int = 1024) -> Tensor:
    """The distance from each sample to the nearest of the others, [n]: samples nearer to the training data than
    held-out data are were remembered rather than made.

    Args:
        x: samples, [n, *event].
        y: what to look among, [m, *event].
        chunk: rows compared at a time.
    """
    x, y = _checked(x, y, least=1)
    centre = _centre(y)
    best = centre.new_full((len(x),), math.inf)
    for here in _spans(len(x), chunk):
        a = _rows(x, centre, here)
        for there in _spans(len(y), chunk):
            best[here] = torch.minimum(best[here], _cdist(a, _rows(y, centre, there)).amin(1))
    return best


def _discrepancy(x: Tensor, y: Tensor, kernel: Kernel, chunk: int) -> Estimate:
    centre = _centre(torch.cat([x.mean(0, keepdim=True), y.mean(0, keepdim=True)]))
    xx, yy = _within(x, centre, kernel, chunk), _within(y, centre, kernel, chunk)
    xy, yx = _between(x, y, centre, kernel, chunk)
    n, m = len(x), len(y)
    own_x, own_y, cross = xx.sum() / (n * (n - 1)), yy.sum() / (m * (m - 1)), xy.sum() / (n * m)
    leave_x = (xx.sum() - 2 * xx) / ((n - 1) * (n - 2)) + own_y - 2 * (xy.sum() - xy) / ((n - 1) * m)
    leave_y = own_x + (yy.sum() - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (yx.sum() - yx) / (n * (m - 1))
    return Estimate(float(own_x + own_y - 2 * cross), math.sqrt(_jackknife(leave_x) + _jackknife(leave_y)))


def _jackknife(leave_one_out: Tensor) -> float:
    n = len(leave_one_out)
    return float((leave_one_out - leave_one_out.mean()).square().sum() * (n - 1) / n)


def _within(x: Tensor, centre: Tensor, kernel: Kernel, chunk: int) -> Tensor:
    """Sum over j != i of k(x_i, x_j), [n]; each pair of chunks is visited once."""
    sums = centre.new_zeros(len(x))
    spans = list(_spans(len(x), chunk))
    for i, here in enumerate(spans):
        a = _rows(x, centre, here)
        for there in spans[i:]:
            block = kernel(_cdist(a, _rows(x, centre, there)))
            if there is here:
                block.fill_diagonal_(0)
            else:
                sums[there] += block.sum(0)
            sums[here] += block.sum(1)
    return sums


def _between(x: Tensor, y: Tensor, centre: Tensor, kernel: Kernel, chunk: int) -> tuple[Tensor, Tensor]:
    """The sums of k(x_i, y_j) over j, [n], and over i, [m]."""
    rows, columns = centre.new_zeros(len(x)), centre.new_zeros(len(y))
    for here in _spans(len(x), chunk):
        a = _rows(x, centre, here)
        for there in _spans(len(y), chunk):
            block = kernel(_cdist(a, _rows(y, centre, there)))
            rows[here] += block.sum(1)
            columns[there] += block.sum(0)
    return rows, columns


def _spans(n: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(n, start + chunk)) for start in range(0, n, chunk))


def _centre(x: Tensor) -> Tensor:
    return x.mean(0, dtype=torch.float64)


def _rows(x: Tensor, centre: Tensor, span: slice) -> Tensor:
    return x[span].double() - centre


def _cdist(a: Tensor, b: Tensor) -> Tensor:
    # the product form is quick, and exact enough in float64 once the data are centred
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")


def _moments(x: Tensor, centre: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts [g], sums [g, d] and sums of outer products [g, d, d]; group g holds samples g, g + groups, ..."""
    parts = [_rows(x, centre, slice(g, None, groups)) for g in range(groups)]
    counts = torch.tensor([float(len(p)) for p in parts], dtype=torch.float64, device=x.device)
    return counts, torch.stack([p.sum(0) for p in parts]), torch.stack([p.T @ p for p in parts])


def _frechet(n: Tensor, s: Tensor, o: Tensor, m: Tensor, u: Tensor, p: Tensor) -> float:
    mean_x, mean_y = s / n, u / m
    cov_x, cov_y = (o - torch.outer(s, mean_x)) / (n - 1), (p - torch.outer(u, mean_y)) / (m - 1)
    values, vectors = torch.linalg.eigh(cov_x)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp_min(0).sqrt().sum()
    return float((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def _checked(x: Tensor, y: Tensor, least: int = 3) -> tuple[Tensor, Tensor]:
    for name, each in (("x", x), ("y", y)):
        if each.ndim < 2 or len(each) < least:
            got = f"{name} of shape {tuple(each.shape)}"
            raise ShapeError(explain(f"at least {least} samples, [n, *event]", got, "Draw more samples."))
        if not bool(each.isfinite().all()):
            fix = "A sampler that diverges gives these: use more steps or clip them."
            raise ShapeError(explain("finite samples", f"nan or infinity in {name}", fix))
    if x.shape[1:] != y.shape[1:]:
        got = f"{tuple(x.shape[1:])} and {tuple(y.shape[1:])}"
        raise ShapeError(explain("two sets of events of one shape", got, "Compare like with like."))
    where = "cpu" if x.device.type == "mps" else x.device  # no float64 there
    return x.detach().flatten(1).to(where), y.detach().flatten(1).to(where)

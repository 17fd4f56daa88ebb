"""Laws of paths: coefficients and derivatives agree, ratios invert, all predictions convert into all others."""

import itertools

import pytest
import torch

from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import PushforwardError, paths
from pushforward._errors import ConversionError
from pushforward.paths.prediction import _between

TIMES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_derivatives_are_those_of_the_coefficients(path):
    c, h = path.coefficients(TIMES), 1e-6
    above, below = path.coefficients(TIMES + h), path.coefficients(TIMES - h)
    torch.testing.assert_close(c.alpha_dot, (above.alpha - below.alpha) / (2 * h), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(c.sigma_dot, (above.sigma - below.sigma) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_noise_only_grows(path):
    c = path.coefficients(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert torch.all(torch.diff(torch.atan2(c.sigma, c.alpha)) > 0)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_time_at_inverts_the_ratio_at_any_scale(path):
    c = path.coefficients(TIMES)
    torch.testing.assert_close(path.time_at(3 * c.alpha, 3 * c.sigma), TIMES, rtol=0, atol=1e-9)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pure_data_and_pure_noise_have_their_times_at_the_ends(path, dtype):
    """Also on paths that never get there: a model moved from another path asks at its ends."""
    pure = torch.tensor([0.0, 1.0], dtype=dtype)
    torch.testing.assert_close(path.time_at(1 - pure, pure).clamp(0, 1), pure)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_time_at_log_snr_inverts_log_snr(path):
    torch.testing.assert_close(path.time_at_log_snr(path.log_snr(TIMES)), TIMES, rtol=0, atol=1e-8)


PAIRS = list(itertools.product(PREDICTIONS.values(), PREDICTIONS.values()))
NAMES = ["-to-".join(pair) for pair in itertools.product(PREDICTIONS, PREDICTIONS)]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("source", "target"), PAIRS, ids=NAMES)
def test_every_prediction_becomes_every_other(path, source, target):
    """In float64 to 1e-12, at both ends too, wherever it is determined."""
    generator = torch.Generator().manual_seed(0)
    times = torch.cat([torch.tensor([0.0, 1.0], dtype=torch.float64), TIMES])
    c = path.coefficients(times)
    times = times[(_between(c, source, target).known & _between(c, target, source).known) & (source.row(c).scale != 0)]
    x0, eps = torch.randn(2, len(times), 3, dtype=torch.float64, generator=generator)
    x_t, c = path.mix(x0, eps, times), path.coefficients(times)
    m, truth = said(source, c, x0, eps), said(target, c, x0, eps)
    there = paths.convert(m, x_t, times, path, source, target)
    torch.testing.assert_close(there, truth, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(paths.convert(there, x_t, times, path, target, source), m, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_conversion_loses_no_more_than_the_rounding_of_its_two_terms(path, dtype):
    """Backward stable up to the ends: |error| <= 32 ulp of |a x_t| + |b m|, 4e-6 of that in float32."""
    times = torch.cat([torch.logspace(-5, -1, 20, dtype=dtype), 1 - torch.logspace(-5, -1, 20, dtype=dtype)])
    x0, eps = torch.randn(2, len(times), 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x_t, c = path.mix(x0, eps, times), path.coefficients(times)
    for source, target in PAIRS:
        a, b, known = _between(c, source, target)
        m = said(source, c, x0, eps)
        size = (a[:, None] * x_t).abs() + (b[:, None] * m).abs()
        error = (paths.recast(m, x_t, c, source, target) - said(target, c, x0, eps)).abs()
        fine = error <= 32 * torch.finfo(dtype).eps * size + torch.finfo(dtype).tiny
        assert fine[known].all(), (source, target)
        # what is refused has an alpha below the rounding of sigma
        assert (c.alpha[~known] < torch.finfo(dtype).eps).all()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_conversion_is_differentiable_in_time_and_maps_over_samples(path):
    """By rank, and yet without a branch on a value: for flow maps (jvp in t) and exact divergences (vmap)."""
    t = torch.tensor([0.3, 0.6], dtype=torch.float64)
    x, m = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for source, target in PAIRS:

        def recast(x, m, t, pair=(source, target)):
            return paths.recast(m, x, path.coefficients(t), *pair)

        _, slope = torch.func.jvp(lambda t: recast(x, m, t), (t,), (torch.ones_like(t),))
        difference = (recast(x, m, t + 1e-6) - recast(x, m, t - 1e-6)) / 2e-6
        torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-5)
        each = torch.vmap(lambda x, m, t: recast(x[None], m[None], t[None])[0])(x, m, t)
        torch.testing.assert_close(each, recast(x, m, t))


def said(prediction, c, x0, eps):
    """What a network of this prediction outputs for the pair."""
    row = prediction.row(c)
    return row.target(x0, eps) / row.scale[:, None]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [0.0, 1.0], ids=["data", "noise"])
@pytest.mark.parametrize(("source", "target"), PAIRS, ids=NAMES)
def test_at_the_ends_a_conversion_is_right_or_refused(path, t, source, target):
    """Never NaN, never infinite, never a fudge: the exact limit where it is determined, else the named error.

    Determined means: the target's row lies in the span of x_t's and, unless its scale is 0, the network's.
    """
    end = torch.full((2,), t, dtype=torch.float64)
    x0, eps = torch.tensor([[0.7], [-0.3]], dtype=torch.float64), torch.tensor([[-1.2], [0.4]], dtype=torch.float64)
    x_t, c = path.mix(x0, eps, end), path.coefficients(end)
    row, asked = source.row(c), target.row(c)
    # where the scale is 0 the network's output is infinite and ignored: x_t alone decides
    m = torch.where(row.scale[:, None] == 0, x0 / 0, row.target(x0, eps) / row.scale[:, None])
    if source == target:
        assert torch.equal(paths.convert(m, x_t, end, path, source, target), m)
        return
    known = torch.tensor([[c.alpha[0], c.sigma[0]], [row.p[0], row.q[0]]][: 1 if row.scale[0] == 0 else 2])
    more = torch.cat([known, torch.tensor([[asked.p[0], asked.q[0]]])])
    rank, rank_with = torch.linalg.matrix_rank(known, tol=1e-12), torch.linalg.matrix_rank(more, tol=1e-12)
    if asked.scale[0] == 0 or rank_with > rank:
        with pytest.raises(ConversionError, match="Keep away from that end"):
            paths.convert(m, x_t, end, path, source, target)
        with pytest.raises(ConversionError, match="Keep away from that end"):
            paths.bridge(c, source, target)
        return
    result = paths.convert(m, x_t, end, path, source, target)
    torch.testing.assert_close(result, said(target, c, x0, eps), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [0.0, 1.0], ids=["data", "noise"])
def test_at_the_ends_the_bridge_is_the_limit_of_bridges(path, t):
    """Where both are determined nearby, the step onto the end is continuous in a and b."""
    end, near = (path.coefficients(torch.tensor([abs(t - h)], dtype=torch.float64)) for h in (0.0, 1e-6))
    for source, target in PAIRS:
        (a, b, known), (a_near, b_near, _) = _between(end, source, target), _between(near, source, target)
        vanishes = (
            torch.hypot(target.row(end).p, target.row(end).q) == 0
        )  # the polynomial path's velocity: 0, as a value
        if bool(known & ~vanishes) and source.row(end).scale != 0:
            torch.testing.assert_close(torch.stack([a, b]), torch.stack([a_near, b_near]), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_forward_sde_has_the_paths_moments(path):
    """dx = f x dt + g dw carries N(alpha(0.05) m, sigma(0.05)**2) to that of every later t."""
    t, c = between(path, 0.05, 0.95)
    mean = solution(t, path.drift(t), 0 * t, c.alpha[0])
    variance = solution(t, 2 * path.drift(t), path.diffusion(t), c.sigma[0] ** 2)
    assert mean == pytest.approx(c.alpha[-1].item(), rel=1e-6)
    assert variance == pytest.approx(c.sigma[-1].item() ** 2, rel=1e-6)


NOISE = {"ode": 0.0, "half": 0.5, "sde": 1.0, "more": 1.7, "free": lambda c: 3 * c.sigma * c.alpha**2}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_the_reverse_sde_has_the_paths_marginals_with_any_amount_of_noise(path, noise):
    """From the marginal at 0.95 of data N(0.3, 0.25), with its exact score, back to the marginal at 0.05."""
    t, c = between(path, 0.95, 0.05)
    way, mean, variance = paths.reverse(noise), c.alpha * 0.3, c.alpha**2 * 0.25 + c.sigma**2
    a, b = paths.bridge(c, paths.score, way)  # drift = a x + b score,  score = -(x - mean) / variance
    rate = a - b / variance
    end_mean = solution(t, rate, b * mean / variance, mean[0])
    end_variance = solution(t, 2 * rate, -way.diffusion(path, t), variance[0])
    assert end_mean == pytest.approx(mean[-1].item(), rel=1e-5)
    assert end_variance == pytest.approx(variance[-1].item(), rel=1e-5)


def between(path, start, end, count=1000):
    """A grid of `count` steps and their middles, and the coefficients on it."""
    t = torch.linspace(start, end, 2 * count + 1, dtype=torch.float64)
    return t, path.coefficients(t)


def solution(t, rate, source, y):
    """y' = rate y + source from the grid's first time to its last, by the classical Runge-Kutta method."""
    h, r, s, y = (t[2] - t[0]).item(), rate.tolist(), source.tolist(), y.item()
    for k in range(0, len(r) - 2, 2):
        one = r[k] * y + s[k]
        two = r[k + 1] * (y + h / 2 * one) + s[k + 1]
        three = r[k + 1] * (y + h / 2 * two) + s[k + 1]
        y += h / 6 * (one + 2 * two + 2 * three + r[k + 2] * (y + h * three) + s[k + 2])
    return y


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [0.0, 1.0], ids=["data", "noise"])
def test_at_the_ends_the_sde_is_its_limit_or_refused(path, t):
    end, near = (torch.tensor([abs(t - h)], dtype=torch.float64) for h in (0.0, 1e-9))
    c = path.coefficients(end)
    if c.alpha == 0:
        for each in (path.drift, path.diffusion):
            with pytest.raises(ConversionError, match="some data are left"):
                each(end)
        with pytest.raises(ConversionError, match="'reverse drift' is infinite"):
            paths.bridge(c, paths.v, paths.reverse(1.0))
    else:
        torch.testing.assert_close(path.drift(end), path.drift(near), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(path.diffusion(end), path.diffusion(near), rtol=1e-6, atol=1e-6)


def test_where_the_determinant_vanishes_what_is_determined_is_given():
    """Rank, not the determinant, decides (pains 9 and 10: eps at alpha = 0 is not a black image)."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x_t = torch.tensor([[0.7], [-1.3]], dtype=torch.float64)
    noise = paths.convert(x_t[1:], x_t[1:], ends[1:], paths.Linear(), paths.eps, paths.score)
    torch.testing.assert_close(noise, -x_t[1:])
    nonsense = torch.full((1, 1), 99.0, dtype=torch.float64)
    for source in (paths.eps, paths.v, paths.score, paths.velocity, paths.edm()):
        data = paths.convert(nonsense, x_t[:1], ends[:1], paths.VP(), source, paths.x0)
        torch.testing.assert_close(data, x_t[:1])


def test_impossible_conversions_name_the_place():
    end = torch.ones(1, dtype=torch.float64)
    with pytest.raises(PushforwardError, match=r"'eps' cannot be converted to 'x0' at t=1: alpha is 0"):
        paths.convert(torch.ones(1, 1), torch.ones(1, 1), end, paths.Linear(), paths.eps, paths.x0)
    with pytest.raises(PushforwardError, match=r"'score' is infinite"):
        paths.convert(torch.ones(1, 1), torch.ones(1, 1), 0 * end, paths.Linear(), paths.velocity, paths.score)


def test_unknown_prediction_lists_the_known():
    with pytest.raises(PushforwardError, match=r"x0, eps, v, velocity, score, edm; got 'epsilon'"):
        paths.named("epsilon")

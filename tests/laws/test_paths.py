"""Laws of paths: coefficients and derivatives agree, ratios invert, all predictions convert into all others."""

import itertools

import pytest
import torch

from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import PushforwardError, paths
from pushforward._errors import ConversionError
from pushforward.paths.prediction import obstacle_between

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
def test_time_at_log_snr_inverts_log_snr(path):
    torch.testing.assert_close(path.time_at_log_snr(path.log_snr(TIMES)), TIMES, rtol=0, atol=1e-8)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    ("source", "target"),
    list(itertools.product(PREDICTIONS.values(), PREDICTIONS.values())),
    ids=["-to-".join(pair) for pair in itertools.product(PREDICTIONS, PREDICTIONS)],
)
def test_every_prediction_becomes_every_other(path, source, target):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, len(TIMES), 3, dtype=torch.float64, generator=generator)
    x_t, c = path.mix(x0, eps, TIMES), path.coefficients(TIMES)
    m = paths.recast(x0, x_t, c, paths.x0, source)
    there = paths.convert(m, x_t, TIMES, path, source, target)
    back = paths.convert(there, x_t, TIMES, path, target, source)
    truth = target.row(c).target(x0, eps) / target.row(c).scale[:, None]
    # the loss of digits is that of the 2x2 solve, which grows as one coefficient shrinks beside the other
    torch.testing.assert_close(there, truth, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(back, m, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("t", [0.0, 1.0], ids=["data", "noise"])
@pytest.mark.parametrize(
    ("source", "target"), list(itertools.product(PREDICTIONS.values(), PREDICTIONS.values())),
    ids=["-to-".join(pair) for pair in itertools.product(PREDICTIONS, PREDICTIONS)],
)  # fmt: skip
def test_at_the_ends_a_conversion_is_right_or_refused(path, t, source, target):
    """Never NaN, never infinite, never a fudge: the exact limit or the named error."""
    end = torch.full((2,), t, dtype=torch.float64)
    x0, eps = torch.tensor([[0.7], [-0.3]], dtype=torch.float64), torch.tensor([[-1.2], [0.4]], dtype=torch.float64)
    x_t, c = path.mix(x0, eps, end), path.coefficients(end)
    row = source.row(c)
    # where the scale is 0 the network's output is infinite and ignored: x_t alone decides
    m = torch.where(row.scale[:, None] == 0, x0 * 0, row.target(x0, eps) / row.scale[:, None])
    if obstacle_between(c, source, target) is not None:
        assert source != target
        with pytest.raises(ConversionError, match="Keep away from that end"):
            paths.convert(m, x_t, end, path, source, target)
        return
    result = paths.convert(m, x_t, end, path, source, target)
    assert result.isfinite().all()
    if source != target and target is paths.x0:
        torch.testing.assert_close(result, x0, rtol=1e-6, atol=1e-6)


def test_impossible_conversions_name_the_place():
    end = torch.ones(1, dtype=torch.float64)
    with pytest.raises(PushforwardError, match=r"'eps' cannot be converted to 'x0' at t=1: alpha is 0"):
        paths.convert(torch.ones(1, 1), torch.ones(1, 1), end, paths.Linear(), paths.eps, paths.x0)


def test_unknown_prediction_lists_the_known():
    with pytest.raises(PushforwardError, match=r"x0, eps, v, velocity, score, edm; got 'epsilon'"):
        paths.named("epsilon")

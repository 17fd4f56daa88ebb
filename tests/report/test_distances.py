"""Distances against closed forms for Gaussians, and what must hold of any distance."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from pushforward._errors import ShapeError
from pushforward._random import Draw
from pushforward.report import energy_distance, frechet_distance, median_bandwidths, mmd, nearest_distances

DISTANCES = {
    "energy": energy_distance,
    "mmd": lambda x, y, **k: mmd(x, y, (0.5, 1.0, 2.0), **k),
    "mmd, median bandwidths": mmd,
    "frechet": frechet_distance,
}
distances = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


def normal(purpose: str, n: int, d: int) -> torch.Tensor:
    return Draw(11, purpose).normal(n, (d,), torch.float64)


def folded(mean: float, std: float) -> float:
    """E|Z| for Z normal."""
    tail = mean * math.erf(mean / (std * math.sqrt(2)))
    return std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * std**2)) + tail


def gaussian_mmd(shift: float, std: float, d: int, width: float) -> float:
    """Squared MMD of N(0, 1) and N(shift, std^2) in d dimensions, every coordinate shifted."""

    def kernel(variance: float, mean: float) -> float:
        total = width**2 + variance
        return (width**2 / total) ** (d / 2) * math.exp(-d * mean**2 / (2 * total))

    return kernel(2, 0) + kernel(2 * std**2, 0) - 2 * kernel(1 + std**2, shift)


@pytest.mark.parametrize(("shift", "std"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.5)])
def test_energy_distance_of_gaussians(shift, std):
    estimate = energy_distance(normal("x", 1500, 1), normal("y", 1500, 1) * std + shift)
    same = 2 / math.sqrt(math.pi)
    exact = 2 * folded(shift, math.hypot(1, std)) - same - same * std
    assert abs(estimate.value - exact) < 4 * estimate.error
    assert estimate.error < 0.2 * exact + 0.01


@pytest.mark.parametrize(("shift", "std", "d"), [(0.5, 1.0, 2), (0.0, 1.5, 3)])
def test_mmd_of_gaussians(shift, std, d):
    estimate = mmd(normal("x", 1500, d), normal("y", 1200, d) * std + shift, (0.7, 2.0))
    exact = (gaussian_mmd(shift, std, d, 0.7) + gaussian_mmd(shift, std, d, 2.0)) / 2
    assert abs(estimate.value - exact) < 4 * estimate.error
    assert estimate.error < 0.3 * exact


def test_frechet_distance_of_given_moments():
    # samples whose moments are exact, not only nearly so
    a, b, shift = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]]), np.array([1.0, -2.0])
    x = normal("x", 200, 2)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / 199)).T
    pair = [white @ torch.linalg.cholesky(torch.tensor(c)).T for c in (a, b)]
    exact = shift @ shift + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(pair[0], pair[1] + torch.tensor(shift)).value == pytest.approx(exact, rel=1e-9)


def test_frechet_distance_of_a_flat_cloud():
    # one feature is constant: the covariance has no inverse, the distance is still exact
    x = torch.cat([normal("x", 100, 2), torch.zeros(100, 1, dtype=torch.float64)], 1)
    assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + torch.tensor([0.0, 0.0, 3.0])).value == pytest.approx(9)


@distances
def test_nothing_between_equal_distributions(distance):
    estimates = [distance(normal(f"x{k}", 300, 2), normal(f"y{k}", 300, 2)) for k in range(12)]
    values = torch.tensor([e.value for e in estimates])
    assert values.abs().max() < 0.1  # a shift of 1 gives 0.2 to 2
    if distance is not frechet_distance:  # which is biased: its floor is not 0
        assert abs(values.mean()) < 4 * values.std() / math.sqrt(12)


@distances
def test_jackknife_errors_agree_with_repetition(distance):
    estimates = [distance(normal(f"x{k}", 200, 2), normal(f"y{k}", 250, 2) + 1) for k in range(40)]
    spread = torch.tensor([e.value for e in estimates]).std()
    claimed = torch.tensor([e.error for e in estimates]).mean()
    assert 0.6 < float(claimed / spread) < 1.6


@distances
def test_order_does_not_matter(distance):
    x, y = normal("x", 130, 3), normal("y", 90, 3) + 0.5
    shuffled = distance(x[Draw(1).permutation(130)], y[Draw(2).permutation(90)])
    assert shuffled.value == pytest.approx(distance(x, y).value, rel=1e-9)
    assert distance(y, x).value == pytest.approx(distance(x, y).value, rel=1e-9)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_chunks_do_not_matter(distance):
    x, y = normal("x", 101, 3), normal("y", 77, 3) + 0.5
    whole, parts = distance(x, y), distance(x, y, chunk=17)
    assert parts.value == pytest.approx(whole.value, rel=1e-9)
    assert parts.error == pytest.approx(whole.error, rel=1e-9)


@distances
def test_float32_far_from_the_origin(distance):
    x, y = normal("x", 150, 2), normal("y", 150, 2) + 1
    far = distance((x + 1000).float(), (y + 1000).float())
    assert far.value == pytest.approx(distance(x, y).value, rel=1e-3)


def test_the_jackknife_is_what_leaving_out_gives():
    x, y = normal("x", 9, 2), normal("y", 7, 2) + 1

    def spread(values: list[float]) -> float:
        each = torch.tensor(values, dtype=torch.float64)
        return float((each - each.mean()).square().sum() * (len(each) - 1) / len(each))

    out_x = [energy_distance(torch.cat([x[:i], x[i + 1 :]]), y).value for i in range(9)]
    out_y = [energy_distance(x, torch.cat([y[:i], y[i + 1 :]])).value for i in range(7)]
    assert energy_distance(x, y).error == pytest.approx(math.sqrt(spread(out_x) + spread(out_y)), rel=1e-9)


def test_the_median_is_the_median():
    x, y = normal("x", 60, 2), normal("y", 50, 2) + 2
    exact = torch.pdist(torch.cat([x, y])).median().item()
    for chunk in (1024, 13):
        assert median_bandwidths(x, y, chunk)[2] == pytest.approx(exact, rel=0.01)
    assert all(s > 0 for s in median_bandwidths(torch.ones(4, 2), torch.ones(4, 2)))


def test_nearest():
    x, y = torch.tensor([[0.0], [5.0], [9.0]]), torch.tensor([[1.0], [10.0]])
    assert nearest_distances(x, y, chunk=2).tolist() == pytest.approx([1, 4, 1])
    assert nearest_distances(y, y).tolist() == pytest.approx([0, 0])


@pytest.mark.parametrize("distance", [energy_distance, mmd, frechet_distance])
def test_what_cannot_be_compared_is_refused(distance):
    x = normal("x", 50, 2)
    with pytest.raises(ShapeError, match="Draw more"):
        distance(x[:2], x)
    with pytest.raises(ShapeError, match="like with like"):
        distance(x, normal("y", 50, 3))
    with pytest.raises(ShapeError, match="infinity in y"):
        distance(x, x.log())
    with pytest.raises(ShapeError, match="positive bandwidths"):
        mmd(x, x, (0.0,))

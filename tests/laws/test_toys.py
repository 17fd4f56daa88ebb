"""Laws of the toys' densities: they integrate to one, and the samples follow them."""

import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward.data.toys import TOYS

# midpoints of cells that divide the checkerboard's squares (side 1/0.45, spread 2.57) evenly
STEP = 1 / 0.45 / 2.57 / 20


def grid(reach: float) -> Tensor:
    """Midpoints of a square that holds all the points with a margin of a quarter."""
    n = math.ceil(1.25 * reach / STEP / 20) * 20
    side = (torch.arange(-n, n, dtype=torch.float64) + 0.5) * STEP
    return torch.cartesian_prod(side, side)


def features(x: Tensor) -> Tensor:
    a, b = x[:, 0], x[:, 1]
    waves = [a.sin(), (2 * b).cos(), (3 * a + 2 * b).sin(), (4 * a).cos(), (5 * a).sin() * (5 * b).sin()]
    return torch.stack([a, b, a * a, b * b, a * b, *waves], 1)


@pytest.fixture(scope="module", params=TOYS)
def toy(request: pytest.FixtureRequest) -> tuple:
    dataset = TOYS[request.param](n=8_000)
    points = grid(dataset.train_batch(Draw(0)).x.abs().max().item())
    return dataset, points, dataset.density(points)


def test_density_integrates_to_one(toy: tuple):
    _, _, log_density = toy
    assert (log_density.exp().sum() * STEP**2).item() == pytest.approx(1, abs=1e-6)


def test_samples_follow_the_density(toy: tuple):
    dataset, points, log_density = toy
    x = dataset.train_batch(Draw(0)).x.double()
    drawn = torch.cat([features(x), -dataset.density(x)[:, None]], 1)
    p = log_density.exp() * STEP**2
    entropy = torch.where(p > 0, -log_density, 0.0)
    on_grid = torch.cat([features(points), entropy[:, None]], 1)
    expected = (p[:, None] * on_grid).sum(0)
    # 4.5 standard errors, and the grid's own error on the board, whose edges leave it of second order
    allowed = 4.5 * drawn.std(0) / len(x) ** 0.5 + 2 * STEP**2
    difference = (drawn.mean(0) - expected).abs()
    assert (difference < allowed).all(), difference / allowed


def test_density_is_the_same_at_a_point_alone_and_in_company(toy: tuple):
    dataset, points, log_density = toy
    middle = len(points) // 2 + 133
    torch.testing.assert_close(dataset.density(points[middle : middle + 1]), log_density[middle : middle + 1])


@pytest.mark.parametrize("name", ["moons", "swiss_roll", "two_spirals"])
def test_curves_are_scored_exactly_at_any_noise(name: str):
    noise = {"moons": 0.03, "swiss_roll": 0.3, "two_spirals": 0.1}[name]
    density = TOYS[name](n=10, noise=noise).density
    plane, x = density.plane, TOYS[name](n=300, noise=noise).values.double()
    fine = replace(plane, speed=3 * plane.speed)
    torch.testing.assert_close(plane.log_density(x), fine.log_density(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TOYS)
def test_density_survives_pickling(name: str):
    density = TOYS[name](n=10).density
    x = torch.tensor([[0.3, -0.2], [1.0, 0.8]])
    assert torch.equal(pickle.loads(pickle.dumps(density))(x), density(x))


@pytest.mark.parametrize("name", TOYS)
def test_a_larger_set_begins_with_the_smaller(name: str):
    few, many = TOYS[name](n=50), TOYS[name](n=300)
    assert torch.equal(many.values[:50], few.values)
    assert not torch.equal(TOYS[name](n=50, seed=1).values, few.values)

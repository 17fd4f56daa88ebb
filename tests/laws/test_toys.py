"""Laws of the toys' densities: they integrate to one, and the samples follow them."""

import pickle

import pytest
import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward.data.toys import TOYS

# midpoints of cells that divide the checkerboard's squares (side 1/0.45, spread 2.57) evenly
STEP = 1 / 0.45 / 2.57 / 20
SIDE = (torch.arange(-140, 140, dtype=torch.float64) + 0.5) * STEP
GRID = torch.cartesian_prod(SIDE, SIDE)


def features(x: Tensor) -> Tensor:
    a, b = x[:, 0], x[:, 1]
    waves = [a.sin(), (2 * b).cos(), (3 * a + 2 * b).sin(), (4 * a).cos(), (5 * a).sin() * (5 * b).sin()]
    return torch.stack([a, b, a * a, b * b, a * b, *waves], 1)


@pytest.fixture(scope="module", params=TOYS)
def toy(request: pytest.FixtureRequest) -> tuple:
    dataset = TOYS[request.param](n=20_000)
    return dataset, dataset.density(GRID)


def test_density_integrates_to_one(toy: tuple):
    _, log_density = toy
    assert (log_density.exp().sum() * STEP**2).item() == pytest.approx(1, abs=1e-6)


def test_samples_follow_the_density(toy: tuple):
    dataset, log_density = toy
    x = dataset.train_batch(Draw(0)).x.double()
    drawn = torch.cat([features(x), -dataset.density(x)[:, None]], 1)
    p = log_density.exp() * STEP**2
    on_grid = torch.cat([features(GRID), torch.where(p > 0, -log_density, 0.0)[:, None]], 1)
    expected = (p[:, None] * on_grid).sum(0)
    # 4.5 standard errors, and the grid's own error on the board, whose edges leave it second order in the step
    allowed = 4.5 * drawn.std(0) / len(x) ** 0.5 + 2 * STEP**2
    difference = (drawn.mean(0) - expected).abs()
    assert (difference < allowed).all(), difference / allowed


def test_density_is_the_same_at_a_point_alone_and_in_company(toy: tuple):
    dataset, log_density = toy
    middle = len(GRID) // 2 + 133
    torch.testing.assert_close(dataset.density(GRID[middle : middle + 1]), log_density[middle : middle + 1])


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

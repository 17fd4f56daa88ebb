"""Temperature is exact for normal data, on every path that ends in noise; the start is cut where it says."""

import itertools
import math

import pytest
import torch

from laws.zoo_oracles import events
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import models, paths
from pushforward.models import Truncated, tempered, truncated
from pushforward.solvers import Adaptive, Heun

GRID = list(itertools.product(PATHS, PREDICTIONS))
CAREFUL = Adaptive(rtol=1e-6, atol=1e-7)
SPREAD = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_the_velocity_stays_and_the_score_is_divided(path, prediction):
    model = models.ring(5, 1.0, 0.3, PATHS[path], PREDICTIONS[prediction])
    x, t = 0.7 * events(6), torch.linspace(0.06, 0.94, 6, dtype=torch.float64)
    cold = tempered(model, 0.6)
    torch.testing.assert_close(cold.velocity(x, t), model.velocity(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(cold.denoiser(x, t), model.denoiser(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(cold.score(x, t), model.score(x, t) / 0.6, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("path", ["linear", "cosine"])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_normal_data_are_tempered_exactly(path, temperature):
    mean = torch.tensor([0.4, -1.0], dtype=torch.float64)
    cold = tempered(models.gaussian(mean, path=PATHS[path], covariance=SPREAD), temperature)
    first = cold.path.path.coefficients(torch.tensor([cold.span[0]], dtype=torch.float64))
    spread = first.alpha**2 * SPREAD + first.sigma**2 * torch.eye(2, dtype=torch.float64)
    x = events(6)
    exact = torch.distributions.MultivariateNormal(first.alpha * mean, temperature * spread).log_prob(x)
    torch.testing.assert_close(cold.log_prob(x, solver=CAREFUL), exact, rtol=1e-5, atol=1e-5)


def test_modes_keep_their_weights_and_get_narrower():
    """What is not exact: p**(1/T) of a mixture would favour the narrow mode."""
    model = models.mixture([0.5, 0.5], [[-2.0], [2.0]], [0.1, 0.4], labels=[0, 1])
    x = tempered(model, 0.25).sample(4000, seed=0, solver=Heun(steps=40))[:, 0]
    left, right = x[x < 0], x[x > 0]
    assert len(left) / len(x) == pytest.approx(0.5, abs=0.05)
    assert left.std().item() / 0.1 == pytest.approx(0.74, abs=0.03)
    assert right.std().item() / 0.4 == pytest.approx(0.74, abs=0.03)


def test_a_cut_start_is_a_distribution():
    base = Truncated((2,), std=3.0, bound=1.5)
    line = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    mass = base.log_prob(torch.cartesian_prod(line, line)).exp().sum() * (line[1] - line[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=0.01)
    model = truncated(models.gaussian(std=0.5, path=paths.VE(), shape=(2,)), 1.5)
    z = model.noise(4000, seed=0)
    assert z.abs().max() <= 1.5 * 50.0 * (1 + 1e-6)
    known = math.sqrt(1 - 2 * 1.5 * math.exp(-(1.5**2) / 2) / math.sqrt(2 * math.pi) / math.erf(1.5 / math.sqrt(2)))
    assert (z.std() / 50.0).item() == pytest.approx(known, rel=0.02)
    _, log_prob = model.rsample_and_log_prob(5, seed=0, solver=Adaptive(rtol=1e-5, atol=1e-6))
    assert log_prob.isfinite().all()
    assert torch.equal(model.noise(5, seed=0, first=2), model.noise(7, seed=0)[2:])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="positive temperature"):
        tempered(models.ring(), 0.0)
    with pytest.raises(ValueError, match="positive bound"):
        truncated(models.ring(), 0.0)

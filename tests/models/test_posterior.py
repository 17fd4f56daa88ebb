"""Inverse problems with normal data, where the posterior is a formula at every time."""

import itertools

import pytest
import torch

from laws.zoo_oracles import events
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import data, models, paths
from pushforward._random import Draw
from pushforward.models import Isotropic, Measurement, Point, Tweedie, posterior
from pushforward.solvers import Adaptive, Heun

GRID = list(itertools.product(PATHS, PREDICTIONS))
MATRIX = torch.tensor([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]], dtype=torch.float64)
MEAN = torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64)
SPREAD = torch.tensor([[0.5, 0.3, 0.0], [0.3, 0.4, 0.1], [0.0, 0.1, 0.9]], dtype=torch.float64)
Y = torch.tensor([1.0, -2.0], dtype=torch.float64)


def seen(std=0.3):
    return Measurement(lambda x: x @ MATRIX.to(x).T, Y, std)


def known(covariance, std=0.3):
    """Mean and covariance of N(MEAN, covariance) given y."""
    gain = (
        covariance @ MATRIX.T @ torch.linalg.inv(MATRIX @ covariance @ MATRIX.T + std**2 * torch.eye(2, dtype=Y.dtype))
    )
    left = covariance - gain @ MATRIX @ covariance
    return MEAN + gain @ (Y - MATRIX @ MEAN), (left + left.T) / 2


def queries(n=6):
    return events(n, (3,), seed=3), torch.linspace(0.06, 0.84, n, dtype=torch.float64)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
@pytest.mark.parametrize("method", ["isotropic", "tweedie"])
@pytest.mark.parametrize("std", [0.3, 0.0])
def test_the_score_is_that_of_the_exact_posterior(path, prediction, method, std):
    """PiGDM where the data are isotropic, the Jacobian's covariance wherever they are normal."""
    path, prediction, (x, t) = PATHS[path], PREDICTIONS[prediction], queries()
    spread = 0.49 * torch.eye(3, dtype=torch.float64) if method == "isotropic" else SPREAD
    covariance = Isotropic(0.7, iterations=2) if method == "isotropic" else Tweedie(iterations=2)
    model = models.gaussian(MEAN, path=path, prediction=prediction, covariance=spread)
    mean, left = known(spread, std)
    exact = models.gaussian(mean, path=path, prediction=prediction, covariance=left)
    given = posterior(model, seen(std), covariance)
    torch.testing.assert_close(given.denoiser(x, t), exact.denoiser(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(given.velocity(x, t), exact.velocity(x, t), rtol=1e-8, atol=1e-8)


def test_dps_climbs_the_likelihood_of_its_guess():
    """Its addition to the score is the gradient of -|y - A D(x_t)|**2 / (2 std**2), times the scale."""
    model = models.mixture([0.4, 0.6], [[1.0, 0.0, 0.5], [-1.0, 0.5, 0.0]], 0.3, paths.Cosine(), paths.eps)
    x, t = queries()
    x = x.requires_grad_()
    fit = -(Y - model.denoiser(x, t) @ MATRIX.T).square().sum() / (2 * 0.3**2)
    expected = torch.autograd.grad(fit, x)[0]
    added = posterior(model, seen(), Point(), scale=0.5).score(x, t) - model.score(x, t)
    torch.testing.assert_close(added, 0.5 * expected)


def test_the_pulls_order_by_the_uncertainty_they_allow():
    """With noise left, a point estimate overstates the pull many times; the exact one is in between."""
    model = models.gaussian(MEAN, covariance=SPREAD)
    x, t = queries()
    exact = models.gaussian(known(SPREAD)[0], covariance=known(SPREAD)[1]).score(x, t) - model.score(x, t)
    sizes = {}
    for covariance in (Point(), Isotropic(1.0), Tweedie()):
        off = posterior(model, seen(), covariance).score(x, t) - model.score(x, t) - exact
        sizes[type(covariance)] = (off.norm() / exact.norm()).item()
    assert sizes[Tweedie] < 1e-9 < 0.01 < sizes[Isotropic] < 1 < sizes[Point]


def test_a_posterior_samples_and_scores_like_any_other_model():
    model = posterior(models.gaussian(MEAN, covariance=SPREAD), seen())
    mean, left = known(SPREAD)
    careful, x = Adaptive(rtol=1e-6, atol=1e-7), queries()[0] * 0.2 + mean
    exact = torch.distributions.MultivariateNormal(mean, left).log_prob(x)
    assert (model.log_prob(x, solver=careful) - exact).abs().max() < 0.05  # t > 0.99 is told by t = 0.99
    z = Draw(0).normal(2000, (3,), torch.float64)
    samples = model.decode(z, solver=Heun(steps=60))
    torch.testing.assert_close(samples.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(samples.T), left, rtol=0, atol=0.06)


@pytest.mark.parametrize("covariance", [Isotropic(0.7, 1), Tweedie(2)], ids=["isotropic", "tweedie"])
def test_what_is_known_exactly_is_met(covariance):
    mixed = models.mixture([0.4, 0.6], [[1.0, 0.0, 0.5], [-1.0, 0.5, 0.0]], 0.3)
    free = torch.tensor([True, False, True])
    model = posterior(mixed, Measurement.masked(~free, torch.tensor([9.0, 0.25, 9.0])), covariance)
    assert model.span == (1e-3, 1.0)
    x = model.sample(50, seed=0, solver=Heun(steps=40))
    assert (x[:, 1] - 0.25).abs().max() < 0.02
    assert 0.1 < (x[:, 0] > 0).float().mean() < 0.9  # both modes explain it


def test_an_inpainted_digit_is_in_the_data():
    digits = data.digits()
    batch = digits.train_batch(Draw(0))
    model = models.empirical(batch.x, labels=batch.context)
    upper = torch.zeros(1, 8, 8, dtype=torch.bool)
    upper[:, :4] = True
    event = batch.x[7]
    given = posterior(model, Measurement.masked(upper, event, std=0.05), Isotropic(0.5, 1))
    x = given.sample(12, seed=0, solver=Heun(steps=40))
    near = torch.cdist(x.flatten(1), batch.x.flatten(1)).min(1)
    assert near.values.max() < 0.1 * torch.cdist(batch.x[:1].flatten(1), batch.x[1:].flatten(1)).min()
    seen = (batch.x[near.indices] - event)[:, upper].square().mean(1).sqrt()
    assert seen.median() < 0.3
    assert (near.indices == 7).any()


def test_transforms_of_functions_see_the_same_field():
    model = posterior(models.gaussian(MEAN, covariance=SPREAD), seen())
    x, t = queries()

    def alone(x, t):
        return model.velocity(x[None], t[None])[0]

    torch.testing.assert_close(torch.func.vmap(alone)(x, t), model.velocity(x, t))
    jacobian = torch.autograd.functional.jacobian(lambda x: model.velocity(x, t).sum(0), x).movedim(1, 0)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(alone))(x, t), jacobian)


def test_operators_need_not_keep_the_shape():
    """The mean of each image's quadrants: the transpose comes from the operator alone."""
    pool = Measurement(torch.nn.AvgPool2d(2), torch.zeros(1, 2, 2))
    x = events(3, (1, 4, 4))
    v = events(3, (1, 2, 2), seed=1)
    back = pool.transpose(x)(v)
    torch.testing.assert_close((back * x).sum(), (v * pool.operator(x)).sum())
    torch.testing.assert_close(pool.missing(x), -pool.operator(x))


def test_impossible_measurements_are_refused():
    with pytest.raises(ValueError, match="std of 0 or more"):
        seen(-1.0)
    with pytest.raises(ValueError, match="noise for Point"):
        posterior(models.gaussian(MEAN), seen(0.0), Point())
    wrong = Measurement(lambda x: x[:, :1], Y)
    with pytest.raises(ValueError, match="shape the operator gives"):
        posterior(models.gaussian(MEAN), wrong).velocity(*queries())

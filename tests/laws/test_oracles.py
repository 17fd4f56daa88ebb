"""Laws of oracles: they answer as the density they state, on every path and as every prediction."""

import itertools
import math

import pytest
import torch

from laws.zoo_oracles import COVARIANCE, ORACLES, SMOOTH, events
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import models, paths
from pushforward.solvers import RK4, Adaptive, Exact, Heun, augmented, drain

GRID = list(itertools.product(PATHS, PREDICTIONS))
CAREFUL = Adaptive(rtol=1e-5, atol=1e-6)


def queries(n=6):
    return 0.7 * events(n, seed=3), torch.linspace(0.06, 0.94, n, dtype=torch.float64)


def score_of(log_prob, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(log_prob(x).sum(), x)[0]


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_the_score_is_the_gradient_of_the_density(name, path, prediction):
    model = ORACLES[name](PATHS[path], PREDICTIONS[prediction])
    x, t = queries()
    expected = score_of(lambda x: model.net.log_prob(x, t), x)
    torch.testing.assert_close(model.score(x, t), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["mixture", "ring", "empirical of one width"])
def test_the_score_given_a_class_is_that_of_its_density(name):
    model = ORACLES[name](paths.Cosine(), paths.v)
    x, t = queries()
    for context in (torch.tensor([0, 1, 1, 0, 1, 0]), torch.full((6,), model.net.classes)):
        expected = score_of(lambda x, c=context: model.net.log_prob(x, t, c), x)
        torch.testing.assert_close(model.score(x, t, context), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.score(x, t, context), model.score(x, t))


@pytest.mark.parametrize("name", SMOOTH)
def test_the_density_integrates_to_one_at_every_time(name):
    model = ORACLES[name](paths.Linear(), paths.v)
    line = torch.linspace(-7, 7, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    for t in (0.0, 0.4, 1.0):
        mass = model.net.log_prob(grid, torch.full((len(grid),), t, dtype=torch.float64)).exp().sum()
        assert (mass * (line[1] - line[0]) ** 2).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("path", PATHS)
def test_the_velocity_transports_the_marginals(name, path):
    """d/dt log p + div u + u . s = 0, point by point."""
    model = ORACLES[name](PATHS[path], paths.v)

    def left(x, t):
        def density(x, t):
            return model.net.log_prob(x[None], t[None])[0]

        def velocity(x):
            return model.velocity(x[None], t[None])[0]

        slope, rate = torch.func.grad(density, (0, 1))(x, t)
        terms = torch.stack([rate, torch.func.jacrev(velocity)(x).trace(), velocity(x) @ slope])
        return terms.sum(), terms.abs().sum()

    off, size = torch.func.vmap(left)(*queries())
    assert (off.abs() / size).max() < 1e-9


@pytest.mark.parametrize("name", SMOOTH)
def test_the_flow_carries_the_density(name):
    """The likelihood of the flow from 0.05 to 0.6 is the difference of the stated densities."""
    model, (x, _) = ORACLES[name](paths.Linear(), paths.velocity), queries()
    field = augmented(Exact().of(model.field(), x), model.shape)
    end = drain(CAREFUL.trajectory(field, torch.cat([x.flatten(1), x.new_zeros(6, 1)], 1), 0.05, 0.6))
    y, ladj = end[:, :-1].reshape(x.shape), end[:, -1]
    before, after = (model.net.log_prob(z, torch.full((6,), t).to(z)) for z, t in ((x, 0.05), (y, 0.6)))
    torch.testing.assert_close(after + ladj, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("path", PATHS)
def test_both_ends_are_limits(name, path):
    """What the times close by lead to, and finite for each prediction but the score, which has no such row."""
    path, x = PATHS[path], queries()[0]
    model = ORACLES[name](path, paths.v)
    for end, near in ((0.0, 1e-10), (1.0, 1 - 1e-10)):
        here, there = (torch.full((6,), t, dtype=torch.float64) for t in (end, near))
        for at, by in zip(model.net.posterior(x, here), model.net.posterior(x, there)):
            torch.testing.assert_close(at, by, rtol=1e-3, atol=1e-3)
        for prediction in ("v", "x0", "eps", "edm"):
            assert ORACLES[name](path, PREDICTIONS[prediction]).raw(x, here).isfinite().all()


@pytest.mark.parametrize("name", ORACLES)
def test_every_kind_of_derivative_agrees(name):
    model = ORACLES[name](paths.Cosine(), paths.v)
    x, t = queries()
    reverse = torch.func.vmap(torch.func.jacrev(lambda x, t: model.score(x[None], t[None])[0]))(x, t)
    forward = torch.func.vmap(torch.func.jacfwd(lambda x, t: model.score(x[None], t[None])[0]))(x, t)
    plain = torch.autograd.functional.jacobian(lambda x: model.score(x, t).sum(0), x).movedim(1, 0)
    torch.testing.assert_close(reverse, forward)
    torch.testing.assert_close(reverse, plain)
    torch.testing.assert_close(reverse, reverse.mT)  # the Jacobian of a gradient
    slow = (model.score(x, t + 1e-6) - model.score(x, t - 1e-6)) / 2e-6
    quick = torch.func.jvp(lambda t: model.score(x, t), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(quick, slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ORACLES)
def test_samples_do_not_see_each_other_and_keep_their_dtype(name):
    model = ORACLES[name](paths.Linear(), paths.v)
    x, t = queries()
    torch.testing.assert_close(model.velocity(x, t)[2:4], model.velocity(x[2:4], t[2:4]))
    single = model.velocity(x.float(), t.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), model.velocity(x, t), rtol=1e-3, atol=1e-4)


def test_a_covariance_is_met_by_samples():
    x = ORACLES["gaussian with covariance"](paths.Linear(), paths.v).sample(20_000, seed=0, solver=RK4(steps=12))
    torch.testing.assert_close(torch.cov(x.T).double(), COVARIANCE, rtol=0.03, atol=0.01)


def test_a_ring_samples_the_class_it_is_asked_for():
    model = models.ring(modes=4, std=0.05)
    x = model.sample(400, context=torch.arange(400) % 4, seed=0)
    angle = (torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 2)).round().long() % 4
    assert (angle == torch.arange(400) % 4).all()


def test_the_empirical_model_says_training_events_alone():
    data = events(50, (3, 4))
    model = models.empirical(data, labels=torch.arange(50) % 5)
    x = model.sample(40, context=torch.full((40,), 2), seed=0, solver=Heun(steps=40)).double()
    distance, which = torch.cdist(x.flatten(1), data.flatten(1)).min(1)
    assert distance.max() < 0.02  # the span stops at t = 0.001
    assert (which % 5 == 2).all()
    assert len(which.unique()) > 5


def test_the_empirical_model_is_a_mixture_and_chunks_do_not_matter(monkeypatch):
    data = events()
    whole = models.empirical(data, paths.Cosine(), paths.v, labels=torch.arange(9) % 3, std=0.3)
    same = models.mixture(torch.ones(9), data, 0.3, paths.Cosine(), paths.v, labels=torch.arange(9) % 3)
    x, t = queries()
    for context in (None, torch.tensor([0, 1, 2, 3, 0, 1])):
        torch.testing.assert_close(whole.velocity(x, t, context), same.velocity(x, t, context))
        torch.testing.assert_close(whole.net.log_prob(x, t, context), same.net.log_prob(x, t, context))
    expected = whole.velocity(x, t, context), whole.net.log_prob(x, t, context)
    monkeypatch.setattr("pushforward.models.oracles._CELLS", 20)
    torch.testing.assert_close((whole.velocity(x, t, context), whole.net.log_prob(x, t, context)), expected)


def test_at_the_data_the_empirical_posterior_is_the_event_and_mean_noise():
    data = events()
    x0, eps = models.empirical(data).net.posterior(data + 0.01, torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(x0, data)
    assert torch.equal(eps, torch.zeros_like(eps))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.gaussian(), r"shape=\(2,\)"),
        (lambda: models.gaussian(std=0.0, shape=(2,)), "positive numbers"),
        (lambda: models.gaussian(shape=(3,), covariance=torch.eye(2)), r"covariance \[3, 3\]"),
        (lambda: models.mixture([1.0], [[0.0], [1.0]], 0.1), "one number of components"),
        (lambda: models.mixture([1.0, -1.0], [[0.0], [1.0]], 0.1), "positive numbers"),
        (lambda: models.empirical(torch.zeros(0, 2)), "n of one or more"),
        (lambda: models.empirical(torch.zeros(3, 2), std=-1.0), "std of 0 or more"),
    ],
)
def test_impossible_data_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()

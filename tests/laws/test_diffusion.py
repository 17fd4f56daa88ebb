"""Laws of `Diffusion`: one model whatever the path and the prediction, with the right samples and densities."""

import gc
import itertools
import threading
import weakref

import pytest
import torch

from gaussian import gaussian_log_prob, gaussian_model
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import paths
from pushforward.models import Diffusion
from pushforward.solvers import RK4, Adaptive, Euler, Heun, Hutchinson, drain

GRID = list(itertools.product(PATHS, PREDICTIONS))
CAREFUL = Adaptive(rtol=1e-6, atol=1e-6)


def points(n=6, shape=(2,)):
    return 0.3 + 0.5 * torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_velocity_is_the_exact_one(path, prediction):
    path = PATHS[path]
    model = gaussian_model(path, PREDICTIONS[prediction])
    x, t = points(), torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    c = path.coefficients(t)
    total = c.alpha**2 * 0.25 + c.sigma**2
    rate = (c.alpha_dot * c.alpha * 0.25 + c.sigma_dot * c.sigma) / total  # d log std_t / dt
    expected = c.alpha_dot[:, None] * 0.3 + rate[:, None] * (x - c.alpha[:, None] * 0.3)
    torch.testing.assert_close(model.velocity(x, t), expected, rtol=1e-8, atol=1e-8)
    score = -(x - c.alpha[:, None] * 0.3) / total[:, None]
    torch.testing.assert_close(model.score(x, t), score, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("path", "prediction"), GRID, ids=["-".join(pair) for pair in GRID])
def test_log_prob_is_that_of_the_marginal_at_the_start(path, prediction):
    """Data at the first time of `reach`: N(alpha mean, alpha**2 std**2 + sigma**2); noise at the last, as the base."""
    path = PATHS[path]
    model = gaussian_model(path, PREDICTIONS[prediction])
    first, last = (path.coefficients(torch.tensor([t], dtype=torch.float64)) for t in model.reach)
    x = points()
    mean, std = first.alpha * 0.3, (first.alpha**2 * 0.25 + first.sigma**2).sqrt()
    z_mean, z_std = last.alpha * 0.3, (last.alpha**2 * 0.25 + last.sigma**2).sqrt()
    z, ladj = model.encode_and_ladj(x, solver=CAREFUL)
    torch.testing.assert_close(z, z_mean + z_std * (x - mean) / std, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ladj, 2 * (z_std / std).log().expand(6), rtol=1e-4, atol=1e-4)
    # what the base ignores of the data at t = 1 is a small, known error of the model, not of the method
    exact = gaussian_log_prob(x, mean, std)
    assert (model.base.log_prob(z) + ladj - exact).abs().max() < 0.02
    assert (model.matched(0.3, 0.25).log_prob(x, solver=CAREFUL) - exact).abs().max() < 1e-4


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_model_moves_to_every_path_without_retraining(prediction):
    """Change of path and of prediction: the same map from noise to data, in float64 to 1e-6 or better."""
    model = gaussian_model(paths.Cosine(), PREDICTIONS[prediction])
    x = points()
    for path, target in itertools.product(PATHS.values(), PREDICTIONS.values()):
        moved = model.on(path, target)
        t = torch.full((6,), 0.4, dtype=torch.float64)
        expected = gaussian_model(path, target).velocity(x, t)
        torch.testing.assert_close(moved.velocity(x, t), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", [paths.VP(), paths.EDM(), paths.Cosine(), paths.SubVP()], ids=repr)
def test_moving_loses_nothing_in_single_precision(path):
    """A float32 network says the same of the data at equal noise, whatever path it is moved to."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.SiLU(), torch.nn.Linear(32, 3))
    model = Diffusion(lambda x, t, context: net(x) + t[:, None], paths.Linear(), shape=(3,))
    moved, t = model.on(path, paths.v), torch.linspace(0.1, 0.9, 9)
    here = model.path.coefficients(t)
    moment = path.time_at(here.alpha.double(), here.sigma.double()).float()
    there = path.coefficients(moment)
    x, ratio = torch.randn(9, 3), torch.hypot(there.alpha, there.sigma) / torch.hypot(here.alpha, here.sigma)
    with torch.no_grad():
        expected, found = model.denoiser(x, t), moved.denoiser(x * ratio[:, None], moment)
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("path", PATHS)
def test_sample_and_log_prob_agree_with_log_prob(path):
    model = gaussian_model(PATHS[path], paths.velocity, solver=CAREFUL).double()
    x, log_prob = model.rsample_and_log_prob(5, seed=0)
    torch.testing.assert_close(log_prob, model.log_prob(x), rtol=1e-3, atol=1e-3)


def test_density_integrates_to_one_and_samples_follow_it():
    model = gaussian_model(paths.Linear(), paths.velocity, solver=RK4(steps=20))
    line = torch.linspace(-3, 3.6, 61, dtype=torch.float64)
    mass = model.log_prob(torch.cartesian_prod(line, line)).exp().sum() * (line[1] - line[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=1e-4)
    x = model.sample(20000, seed=0)
    assert x.mean().item() == pytest.approx(0.3, abs=0.01)
    assert x.std().item() == pytest.approx(0.5, abs=0.01)


def test_hutchinson_is_exact_where_the_jacobian_is_diagonal():
    exact = gaussian_model(paths.Linear(), paths.velocity)
    estimated = gaussian_model(paths.Linear(), paths.velocity, trace=Hutchinson(probes=1))
    torch.testing.assert_close(exact.log_prob(points()), estimated.log_prob(points()))


def test_likelihood_trains():
    """Gradients of log_prob reach the parameters, and climbing them finds the data's mean and size."""
    net = torch.nn.Linear(2, 2).double()
    model = Diffusion(lambda x, t, context: net(x), shape=(2,), solver=Heun(steps=4))
    x = points(200)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -model.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(-gaussian_log_prob(x).mean().item(), abs=0.05)


@pytest.mark.parametrize("split", [(64,), (1, 63), (7, 50, 7)])
def test_samples_do_not_depend_on_the_split(split):
    model = gaussian_model(paths.Linear(), paths.velocity, shape=(3, 4))
    whole, parts, first = model.sample(64, seed=3), [], 0
    for n in split:
        parts.append(model.sample(n, seed=3, first=first))
        first += n
    assert torch.equal(torch.cat(parts), whole)


def test_without_a_seed_the_default_generator_rules():
    model = gaussian_model(paths.Linear(), paths.velocity)
    torch.manual_seed(5)
    a, b = model.sample(3), model.sample(3)
    torch.manual_seed(5)
    assert torch.equal(model.sample(3), a)
    assert not torch.equal(a, b)


def test_trajectory_streams_and_takes_edits():
    model = gaussian_model(paths.Linear(), paths.velocity)
    states = list(model.trajectory(4, solver=Euler(steps=5), seed=0))
    assert torch.equal(states[-1].x, model.sample(4, solver=Euler(steps=5), seed=0))
    walk = model.trajectory(4, solver=Euler(steps=5), seed=0)
    next(walk)
    pinned = walk.send(torch.zeros(4, 2))
    assert torch.equal(pinned.x[0], pinned.x[1])
    assert torch.is_grad_enabled()
    assert not drain(walk).requires_grad


def test_encode_and_decode_invert_each_other():
    model = gaussian_model(paths.VP(), paths.eps, solver=CAREFUL)
    x = points()
    torch.testing.assert_close(model.decode(model.encode(x)), x, rtol=1e-4, atol=1e-4)


def test_eight_threads_share_a_model():
    model = gaussian_model(paths.Linear(), paths.velocity)
    expected = [model.sample(8, seed=i) for i in range(8)]
    results = [None] * 8

    def work(i):
        results[i] = model.sample(8, seed=i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(results, expected))


def test_sampling_and_scoring_leave_no_cycles():
    gc.collect()
    gc.disable()
    try:
        model = gaussian_model(paths.Linear(), paths.velocity)
        x = model.sample(4, seed=0)
        log_prob = model.log_prob(x)
        walk = model.trajectory(4, seed=0)
        next(walk)
        gone = [weakref.ref(thing) for thing in (model, model.net, x, log_prob)]
        del model, x, log_prob, walk
        assert [ref() for ref in gone] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "prediction", "span"),
    [
        ("linear", "velocity", (0.0, 1.0)), ("linear", "v", (0.0, 1.0)), ("cosine", "velocity", (0.0, 1.0)),
        ("linear", "x0", (0.001, 1.0)), ("linear", "eps", (0.0, 0.999)), ("cosine", "eps", (0.0, 0.999)),
        ("vp", "eps", (0.001, 1.0)), ("vp", "velocity", (0.001, 1.0)), ("edm", "edm", (0.0, 1.0)),
        ("ve", "score", (0.0, 1.0)),
    ],
)  # fmt: skip
def test_span_stops_short_only_where_it_must(path, prediction, span):
    assert gaussian_model(PATHS[path], PREDICTIONS[prediction]).span == span


def test_wrong_shapes_are_named():
    model = gaussian_model(paths.Linear(), paths.velocity, shape=(3,))
    with pytest.raises(ValueError, match=r"Expected events \[batch, 3\]; got \[4, 2\]"):
        model.log_prob(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"Pass shape=data.shape"):
        Diffusion(lambda x, t, context: x)

"""Two-sided interpolants between two normals, where velocity, score, flow and densities are known in closed form."""

import math

import pytest
import torch

from pushforward import paths
from pushforward._errors import ConfigError, ConversionError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Interpolant, Normal
from pushforward.nets import MLP
from pushforward.objectives import Interpolation, Regression
from pushforward.solvers import Adaptive, EulerMaruyama, Heun, drain

DATA, SOURCE = (0.7, 0.4), (-1.5, 1.2)
LATENTS = {"sine": paths.SineSquared(0.8), "bridge": paths.BrownianBridge(0.5)}
PATHS = {"linear": paths.Linear(), "cosine": paths.Cosine()}


def moments(path, latent, t):
    """Mean and variance of x_t, and their derivatives."""
    c, (gamma, gamma_dot) = path.coefficients(t), latent.width(t)
    mean = c.alpha * DATA[0] + c.sigma * SOURCE[0]
    mean_dot = c.alpha_dot * DATA[0] + c.sigma_dot * SOURCE[0]
    var = c.alpha**2 * DATA[1] ** 2 + c.sigma**2 * SOURCE[1] ** 2 + gamma**2
    half_dot = c.alpha * c.alpha_dot * DATA[1] ** 2 + c.sigma * c.sigma_dot * SOURCE[1] ** 2 + gamma * gamma_dot
    return mean[:, None], mean_dot[:, None], var[:, None], half_dot[:, None], gamma[:, None]


def exact(path, latent, solver=None):
    def velocity(x, t, context=None):
        mean, mean_dot, var, half_dot, _ = moments(path, latent, t)
        return mean_dot + half_dot / var * (x - mean)

    def noise(x, t, context=None):
        mean, _, var, _, gamma = moments(path, latent, t)
        return gamma / var * (x - mean)

    return Interpolant(velocity, noise, Normal((1,), SOURCE[1], SOURCE[0]), path, latent, solver)


@pytest.fixture(params=[(p, name) for p in PATHS for name in LATENTS], ids="-".join)
def model(request):
    return exact(PATHS[request.param[0]], LATENTS[request.param[1]], Adaptive(rtol=1e-8, atol=1e-9))


def test_the_flow_keeps_standard_units_whatever_the_noise_between(model):
    """Between normals the ODE moves x to the same quantile, from the first time of the span to the last."""
    x1 = torch.linspace(-4, 2, 7, dtype=torch.float64)[:, None]
    (first, last), (path, latent) = model.span, (model.path, model.latent)
    low, high = (moments(path, latent, torch.tensor([t], dtype=torch.float64)) for t in (first, last))
    known = low[0] + (low[2] / high[2]).sqrt() * (x1 - high[0])
    torch.testing.assert_close(model.decode(x1), known, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.encode(known), x1, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_log_prob_is_the_datas(path):
    model = exact(PATHS[path], LATENTS["sine"], Adaptive(rtol=1e-8, atol=1e-9))
    x = torch.linspace(-1, 2, 5, dtype=torch.float64)[:, None]
    known = torch.distributions.Normal(*DATA).log_prob(x[:, 0])
    torch.testing.assert_close(model.log_prob(x), known, rtol=1e-6, atol=1e-6)


def test_score_is_that_of_the_marginal_and_named_where_it_is_none(model):
    x, t = torch.tensor([[0.3], [-2.0]], dtype=torch.float64), torch.tensor([0.25, 0.8], dtype=torch.float64)
    mean, _, var, _, _ = moments(model.path, model.latent, t)
    torch.testing.assert_close(model.score(x, t), -(x - mean) / var)
    with pytest.raises(ConversionError, match="t=0"):
        model.score(x, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("eta", [0.5, 1.5])
@pytest.mark.parametrize("latent", LATENTS)
def test_the_sde_has_the_marginals_of_the_ode(latent, eta):
    model = exact(PATHS["linear"], LATENTS[latent])
    x = model.sample(20_000, seed=0, solver=EulerMaruyama(steps=150, eta=eta, form="sigma"))
    assert x.mean().item() == pytest.approx(DATA[0], abs=4 * DATA[1] / math.sqrt(20_000) + 0.004)
    assert x.std().item() == pytest.approx(DATA[1], rel=4 / math.sqrt(40_000) + 0.01)
    z = model.noise(50, seed=1)
    noisy = model.decode(z, solver=EulerMaruyama(steps=20, eta=eta, form="sigma"), draw=Draw(3, "solver"))
    assert (noisy - model.decode(z, solver=Heun(steps=20))).abs().mean() > 0.05


def test_an_edit_in_flight_is_a_restart_and_no_sample_knows_its_neighbours():
    model, solver = exact(PATHS["linear"], LATENTS["sine"]), EulerMaruyama(steps=6, form="sigma")
    whole = model.sample(5, solver=solver, seed=2)
    torch.testing.assert_close(model.sample(2, solver=solver, seed=2, first=3), whole[3:], rtol=0, atol=0)
    ends = []
    for start in (0.0, 5.0):
        walk = model.decoding(torch.full((5, 1), start), None, solver, Draw(2, "solver"))
        assert next(walk).nfe == 1
        assert walk.send(torch.full((5, 1), 0.1)).nfe == 2
        ends.append(drain(walk))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


@pytest.mark.parametrize("latent", LATENTS)
def test_three_hundred_steps_learn_velocity_and_score(latent):
    torch.manual_seed(0)
    known = exact(PATHS["linear"], LATENTS[latent])
    model = Interpolant(MLP((1,), 64, 2), MLP((1,), 64, 2), known.base, known.path, known.latent)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(300):
        draw = Draw(0, "train", step=step)
        x0 = DATA[0] + DATA[1] * draw.of("x").normal(256, (1,))
        loss = Interpolation()(model, Batch(x0), draw).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, t = torch.linspace(-1, 1, 9)[:, None], torch.full((9,), 0.4)
    for name in ("velocity", "score"):
        learned, truth = getattr(model, name)(x, t), getattr(known, name)(x, t)
        assert (learned - truth).abs().mean() < 0.12 * truth.abs().mean(), name


def test_the_minimiser_is_the_exact_pair():
    """On one million draws, scaling either exact network up or down raises the loss."""
    known = exact(PATHS["cosine"], LATENTS["sine"])
    draw = Draw(0, "train", step=0)
    batch = Batch(DATA[0] + DATA[1] * draw.of("x").normal(200_000, (1,), torch.float64))

    def loss(b=1.0, eta=1.0):
        changed = Interpolant(
            lambda x, t, c: b * known.flow.net(x, t), lambda x, t, c: eta * known.noise_net(x, t),
            known.base, known.path, known.latent,
        )  # fmt: skip
        return Interpolation()(changed, batch, draw).mean().item()

    assert max(loss(), 0) < min(loss(b=0.97), loss(b=1.03), loss(eta=0.97), loss(eta=1.03))


def test_mistakes():
    model = exact(PATHS["linear"], LATENTS["sine"])
    with pytest.raises(ConfigError, match="form='sigma'"):
        model.sample(2, solver=EulerMaruyama(steps=4))
    with pytest.raises(ConfigError, match="Interpolant"):
        Interpolation()(model.flow, Batch(torch.zeros(2, 1)), Draw(0))
    with pytest.raises(ConfigError, match="scale"):
        paths.SineSquared(0.0)
    with pytest.raises(ConfigError):
        Regression()(model, Batch(torch.zeros(2, 1)), Draw(0))

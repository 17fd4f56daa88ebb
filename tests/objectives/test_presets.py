"""Presets: each one's loss is its paper's formula, written out, and each learns the optimal denoiser of a mixture."""

import math

import pytest
import torch
from torch import nn

from pushforward import paths
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.nets import MLP
from pushforward.objectives import Regression, presets

X = torch.tensor([[0.3, -1.0], [0.9, 0.2], [-0.4, 0.6], [0.0, 1.5]], dtype=torch.float64)
EPS = torch.tensor([[-0.7, 0.1], [1.2, -0.3], [0.5, 0.8], [-1.1, -0.6]], dtype=torch.float64)
CENTRES = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [0.0, 1.2]])
WIDTH = 0.15


class Fixed(nn.Module):
    """A network of fixed numbers that depends on all it is told."""

    shape = (2,)

    def forward(self, x, t, context=None):
        return torch.tanh(0.7 * x + 0.1 * t[:, None]) - 0.2


def drawn(formulation):
    """The loss of each pair, the time each had, and the loss's own network."""
    model, objective = formulation
    draw = Draw(0, "train", step=3)
    loss = objective(model, Batch(X, eps=EPS), draw)
    return loss, objective.times.sample(len(X), draw.of("time"), model.path, model.span)[:, None], Fixed()


def mean_square(error):
    return error.square().mean(1)


def test_ddpm():
    """Ho et al. 2020, equation 14: |eps - eps_theta(sqrt(abar_k) x0 + sqrt(1 - abar_k) eps, k)|**2, k uniform."""
    loss, t, net = drawn(presets.ddpm(Fixed(), told=paths.preconditioning("vp")))
    k = t * 999
    torch.testing.assert_close(k, k.round())
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[k.round().long()]
    paper = mean_square(EPS - net(abar.sqrt() * X + (1 - abar).sqrt() * EPS, k[:, 0]))
    torch.testing.assert_close(loss, paper)


@pytest.mark.parametrize("sub", [False, True], ids=["vp", "sub-vp"])
@pytest.mark.parametrize("likelihood", [False, True], ids=["sigma", "g"])
def test_score_vp(sub, likelihood):
    """Song et al. 2021, equation 7, on |s(x_t, t) + eps / sigma|**2 with lambda = sigma**2, or g**2 / 2."""
    path = paths.SubVP() if sub else paths.VP()
    loss, t, net = drawn(presets.score_vp(Fixed(), path, likelihood))
    integral, beta = 0.1 * t + t**2 * 19.9 / 2, 0.1 + 19.9 * t
    alpha, variance = (-integral / 2).exp(), 1 - (-integral).exp()
    sigma = variance if sub else variance.sqrt()
    g2 = beta * (1 - (-2 * integral).exp()) if sub else beta
    score = -net(alpha * X + sigma * EPS, t[:, 0]) / sigma
    weight = g2 / 2 if likelihood else sigma**2
    torch.testing.assert_close(loss, weight[:, 0] * mean_square(score + EPS / sigma))


def test_score_ve():
    """Song et al. 2021: sigma = .01 5000**t, lambda = sigma**2, s = -F / sigma, and Karras's clock log(sigma / 2)."""
    loss, t, net = drawn(presets.score_ve(Fixed()))
    sigma = 0.01 * 5000**t
    score = -net(X + sigma * EPS, (sigma / 2).log()[:, 0]) / sigma
    torch.testing.assert_close(loss, sigma[:, 0] ** 2 * mean_square(score + EPS / sigma))


def test_edm():
    """Karras et al. 2022, equations 7 and 8: lambda(sigma) |c_skip y + c_out F(c_in y, log(sigma) / 4) - x0|**2."""
    d = 0.6
    loss, t, net = drawn(presets.edm(Fixed(), d))
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    sigma = (low + t * (high - low)) ** 7
    total = sigma**2 + d**2
    y = X + sigma * EPS
    denoised = d**2 / total * y + sigma * d / total.sqrt() * net(y / total.sqrt(), sigma.log()[:, 0] / 4)
    torch.testing.assert_close(loss, (total / (sigma * d) ** 2)[:, 0] * mean_square(denoised - X))


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_flow_matching(sigma_min):
    """Lipman et al. 2022, equation 23, whose time s runs from noise: psi = (1 - (1 - sigma_min) s) eps + s x1."""
    loss, t, net = drawn(presets.flow_matching(Fixed(), sigma_min))
    s = 1 - t
    psi = (1 - (1 - sigma_min) * s) * EPS + s * X
    torch.testing.assert_close(loss, mean_square(-net(psi, t[:, 0]) - (X - (1 - sigma_min) * EPS)))


def test_rectified_flow():
    """Liu et al. 2022, equation 1, from X_0 = eps to X_1 = data: |(X_1 - X_0) - v(s X_1 + (1 - s) X_0, s)|**2."""
    loss, t, net = drawn(presets.rectified_flow(Fixed()))
    s = 1 - t
    torch.testing.assert_close(loss, mean_square((X - EPS) + net(s * X + (1 - s) * EPS, t[:, 0])))


@pytest.mark.parametrize("path", [paths.Linear(), paths.Cosine()], ids=["linear", "gvp"])
def test_stochastic_interpolant(path):
    """Ma et al. 2024, equation 7: |v(x_t, t) - alpha' x* - sigma' eps|**2, in whose time data are at 0 as here."""
    loss, t, net = drawn(presets.stochastic_interpolant(Fixed(), path))
    if path == paths.Linear():
        x_t, target = (1 - t) * X + t * EPS, EPS - X
    else:
        turn = math.pi / 2 * t
        x_t, target = turn.cos() * X + turn.sin() * EPS, math.pi / 2 * (turn.cos() * EPS - turn.sin() * X)
    torch.testing.assert_close(loss, mean_square(net(x_t, t[:, 0]) - target))


PRESETS = {
    "ddpm": presets.ddpm, "score_vp": presets.score_vp, "score_ve": presets.score_ve,
    "edm": lambda net: presets.edm(net, sigma_data=1.0), "flow_matching": presets.flow_matching,
    "rectified_flow": presets.rectified_flow, "stochastic_interpolant": presets.stochastic_interpolant,
}  # fmt: skip


def optimal(x, c):
    """E[x0 | x_t = x] for three blobs: sum of each blob's posterior mean, weighted by how likely it is."""
    alpha, sigma = c.alpha[:, None, None], c.sigma[:, None, None]
    total = alpha**2 * WIDTH**2 + sigma**2
    away = x[:, None] - alpha * CENTRES
    share = torch.softmax(-(away**2).sum(2, keepdim=True) / (2 * total), 1)
    return (share * (CENTRES + alpha * WIDTH**2 / total * away)).sum(1)


def blobs(n, draw):
    return CENTRES[draw.of("which").integers(n, 3)] + WIDTH * draw.of("where").normal(n, (2,))


@pytest.mark.parametrize("name", PRESETS)
def test_two_hundred_steps_come_closer_to_the_optimal_denoiser(name):
    """The exact error E|D(x_t, t) - E[x0 | x_t]|**2 over noise levels from a tenth to ten times the signal."""
    torch.manual_seed(0)
    model, objective = PRESETS[name](MLP((2,), hidden=48, layers=2))
    ratio = torch.logspace(-1, 1, 9).repeat(64)
    t = model.path.time_at(torch.ones_like(ratio), ratio)
    x_t = model.path.mix(blobs(len(t), Draw(1)), Draw(1, "eps").normal(len(t), (2,)), t)
    best = optimal(x_t, model.path.coefficients(t))

    def error():
        with torch.no_grad():
            return (model.denoiser(x_t, t) - best).square().mean().item()

    before, optimizer = error(), torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(200):
        optimizer.zero_grad()
        objective(model, Batch(blobs(128, Draw(0, "data", step))), Draw(0, "train", step)).mean().backward()
        optimizer.step()
    assert error() < 0.3 * before


def test_a_preset_is_an_ordinary_value():
    model, objective = presets.flow_matching(MLP((2,), hidden=8, layers=1))
    assert objective == Regression()
    assert model.path == paths.Linear()
    assert model.sample(3, seed=0).shape == (3, 2)

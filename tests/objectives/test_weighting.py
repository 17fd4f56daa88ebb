"""Weightings: each against its paper's formula in its own parametrisation, and all where the snr is 0."""

import math

import pytest
import torch

from gaussian import PerfectNetwork
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import paths
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion
from pushforward.objectives import Regression, Uncertainty
from pushforward.objectives.weighting import (
    EDM,
    ELBO,
    SNR,
    In,
    MinSNR,
    Sigmoid,
    SNRPlusOne,
    SoftMinSNR,
    TruncatedSNR,
)

ALL = {
    "edm": EDM(), "snr": SNR(), "snr + 1": SNRPlusOne(), "truncated": TruncatedSNR(), "min": MinSNR(),
    "soft min": SoftMinSNR(), "sigmoid": Sigmoid(), "elbo": ELBO(), "in x0": In(paths.x0), "in v": In(paths.v),
    "in velocity": In(paths.velocity),
}  # fmt: skip
T = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)


def published():
    """weighting, the prediction its paper weighs, and that weight."""
    c = paths.VP().coefficients(T)
    snr, one = (c.alpha / c.sigma) ** 2, torch.ones_like(T)
    least = torch.minimum(snr, torch.full_like(snr, 5.0))
    return c, [
        (SNR(), paths.eps, one),  # Ho et al. 2020, equation 14
        (SNRPlusOne(), paths.v, one),  # Salimans and Ho 2022, section 4
        (SNRPlusOne(), paths.x0, snr + 1),
        (TruncatedSNR(), paths.x0, snr.clamp(min=1)),
        (MinSNR(5.0), paths.x0, least),  # Hang et al. 2023, section 3.4: three parametrisations
        (MinSNR(5.0), paths.eps, least / snr),
        (MinSNR(5.0), paths.v, least / (snr + 1)),
        (SoftMinSNR(4.0), paths.x0, snr * 4 / (snr + 4)),  # Crowson et al. 2024: 1 / (sigma**2 + 1 / gamma)
        (Sigmoid(2.0), paths.eps, torch.sigmoid(2 - snr.log())),  # Kingma and Gao 2023
        (In(paths.x0), paths.x0, one),
    ]


@pytest.mark.parametrize("k", range(10))
def test_weightings_are_their_papers(k):
    c, table = published()
    weighting, prediction, expected = table[k]
    torch.testing.assert_close(weighting.on(prediction, c), expected)


def test_edm_weights_its_raw_output_by_one():
    """Karras et al. 2022: lambda(sigma) = (sigma**2 + d**2) / (sigma d)**2 on D, which is 1 on F; our row is d F."""
    d = 0.6
    c = paths.EDM().coefficients(T)
    torch.testing.assert_close(EDM(d)(c), (c.sigma**2 + d**2) / (c.sigma * d) ** 2)
    torch.testing.assert_close(EDM(d).on(paths.edm(d), c), torch.full_like(T, 1 / d**2))


def test_the_elbo_is_the_derivative_of_the_snr():
    """Kingma et al. 2021, equation 17: -snr' / 2 on x0; on the score that is g**2 / 2 (Song et al. 2021)."""
    path = paths.VP()
    c, snr = path.coefficients(T), lambda t: path.log_snr(t).exp()
    slope = torch.func.jvp(snr, (T,), (torch.ones_like(T),))[1]
    torch.testing.assert_close(ELBO().on(paths.x0, c), -slope / 2)
    torch.testing.assert_close(ELBO().on(paths.score, c) * c.sigma**2, path.diffusion(T) / 2)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("name", ALL)
def test_a_weighting_means_the_same_for_every_prediction(path, name):
    """The weighted loss of one and the same denoiser does not depend on what the network predicts."""
    x0, eps, wrong = torch.randn(3, len(T), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t, c = path.mix(x0, eps, T), path.coefficients(T)
    losses = []
    for prediction in PREDICTIONS.values():
        row, m = prediction.row(c), paths.recast(wrong, x_t, c, paths.x0, prediction)
        error = (row.scale[:, None] * m - row.target(x0, eps)).square().mean(1)
        losses.append(error * ALL[name].on(prediction, c))
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(losses[0], (wrong - x0).square().mean(1) * ALL[name](c), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prediction", [paths.v, paths.velocity, paths.x0], ids=["v", "velocity", "x0"])
def test_zero_snr_divides_by_nothing(name, prediction):
    """Chains that end in pure noise: min-SNR's min(snr, gamma) / snr was 0 / 0 there."""
    path = paths.Discrete.scheduled().ending_in_noise()
    weight = ALL[name].on(prediction, path.coefficients(torch.ones(1, dtype=torch.float64)))
    assert weight.isfinite().all()
    model = Diffusion(PerfectNetwork(path, prediction, 0.3, 0.5, (2,)), path, prediction)
    x = torch.zeros(64, 2, dtype=torch.float64)
    assert Regression(weighting=ALL[name], times=paths.Stops(1000))(model, Batch(x), Draw(0)).isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf, math.nan])
def test_impossible_gammas_are_refused(gamma):
    for kind in (MinSNR, SoftMinSNR):
        with pytest.raises(ConfigError, match="a positive gamma"):
            kind(gamma)


def test_weights_of_unknown_units_are_refused():
    with pytest.raises(ConfigError, match="in units of the denoiser's error"):
        Regression(weighting=lambda c: c.alpha)


def test_uncertainty_learns_the_log_of_the_loss():
    """loss = L exp(-u) + u, least at u = log E[L | t]: here L = t**2 + 0.1 plus noise of mean 0."""
    torch.manual_seed(0)
    u = Uncertainty(frequencies=16, fastest=4.0)
    optimizer = torch.optim.Adam(u.parameters(), lr=0.03)
    for step in range(300):
        t = paths.uniforms(256, Draw(0, "t", step)).float()
        loss = (t**2 + 0.1) * 2 * Draw(0, "noise", step).uniform(256)
        optimizer.zero_grad()
        (loss * (-u(t)).exp() + u(t)).mean().backward()
        optimizer.step()
    t = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(u(t).exp(), t**2 + 0.1, rtol=0.15, atol=0.02)


def test_regression_asks_the_model_for_its_uncertainty():
    model = Diffusion(lambda x, t, context: x, shape=(2,))
    batch = Batch(torch.ones(32, 2))
    plain = Regression()(model, batch, Draw(0))
    model.uncertainty = Uncertainty()
    torch.testing.assert_close(Regression()(model, batch, Draw(0)), plain)  # u = 0 at the start
    torch.nn.init.constant_(model.uncertainty.layer.bias, 0.7)
    torch.testing.assert_close(Regression()(model, batch, Draw(0)), plain * math.exp(-0.7) + 0.7)
    assert any("uncertainty" in name for name, _ in model.named_parameters())

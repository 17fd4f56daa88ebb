"""Published constants of the paths."""

import math

import pytest
import torch

from pushforward import paths
from pushforward._errors import ConfigError


def test_vp_ends_where_score_sde_does():
    """sigma / alpha of the VP path with beta from 0.1 to 20 is 152.167 at t = 1 and 0.010486 at t = 0.001."""
    c = paths.VP().coefficients(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    assert f"{(c.sigma / c.alpha)[0].item():.3f}" == "152.167"
    assert f"{(c.sigma / c.alpha)[1].item():.6f}" == "0.010486"


def test_vp_and_sub_vp_are_those_of_score_sde():
    """Song et al. 2021, equations 28, 29 and 33, and sigma(0.001), sigma(1) of VP with all their digits."""
    t = torch.linspace(0.01, 1, 12, dtype=torch.float64)
    beta, integral = 0.1 + t * 19.9, 0.1 * t + t**2 * 19.9 / 2
    c, sub = paths.VP().coefficients(t), paths.SubVP().coefficients(t)
    torch.testing.assert_close(c.alpha, torch.exp(-integral / 2))
    torch.testing.assert_close(c.sigma**2, 1 - torch.exp(-integral))
    torch.testing.assert_close(sub.alpha, c.alpha)
    torch.testing.assert_close(sub.sigma**2, (1 - torch.exp(-integral)) ** 2)
    torch.testing.assert_close(paths.VP().drift(t), -beta / 2)
    torch.testing.assert_close(paths.VP().diffusion(t), beta)
    torch.testing.assert_close(paths.SubVP().drift(t), -beta / 2)
    torch.testing.assert_close(paths.SubVP().diffusion(t), beta * (1 - torch.exp(-2 * integral)))


def test_the_forward_sdes_have_their_published_noise():
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    sigma = paths.VE().coefficients(t).sigma
    torch.testing.assert_close(paths.VE().diffusion(t), sigma**2 * 2 * math.log(50.0 / 0.01))  # Song et al., eq. 30
    torch.testing.assert_close(paths.Linear().diffusion(t), 2 * t / (1 - t))
    assert (paths.EDM().drift(t) == 0).all()


def test_the_reverse_sde_is_andersons_and_karras():
    """eta = 1: f x - g**2 score (Anderson 1982); eta = 0: f x - g**2 score / 2 (Song et al., equation 13)."""
    path, t = paths.VP(), torch.tensor([0.2, 0.7], dtype=torch.float64)
    x, score = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f, g2 = path.drift(t)[:, None], path.diffusion(t)[:, None]
    for eta, share in ((0.0, 0.5), (1.0, 1.0), (0.6, 0.5 + 0.18)):
        way = paths.convert(score, x, t, path, paths.score, paths.reverse(eta))
        torch.testing.assert_close(way, f * x - share * g2 * score)


def test_the_reverse_drift_is_finite_at_the_data():
    """g**2 score is 0 times infinity at t = 0 of the linear path; the row of the table is not."""
    t, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    drift = paths.convert(one, 2 * one, t, paths.Linear(), paths.velocity, paths.reverse(1.0))
    assert drift.item() == pytest.approx(-2 + 2 * 3)  # x0 = x, eps = x0 + u = 3, -x0 + 2 eps


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_impossible_amounts_of_noise_are_refused(noise):
    with pytest.raises(ConfigError, match="0 is the ODE, 1 the SDE"):
        paths.reverse(noise)


def test_polynomials_below_degree_1_are_refused():
    with pytest.raises(ConfigError, match="a degree of 1 or more"):
        paths.Polynomial(0.5)


def test_edm_path_is_karras_grid():
    steps, rho, low, high = 18, 7.0, 0.002, 80.0
    t = torch.linspace(1, 0, steps, dtype=torch.float64)
    karras = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    torch.testing.assert_close(paths.EDM().coefficients(t).sigma, torch.tensor(karras, dtype=torch.float64))


def test_linear_velocity_is_noise_minus_data():
    c = paths.Linear().coefficients(torch.tensor([0.3]))
    x0, eps = torch.tensor([[2.0]]), torch.tensor([[5.0]])
    assert paths.velocity.row(c).target(x0, eps).item() == pytest.approx(3.0)


def test_cosine_v_is_the_velocity_up_to_its_speed():
    t = torch.tensor([0.37], dtype=torch.float64)
    c = paths.Cosine().coefficients(t)
    x0, eps = torch.randn(2, 1, 4, dtype=torch.float64)
    v, velocity = paths.v.row(c).target(x0, eps), paths.velocity.row(c).target(x0, eps)
    torch.testing.assert_close(velocity, v * math.pi / 2)


def test_edm_row_is_karras_preconditioning():
    """c_skip x + c_out F = x0 with the published coefficients."""
    sigma, d = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64), 0.5
    path = paths.EDM()
    c = path.coefficients(path.time_at(torch.ones_like(sigma), sigma))
    x0, eps = torch.randn(2, 3, 2, dtype=torch.float64)
    x = x0 + sigma[:, None] * eps
    row = paths.edm(d).row(c)
    f = row.target(x0, eps) / row.scale[:, None]
    c_skip, c_out = d**2 / (sigma**2 + d**2), sigma * d / (sigma**2 + d**2).sqrt()
    torch.testing.assert_close(c_skip[:, None] * x + c_out[:, None] * f, x0)
    torch.testing.assert_close(paths.edm(d).input_scale(c), 1 / (sigma**2 + d**2).sqrt())

"""Published constants of the paths."""

import math

import pytest
import torch

from pushforward import paths
from pushforward._random import Draw


def test_vp_ends_where_score_sde_does():
    """sigma / alpha of the VP path with beta from 0.1 to 20 is 152.167 at t = 1 and 0.010486 at t = 0.001."""
    c = paths.VP().coefficients(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    assert (c.sigma / c.alpha)[0].item() == pytest.approx(152.167, abs=1e-3)
    assert (c.sigma / c.alpha)[1].item() == pytest.approx(0.010486, abs=1e-6)


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


@pytest.mark.parametrize("times", [paths.Uniform(), paths.LogitNormal(0.3, 1.2)])
def test_times_follow_their_quantiles_and_split_by_sample(times):
    draw = Draw(3, "time", step=5)
    whole = times.sample(4096, draw)
    u = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(torch.quantile(whole, u), times.quantile(u), rtol=0, atol=2e-3)
    part = times.sample(100, Draw(3, "time", step=5, first=1000))
    assert torch.equal(part, whole[1000:1100])


def test_independent_noise_is_standard_and_keyed_by_sample():
    x = torch.zeros(5000, 2)
    eps = paths.Independent().pair(x, None, Draw(0, "eps"))
    assert eps.mean().abs() < 0.03
    assert eps.std().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(paths.Independent().pair(x[:10], None, Draw(0, "eps", first=40)), eps[40:50])

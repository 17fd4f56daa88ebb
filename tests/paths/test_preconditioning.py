"""Karras et al. 2022, table 1, written in its own variables, x / alpha and sigma / alpha."""

import pytest
import torch

from pushforward import paths
from pushforward._errors import ConfigError

D = 0.7
TABLE = {  # name: prediction, c_skip, c_out, c_in, c_noise as functions of sigma and the time
    "vp": (paths.eps, lambda s: 0 * s + 1, lambda s: -s, lambda s: 1 / (s**2 + 1).sqrt(), lambda s, t: 999 * t),
    "ve": (paths.eps, lambda s: 0 * s + 1, lambda s: -s, lambda s: 0 * s + 1, lambda s, t: (s / 2).log()),
    "edm": (
        paths.edm(D),
        lambda s: D**2 / (s**2 + D**2),
        lambda s: s * D / (s**2 + D**2).sqrt(),
        lambda s: 1 / (s**2 + D**2).sqrt(),
        lambda s, t: s.log() / 4,
    ),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("path", [paths.VP(), paths.EDM(), paths.Linear()], ids=str)
def test_each_row_is_karras(name, path):
    prediction, c_skip, c_out, c_in, c_noise = TABLE[name]
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    c = path.coefficients(t)
    sigma, told = c.sigma / c.alpha, paths.preconditioning(name, sigma_data=D)
    a, b = paths.bridge(c, prediction, paths.x0)
    torch.testing.assert_close(a * c.alpha, c_skip(sigma))
    torch.testing.assert_close(b, c_out(sigma))
    torch.testing.assert_close(told.input_scale(c) * c.alpha, c_in(sigma))
    torch.testing.assert_close(told.clock(t, c), c_noise(sigma, t))


def test_none_hands_over_what_there_is():
    t = torch.tensor([0.3])
    c = paths.EDM().coefficients(t)
    assert paths.preconditioning("none").input_scale(c).item() == 1
    assert torch.equal(paths.preconditioning("none").clock(t, c), t)


def test_rows_are_values_and_unknown_names_list_the_known():
    assert paths.preconditioning("edm", 0.7) == paths.preconditioning("edm", 0.7)
    assert paths.preconditioning("edm", 0.7) != paths.preconditioning("edm", 0.5)
    with pytest.raises(ConfigError, match=r"none, vp, ve, edm; got 'iddpm'"):
        paths.preconditioning("iddpm")

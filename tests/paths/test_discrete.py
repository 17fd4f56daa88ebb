"""The table's values, its published constants, and what is refused."""

import numpy as np
import pytest
import torch

from pushforward import paths
from pushforward._errors import ConfigError
from pushforward.paths.discrete import _BETAS

SCHEDULES = {
    "ddpm": (("linear", 1e-4, 0.02), "4.0358e-05", "157.4073", "0.0100005"),
    "stable diffusion": (("scaled_linear", 0.00085, 0.012), "4.6601e-03", "14.6146", "0.0291672"),
    "improved ddpm": (("squaredcos_cap_v2",), "2.43e-09", "20291.17", "0.00642541"),
    "sigmoid": (("sigmoid",), "3.9682e-05", "158.74", "0.0122159"),
}
"""What is left of the data's variance at the end, and sigma / alpha at the end and at the start."""

IN_FLOAT32 = {"ddpm": ("0.010001", "157.4073"), "stable diffusion": ("0.029168", "14.6146"),
              "improved ddpm": (None, "20291.3"), "sigmoid": (None, "158.74")}  # fmt: skip
"""sigma / alpha at the start and at the end, as printed for the table that diffusers rounds to float32 at each step."""


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_have_their_published_constants_to_every_digit(name):
    arguments, left, last, first = SCHEDULES[name]
    c = paths.Discrete.scheduled(*arguments).coefficients(torch.tensor([0.0, 1.0], dtype=torch.float64))
    ratio = c.sigma / c.alpha
    assert printed(c.alpha[1].square().item(), left) == left
    assert printed(ratio[1].item(), last) == last
    assert printed(ratio[0].item(), first) == first


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_table_that_was_rounded_gives_the_constants_of_the_rounded_table(name):
    """The cosine chain's 20291.3 is float32's; in exact arithmetic it is 20291.17."""
    kind, *range_ = SCHEDULES[name][0]
    start, end = range_ or (1e-4, 0.02)
    betas = {
        "linear": lambda: torch.linspace(start, end, 1000),
        "scaled_linear": lambda: torch.linspace(start**0.5, end**0.5, 1000) ** 2,
        "squaredcos_cap_v2": lambda: torch.tensor(_BETAS[kind](start, end, 1000).tolist()),
        "sigmoid": lambda: torch.sigmoid(torch.linspace(-6, 6, 1000)) * (end - start) + start,
    }[kind]()
    table = tuple((1 - betas).cumprod(0).tolist())
    c = paths.Discrete(table).coefficients(torch.tensor([0.0, 1.0], dtype=torch.float64))
    for end, expected in zip((0, 1), IN_FLOAT32[name]):
        assert expected is None or printed((c.sigma / c.alpha)[end].item(), expected) == expected


def printed(value, like):
    """The value with as many digits as the string has."""
    places = len(like.partition("e")[0].partition(".")[2])
    return f"{value:.{places}e}" if "e" in like else f"{value:.{places}f}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tables_values_are_met(dtype):
    table = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    path = paths.Discrete(tuple(table))
    c = path.coefficients(torch.linspace(0, 1, 1000, dtype=dtype))
    close = {"rtol": 2e-4 if dtype == torch.float32 else 1e-9, "atol": 0}
    torch.testing.assert_close(c.alpha, torch.tensor(np.sqrt(table), dtype=dtype), **close)
    torch.testing.assert_close(c.sigma, torch.tensor(np.sqrt(1 - table), dtype=dtype), **close)
    assert c.alpha.dtype == dtype


@pytest.mark.parametrize(
    "table", [(0.9, 0.6, 0.3, 0.1), (0.99, 0.98, 0.2, 0.19), (0.9, 0.2), (0.9, 0.5, 0.0), (0.5, 0.0)]
)
def test_between_the_steps_the_signal_falls_without_kinks(table):
    path = paths.Discrete(table)
    t = torch.linspace(0, 1, 3001, dtype=torch.float64)
    c = path.coefficients(t)
    assert (c.alpha.diff() < 0).all()
    torch.testing.assert_close(c.alpha.square() + c.sigma.square(), torch.ones_like(t))
    at_steps = c.alpha.square()[:: 3000 // (len(table) - 1)]
    torch.testing.assert_close(at_steps, torch.tensor(table, dtype=torch.float64))
    assert c.alpha_dot.diff().abs().max() < 0.02 * c.alpha_dot.abs().max()
    torch.testing.assert_close(path.time_at(c.alpha, c.sigma)[1:-1], t[1:-1], rtol=0, atol=1e-6)


def test_a_chain_can_end_in_pure_noise():
    path = paths.Discrete.scheduled().ending_in_noise()
    c = path.coefficients(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert c.alpha[1].item() == 0
    assert c.sigma[1].item() == 1
    assert torch.isinf(c.sigma[1] / c.alpha[1])  # sigma_max of the rescaled chain
    assert c.alpha[0].square().item() == pytest.approx(1 - 1e-4)
    assert torch.stack(c).isfinite().all()
    torch.testing.assert_close(path.time_at(c.alpha, c.sigma), torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_paths_of_equal_tables_are_equal():
    assert paths.Discrete((0.8, 0.2)) == paths.Discrete((0.8, 0.2))
    assert hash(paths.Discrete((0.8, 0.2))) == hash(paths.Discrete((0.8, 0.2)))
    assert paths.Discrete((0.8, 0.2)) != paths.Discrete((0.8, 0.1))


@pytest.mark.parametrize("table", [(), (0.5,), (0.5, 0.5), (0.2, 0.5), (1.0, 0.5), (0.5, -0.1), (0.5, 0.0, 0.0)])
def test_tables_that_do_not_fall_are_refused(table):
    with pytest.raises(ConfigError, match="fall strictly"):
        paths.Discrete(table)


def test_unknown_schedules_list_the_known():
    with pytest.raises(ConfigError, match=r"linear, scaled_linear, squaredcos_cap_v2, sigmoid; got 'cosine'"):
        paths.Discrete.scheduled("cosine")

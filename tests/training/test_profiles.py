"""Power-function averages against their definition, and widths that were not kept against ones that were."""

import math

import pytest
import torch

from pushforward._errors import ConfigError
from pushforward.training.profiles import Profile, coefficients, combined, exponent, kept

STEPS = 4096


def tracked(history, std):
    """The running average of this width after each update."""
    average, all_of_them = torch.zeros_like(history[0]), []
    for step, weights in enumerate(history):
        average = torch.lerp(weights, average, kept(step, std))
        all_of_them.append(average)
    return all_of_them


def walk(kind):
    """Weights that move as weights do: towards a place, with noise that fades; or a plain random walk."""
    torch.manual_seed(0)
    noise = torch.randn(STEPS, 50, dtype=torch.float64)
    if kind == "random walk":
        return list(noise.cumsum(0))
    t = torch.linspace(0, 1, STEPS, dtype=torch.float64)[:, None]
    return list(3 * (1 - (-5 * t).exp()) * noise[0] + (1 - t) * noise)


@pytest.mark.parametrize("std", [0.03, 0.05, 0.1, 0.2])
def test_exponent_inverts_the_width(std):
    g = exponent(std)
    assert math.sqrt(g + 1) / ((g + 2) * math.sqrt(g + 3)) == pytest.approx(std, rel=1e-12)


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_the_running_average_is_the_profile(std):
    """b telescopes: what update k counts after t is (k**(g+1) - (k-1)**(g+1)) / t**(g+1)."""
    history = walk("random walk")[:300]
    k = torch.arange(301, dtype=torch.float64) ** (exponent(std) + 1)
    shares = (k[1:] - k[:-1]) / k[-1]
    known = (shares[:, None] * torch.stack(history)).sum(0)
    torch.testing.assert_close(tracked(history, std)[-1], known)


@pytest.mark.parametrize("kind", ["random walk", "training"])
@pytest.mark.parametrize("std", [0.04, 0.05, 0.075, 0.12, 0.15, 0.2])
def test_a_width_that_was_not_kept_is_within_one_percent(kind, std):
    history, saves = walk(kind), range(STEPS // 16, STEPS + 1, STEPS // 16)
    runs = {width: tracked(history, width) for width in (0.05, 0.1)}
    snapshots = [Profile(step, width) for step in saves for width in runs]
    counts = coefficients(snapshots, Profile(STEPS, std))
    found = combined([{"w": runs[each.std][each.step - 1]} for each in snapshots], counts)["w"]
    true = tracked(history, std)[-1]
    assert (found - true).norm() < 0.01 * true.norm()
    assert counts.sum().item() == pytest.approx(1, abs=1e-9)


def test_an_earlier_moment_is_within_one_percent():
    history = walk("training")
    runs = {width: tracked(history, width) for width in (0.05, 0.1)}
    snapshots = [Profile(step, width) for step in range(256, STEPS + 1, 256) for width in runs]
    counts = coefficients(snapshots, Profile(2000, 0.08))
    found = combined([{"w": runs[each.std][each.step - 1]} for each in snapshots], counts)["w"]
    true = tracked(history, 0.08)[1999]
    assert (found - true).norm() < 0.01 * true.norm()


def test_a_kept_profile_is_itself():
    snapshots = [Profile(step, std) for step in (100, 200) for std in (0.05, 0.1)]
    counts = coefficients(snapshots, snapshots[2])
    torch.testing.assert_close(counts, torch.tensor([0.0, 0, 1, 0], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("std", [0.0, 0.3, math.nan])
def test_no_width(std):
    with pytest.raises(ConfigError, match="width"):
        exponent(std)


def test_no_moment():
    with pytest.raises(ConfigError, match="after 300"):
        coefficients([Profile(200, 0.1)], Profile(300, 0.1))
    with pytest.raises(ConfigError, match="snapshots"):
        coefficients([], Profile(300, 0.1))

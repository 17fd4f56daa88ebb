"""How the ODE is followed where nothing says how: what networks that are a little wrong are sampled like."""

import pytest

from gaussian import PerfectNetwork
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward.models import Diffusion
from pushforward.solvers import RK4


@pytest.mark.parametrize("path", ["linear", "cosine", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "x0", "eps", "v"])
def test_a_network_that_is_a_little_wrong_is_sampled_a_little_wrong(path, prediction):
    """What says nothing at an end of a path (x0 of data, eps of noise) is not asked there for half of a step."""
    path, prediction = PATHS[path], PREDICTIONS[prediction]
    exact = PerfectNetwork(path, prediction, 0.3, 0.5, (1,))

    def wrong(x, t, context=None):
        return exact(x, t) + 0.01

    x = Diffusion(wrong, path, prediction, shape=(1,)).sample(2000, seed=0)
    true = Diffusion(exact, path, prediction).sample(2000, seed=0, solver=RK4(100))
    assert (x - true).square().mean().sqrt() < 0.06

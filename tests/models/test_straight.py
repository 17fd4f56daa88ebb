"""How the ODE is followed where nothing says how: what networks that are a little wrong are sampled like."""

import pytest
import torch

from gaussian import PerfectNetwork
from laws.zoo_paths import PATHS, PREDICTIONS
from models.exact import Mixture
from pushforward.models import Diffusion, likelihood
from pushforward.paths import x0
from pushforward.solvers import RK4, Adaptive, Euler, Midpoint, Solver


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


@pytest.mark.parametrize("path", ["linear", "cosine", "vp"])
@pytest.mark.parametrize(("solver", "least"), [(None, 0.35), (Midpoint(20), 0.35), (RK4(20), 0.02), (Euler(100), 0.5)])
def test_fixed_steps_find_the_likelihood_of_a_network_of_x0_that_is_a_little_wrong(path, solver: Solver | None, least):
    """5 % off at the data is 50 of noise there: steps even in t were off by 0.5 to 23 nats."""
    exact, x = Mixture(PATHS[path], x0, (1,)), torch.tensor([-1.3, -0.9, 0.0, 1.2], dtype=torch.float64)[:, None]
    model = Diffusion(lambda x, t, context=None: 0.95 * exact(x, t) + 0.01, PATHS[path], x0, shape=(1,))
    close = likelihood(model, x, solver=Adaptive(1e-8, 1e-8), check=False).log_prob
    assert (model.log_prob(x, solver=solver) - close).abs().max() < least


@pytest.mark.parametrize("pieces", [3, 20])
def test_pieces_of_the_way_of_a_network_of_x0_have_grids_too(pieces):
    """Those beside the noise are even in t, where even ones in log t have no room."""
    exact, x = Mixture(PATHS["linear"], x0, (1,)), torch.tensor([[-1.3], [0.0], [1.2]], dtype=torch.float64)
    model = Diffusion(exact, PATHS["linear"], x0, shape=(1,))
    whole = likelihood(model, x, solver=Adaptive(1e-8, 1e-8), check=False).log_prob
    flow = model.as_flow(RK4(20), pieces=pieces)
    assert (flow.log_prob(x) - whole).abs().max() < 1e-3
    assert (flow.decode(flow.encode(x)) - x).abs().max() < 1e-3

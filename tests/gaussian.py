"""The exact model of Gaussian data, as the tests ask for it: on any path and as any prediction."""

import torch
from torch import nn

from pushforward.models import Diffusion, gaussian
from pushforward.paths import Path, Prediction


class PerfectNetwork(nn.Module):
    """The library's own oracle as a module, for tests that cast or wrap it."""

    def __init__(self, path: Path, prediction: Prediction, mean: float, std: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.oracle, self.shape = gaussian(mean, std, path, prediction, shape=shape).net, shape

    def forward(self, x, t, context=None):
        return self.oracle(x, t, context)


def gaussian_model(path, prediction, mean=0.3, std=0.5, shape=(2,), **kwargs) -> Diffusion:
    return Diffusion(PerfectNetwork(path, prediction, mean, std, shape), path, prediction, **kwargs)


def gaussian_log_prob(x, mean=0.3, std=0.5):
    return torch.distributions.Normal(mean, std).log_prob(x).flatten(1).sum(1)

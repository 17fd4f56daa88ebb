"""An exact model: the perfect network for Gaussian data, on any path and as any prediction."""

import torch
from torch import nn

from pushforward._typing import per_sample
from pushforward.models import Diffusion
from pushforward.paths import Path, Prediction


class PerfectNetwork(nn.Module):
    """What a network would output for data N(mean, std**2), were training perfect: the posterior mean of its target."""

    def __init__(self, path: Path, prediction: Prediction, mean: float, std: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.path, self.prediction, self.mean, self.std, self.shape = path, prediction, mean, std, shape

    def forward(self, x, t, context=None):
        c = self.path.coefficients(t)
        x = x / per_sample(self.prediction.input_scale(c), x)
        a, s = per_sample(c.alpha, x), per_sample(c.sigma, x)
        gain = 1 / (a**2 * self.std**2 + s**2)
        x0 = self.mean + a * self.std**2 * gain * (x - a * self.mean)
        eps = s * gain * (x - a * self.mean)
        row = self.prediction.row(c)
        return row.target(x0, eps) / per_sample(row.scale, x)


def gaussian_model(path, prediction, mean=0.3, std=0.5, shape=(2,), **kwargs) -> Diffusion:
    return Diffusion(PerfectNetwork(path, prediction, mean, std, shape), path, prediction, **kwargs)


def gaussian_log_prob(x, mean=0.3, std=0.5):
    return torch.distributions.Normal(mean, std).log_prob(x).flatten(1).sum(1)

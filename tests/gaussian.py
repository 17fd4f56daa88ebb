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


class ExactMap(nn.Module):
    """u(x, t, s) of Gaussian data on the straight path, plus offsets along three features: the exact map where they
    are 0.

        X_s = m_s + (sd_s / sd_t) (x - m_t),      m_t = (1 - t) mean,      sd_t**2 = (1 - t)**2 std**2 + t**2
    """

    def __init__(self, mean: float = 0.3, std: float = 0.5, shape: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.mean, self.var, self.shape = mean, std**2, shape
        self.offsets = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x, t, context=None, leap=None):
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        leap = torch.zeros_like(t) if leap is None else leap.reshape(t.shape)
        s = t - leap

        def sd(t):
            return ((1 - t) ** 2 * self.var + t**2).sqrt()

        slope = ((s + t) * (1 + self.var) - 2 * self.var) / ((sd(s) + sd(t)) * sd(t))
        exact = slope * (x - (1 - t) * self.mean) - self.mean
        a, b, c = self.offsets
        return exact + a + b * x + c * leap * x


def exact_jump(x, t, s, mean=0.3, std=0.5):
    """X(x, t, s) by the formula."""
    t, s = (each.reshape(-1, *[1] * (x.ndim - 1)) for each in (t, s))
    sd_t, sd_s = (((1 - each) ** 2 * std**2 + each**2).sqrt() for each in (t, s))
    return (1 - s) * mean + sd_s / sd_t * (x - (1 - t) * mean)

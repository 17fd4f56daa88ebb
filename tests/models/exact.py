"""Exact models whose Jacobians are not diagonal multiples of one: mixtures, and Gaussians with a full covariance."""

import math

import torch
from torch import nn

from pushforward._typing import per_sample

WEIGHTS, MEANS, STDS = [0.3, 0.7], [-0.9, 0.5], [0.15, 0.3]
MEAN = 0.3 * -0.9 + 0.7 * 0.5
VAR = 0.3 * (0.15**2 + 0.81) + 0.7 * (0.09 + 0.25) - MEAN**2


class Mixture(nn.Module):
    """The perfect network for independent numbers of .3 N(-.9, .15**2) + .7 N(.5, .3**2)."""

    def __init__(self, path, prediction, shape=(1,)):
        super().__init__()
        self.path, self.prediction, self.shape, self.calls = path, prediction, shape, 0

    def forward(self, x, t, context=None):
        self.calls += 1
        c = self.path.coefficients(t)
        x = x / per_sample(self.prediction.input_scale(c), x)
        a, s = (per_sample(k, x)[..., None] for k in (c.alpha, c.sigma))
        weights, means, stds = (torch.tensor(each, dtype=x.dtype) for each in (WEIGHTS, MEANS, STDS))
        variance, off = a**2 * stds**2 + s**2, x[..., None] - a * means
        share = (-(off**2) / (2 * variance) - variance.log() / 2 + weights.log()).softmax(-1)
        x0 = (share * (means + a * stds**2 / variance * off)).sum(-1)
        eps = (share * (s / variance * off)).sum(-1)
        row = self.prediction.row(c)
        return row.target(x0, eps) / per_sample(row.scale, x)


def mixture_log_prob(x, alpha=1.0, sigma=0.0):
    weights, means, stds = (torch.tensor(each, dtype=x.dtype) for each in (WEIGHTS, MEANS, STDS))
    variance, off = alpha**2 * stds**2 + sigma**2, x[..., None] - alpha * means
    each = -(off**2) / (2 * variance) - variance.log() / 2 - 0.5 * math.log(2 * math.pi) + weights.log()
    return each.logsumexp(-1).flatten(1).sum(1)


class Correlated(nn.Module):
    """The perfect velocity on the straight path for N(0, Q diag(variances) Q.T)."""

    def __init__(self, size=16, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.axes = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=torch.float64)).Q
        self.variances = torch.exp(-3 * torch.rand(size, generator=g, dtype=torch.float64))
        self.shape, self.calls = (size,), 0

    def forward(self, x, t, context=None):
        self.calls += 1
        a, s = 1 - t[:, None], t[:, None]
        gain = (s - a * self.variances) / (a**2 * self.variances + s**2)
        return (x @ self.axes * gain) @ self.axes.T

    def draw(self, n, seed=0):
        z = torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return z * self.variances.sqrt() @ self.axes.T

    def log_prob(self, x):
        return torch.distributions.Normal(0, self.variances.sqrt()).log_prob(x @ self.axes).sum(1)

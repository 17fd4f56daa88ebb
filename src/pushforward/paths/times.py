"""How t is drawn in training: every distribution is its quantile function.

`quantile(u)` turns uniform numbers into times, so one low-discrepancy stream of u serves them all: sample i
of a batch gets u_i = u_0 + i * 0.618... mod 1 (the golden-ratio sequence), which covers [0, 1) far more evenly than
independent draws and still depends on the sample's index alone.

References: Esser et al. 2024 (arXiv 2403.03206) for the logit-normal; Kingma et al. 2021 (arXiv 2107.00630) for
low-discrepancy times.
"""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import Time

_GOLDEN = 0.6180339887498949


class TimeDistribution(abc.ABC):
    """Where training looks; a frozen dataclass."""

    @abc.abstractmethod
    def quantile(self, u: Tensor) -> Time:
        """The time below which a fraction `u` of the draws fall."""

    def sample(self, n: int, draw: Draw) -> Time:
        """`n` times, [n], evenly spread over the distribution."""
        start = Draw(draw.seed, draw.purpose, draw.step, device=draw.device).uniform(1)
        index = torch.arange(draw.first, draw.first + n, device=draw.device, dtype=torch.float64)
        return self.quantile(((start + index * _GOLDEN) % 1.0).to(torch.get_default_dtype()))


@dataclass(frozen=True, slots=True)
class Uniform(TimeDistribution):
    """Every time alike.

    >>> Uniform().quantile(torch.tensor([0.25]))
    tensor([0.2500])
    """

    def quantile(self, u: Tensor) -> Time:
        return u


@dataclass(frozen=True, slots=True)
class LogitNormal(TimeDistribution):
    """logit(t) ~ N(mean, std**2): more often in the middle, where the regression is hardest.

    >>> LogitNormal().quantile(torch.tensor([0.5]))
    tensor([0.5000])
    """

    mean: float = 0.0
    std: float = 1.0

    def quantile(self, u: Tensor) -> Time:
        inside = u.clamp(1e-6, 1 - 1e-6)
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(inside))

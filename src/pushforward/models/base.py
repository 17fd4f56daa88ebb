"""Base distributions: what gets pushed forward.

normal     log p(z) = -((z-m)/s)**2 / 2 - log s - log(2 pi) / 2  per dimension
logistic   log p(z) = -softplus(z) - softplus(-z)                per dimension
"""

import abc
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._random import Draw
from pushforward._typing import PerSample, Sample


class Base(abc.ABC):
    """A distribution over noise of a given event shape; a frozen dataclass."""

    shape: tuple[int, ...]
    std: float | Tensor

    @abc.abstractmethod
    def sample(self, n: int, draw: Draw) -> Sample:
        """`n` draws, [n, *shape], each a function of the draw's address and its index."""

    @abc.abstractmethod
    def log_prob(self, z: Sample) -> PerSample:
        """Log-density in nats, [batch]."""


@dataclass(frozen=True, eq=False)
class Normal(Base):
    """Independent normals: one mean and one standard deviation, or tensors of them that broadcast over the event.

    >>> import torch
    >>> round(Normal((2,)).log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    shape: tuple[int, ...]
    std: float | Tensor = 1.0
    mean: float | Tensor = 0.0

    def sample(self, n: int, draw: Draw) -> Sample:
        z = draw.normal(n, self.shape)
        return z * like(self.std, z) + like(self.mean, z)

    def log_prob(self, z: Sample) -> PerSample:
        std = like(self.std, z)
        each = -0.5 * ((z - like(self.mean, z)) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        return _total(each)


@dataclass(frozen=True)
class Logistic(Base):
    """Independent standard logistics (NICE's prior on MNIST and SVHN; Dinh et al. 2014, arXiv 1410.8516)."""

    shape: tuple[int, ...]
    std: float | Tensor = field(default=math.pi / math.sqrt(3), init=False)

    def sample(self, n: int, draw: Draw) -> Sample:
        # log(u/(1-u)) with u kept off both ends, by a quarter of float32's spacing at 1
        return draw.uniform(n, self.shape).clamp(3e-8, 1 - 6e-8).logit()

    def log_prob(self, z: Sample) -> PerSample:
        return _total(-softplus(z) - softplus(-z))


def like(number: float | Tensor, z: Tensor) -> Tensor:
    """A number or tensor with z's dtype and device."""
    return torch.as_tensor(number, dtype=z.dtype, device=z.device)


def _total(each: Tensor) -> PerSample:
    return each.flatten(1).sum(1) if each.ndim > 1 else each

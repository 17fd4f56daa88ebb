"""Base distributions: what gets pushed forward.

normal     log p(z) = -(z/s)**2 / 2 - log s - log(2 pi) / 2      per dimension
logistic   log p(z) = -softplus(z) - softplus(-z)                per dimension
"""

import abc
import math
from dataclasses import dataclass, field

from torch import Tensor
from torch.nn.functional import softplus

from pushforward._random import Draw
from pushforward._typing import PerSample, Sample


class Base(abc.ABC):
    """A distribution over noise of a given event shape, of mean 0; a frozen dataclass."""

    shape: tuple[int, ...]
    std: float

    @abc.abstractmethod
    def sample(self, n: int, draw: Draw) -> Sample:
        """`n` draws, [n, *shape], each a function of the draw's address and its index."""

    @abc.abstractmethod
    def log_prob(self, z: Sample) -> PerSample:
        """Log-density in nats, [batch]."""


@dataclass(frozen=True)
class Normal(Base):
    """Independent normals of mean 0 and one standard deviation.

    >>> import torch
    >>> round(Normal((2,)).log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    shape: tuple[int, ...]
    std: float = 1.0

    def sample(self, n: int, draw: Draw) -> Sample:
        return draw.normal(n, self.shape) * self.std

    def log_prob(self, z: Sample) -> PerSample:
        each = -0.5 * (z / self.std).square() - math.log(self.std) - 0.5 * math.log(2 * math.pi)
        return _total(each)


@dataclass(frozen=True)
class Logistic(Base):
    """Independent standard logistics (NICE's prior on MNIST and SVHN; Dinh et al. 2014, arXiv 1410.8516)."""

    shape: tuple[int, ...]
    std: float = field(default=math.pi / math.sqrt(3), init=False)

    def sample(self, n: int, draw: Draw) -> Sample:
        # log(u/(1-u)) with u kept off both ends, by a quarter of float32's spacing at 1
        return draw.uniform(n, self.shape).clamp(3e-8, 1 - 6e-8).logit()

    def log_prob(self, z: Sample) -> PerSample:
        return _total(-softplus(z) - softplus(-z))


def _total(each: Tensor) -> PerSample:
    return each.flatten(1).sum(1) if each.ndim > 1 else each

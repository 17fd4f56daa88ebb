"""Noise on the way between two sets of data, none of it at either end.

    x_t = alpha x0 + sigma x1 + gamma(t) z,        gamma(0) = gamma(1) = 0,    z ~ N(0, 1)

A straight line between a datum here and a datum there has no noise of its own. gamma gives it some: the marginals
become smooth, their score is known, -E[z | x_t] / gamma, and with it SDEs from one data set to the other.

    SineSquared       gamma = scale sin(pi t)**2             its derivative is finite: for training over all of [0, 1]
    BrownianBridge    gamma = scale sqrt(2 t (1 - t))        dx = sqrt(2) scale dw pinned at both ends; infinite there

Reference: Albergo, Boffi, Vanden-Eijnden 2023 (arXiv 2303.08797), equation 2.1 and table 4.
"""

import abc
import math
from dataclasses import dataclass

from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time


class Latent(abc.ABC):
    """gamma(t); a frozen dataclass."""

    margin: float
    """How far from the ends times must stay for gamma' to be finite."""

    @abc.abstractmethod
    def width(self, t: Time) -> tuple[Tensor, Tensor]:
        """gamma and its derivative at each time, each [batch]."""


@dataclass(frozen=True, slots=True)
class SineSquared(Latent):
    """gamma = scale sin(pi t)**2.

    >>> import torch
    >>> SineSquared(2.0).width(torch.tensor([0.5]))[0]
    tensor([2.])
    """

    scale: float = 1.0
    margin = 0.0

    def __post_init__(self) -> None:
        _positive(self.scale)

    def width(self, t: Time) -> tuple[Tensor, Tensor]:
        return self.scale * (math.pi * t).sin() ** 2, self.scale * math.pi * (2 * math.pi * t).sin()


@dataclass(frozen=True, slots=True)
class BrownianBridge(Latent):
    """gamma = scale sqrt(2 t (1 - t)), whose derivative is infinite at the ends: times stay 0.001 away.

    >>> import torch
    >>> BrownianBridge().width(torch.tensor([0.5]))[1]
    tensor([0.])
    """

    scale: float = 1.0
    margin = 1e-3

    def __post_init__(self) -> None:
        _positive(self.scale)

    def width(self, t: Time) -> tuple[Tensor, Tensor]:
        root = (2 * t * (1 - t)).sqrt()
        return self.scale * root, self.scale * (1 - 2 * t) / root


def _positive(scale: float) -> None:
    if not scale > 0:
        raise ConfigError(explain("a scale above 0", repr(scale), "Without latent noise, train a Diffusion."))

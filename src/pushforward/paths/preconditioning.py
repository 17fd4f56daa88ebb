"""How a noisy event and its time are put to a network.

A denoiser is D = c_skip x + c_out F(c_in x, c_noise). In the table of predictions F is the network's output m, so
c_skip and c_out are `bridge(c, prediction, x0)`; what is left are the scale of the input and the number that stands for
the time. Karras et al. write them for x0 + sigma eps: on any path their x is x_t / alpha, their sigma sigma / alpha.

    name    c_in x                                  c_noise                 F, the prediction it belongs to
    none    x_t                                     t                       any
    vp      x_t / sqrt(alpha**2 + sigma**2)         (M - 1) t               eps
    ve      x_t / alpha                             log(sigma / 2 alpha)    eps (its sign is the network's)
    edm     x_t / sqrt(d**2 alpha**2 + sigma**2)    log(sigma / alpha) / 4  edm(d), d = sigma_data

The clocks of ve and edm are infinite where alpha or sigma is 0: they are for paths that keep some of both.

Reference: Karras et al. 2022 (arXiv 2206.00364, table 1).
"""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time
from pushforward.paths.path import Coefficients


class Preconditioning(abc.ABC):
    """One row of the table; a frozen dataclass."""

    @abc.abstractmethod
    def input_scale(self, c: Coefficients) -> Tensor:
        """What x_t is multiplied by before the network sees it, [batch]."""

    @abc.abstractmethod
    def clock(self, t: Time, c: Coefficients) -> Tensor:
        """What the network is told instead of t, [batch]."""


@dataclass(frozen=True, slots=True)
class _None(Preconditioning):
    def input_scale(self, c: Coefficients) -> Tensor:
        return torch.ones_like(c.alpha)

    def clock(self, t: Time, c: Coefficients) -> Tensor:
        return t


@dataclass(frozen=True, slots=True)
class _VP(Preconditioning):
    steps: int = 1000

    def input_scale(self, c: Coefficients) -> Tensor:
        return 1 / torch.hypot(c.alpha, c.sigma)

    def clock(self, t: Time, c: Coefficients) -> Tensor:
        return (self.steps - 1) * t


@dataclass(frozen=True, slots=True)
class _VE(Preconditioning):
    def input_scale(self, c: Coefficients) -> Tensor:
        return 1 / c.alpha

    def clock(self, t: Time, c: Coefficients) -> Tensor:
        return c.sigma.log() - c.alpha.log() - math.log(2)


@dataclass(frozen=True, slots=True)
class _EDM(Preconditioning):
    sigma_data: float = 0.5

    def input_scale(self, c: Coefficients) -> Tensor:
        return 1 / torch.hypot(c.sigma, self.sigma_data * c.alpha)

    def clock(self, t: Time, c: Coefficients) -> Tensor:
        return (c.sigma.log() - c.alpha.log()) / 4


def preconditioning(name: str, sigma_data: float = 0.5, steps: int = 1000) -> Preconditioning:
    """The row of this name: none, vp, ve or edm.

    Args:
        name: the row.
        sigma_data: d, the data's standard deviation (edm).
        steps: M, the length of the chain whose places the network knows (vp).

    Raises:
        ConfigError: a name that is not in the table.

    >>> from pushforward.paths import EDM
    >>> t = torch.ones(1)
    >>> preconditioning("edm").clock(t, EDM().coefficients(t))  # log(80) / 4
    tensor([1.0955])
    """
    table = {"none": _None(), "vp": _VP(steps), "ve": _VE(), "edm": _EDM(sigma_data)}
    if name not in table:
        raise ConfigError(explain(f"a preconditioning of {', '.join(table)}", repr(name), "Choose one of them."))
    return table[name]

"""Paths that keep the variance, alpha**2 + sigma**2 = 1, and one that stays below it.

    VP      log alpha = -t**2 (beta_max - beta_min) / 4 - t beta_min / 2       (DDPM in continuous time)
    SubVP   VP's alpha, sigma = 1 - alpha**2                                  (g**2 = beta (1 - alpha**4))
    Cosine  alpha = cos(pi t / 2), sigma = sin(pi t / 2)                      (the trigonometric path)

References: Ho et al. 2020 (arXiv 2006.11239), Song et al. 2021 (arXiv 2011.13456), Salimans and Ho 2022
(arXiv 2202.00512) for the cosine in this form.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class VP(Path):
    """The variance-preserving diffusion with a linear beta(t). At t = 1 a trace of the data is left (alpha ~ 0.0066).

    >>> VP().coefficients(torch.ones(1, dtype=torch.float64)).alpha.item()  # sigma/alpha = 152.167
    0.00657...
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def coefficients(self, t: Time) -> Coefficients:
        beta, half = _betas(t, self.beta_min, self.beta_max)
        alpha, sigma = (-half).exp(), (-torch.expm1(-2 * half)).sqrt()
        return Coefficients(alpha, sigma, -beta * alpha / 2, beta * alpha.square() / (2 * sigma))

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return _time_of(0.5 * torch.log1p((sigma / alpha).square()), self.beta_min, self.beta_max)


@dataclass(frozen=True, slots=True)
class SubVP(Path):
    """The diffusion with less noise than `VP` at every t, and the likelihoods of Song et al.: sigma = 1 - alpha**2.

    Unlike VP's, its sigma leaves the data with a finite slope, so the velocity is finite at both ends.

    >>> SubVP().diffusion(torch.zeros(1))  # beta (1 - alpha**4)
    tensor([0.])
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def coefficients(self, t: Time) -> Coefficients:
        beta, half = _betas(t, self.beta_min, self.beta_max)
        alpha, sigma = (-half).exp(), -torch.expm1(-2 * half)
        return Coefficients(alpha, sigma, -beta * alpha / 2, beta * alpha.square())

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        # sigma / alpha = 1 / alpha - alpha = 2 sinh(-log alpha)
        return _time_of(torch.asinh(sigma / (2 * alpha)), self.beta_min, self.beta_max)


@dataclass(frozen=True, slots=True)
class Cosine(Path):
    """A quarter of a circle from data to noise, at constant angular speed.

    >>> Cosine().coefficients(torch.ones(1)).alpha  # exactly no signal at t = 1
    tensor([0.])
    """

    def coefficients(self, t: Time) -> Coefficients:
        quarter = math.pi / 2
        alpha, sigma = torch.sin(quarter * (1 - t)), torch.sin(quarter * t)
        return Coefficients(alpha, sigma, -quarter * sigma, quarter * alpha)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return torch.atan2(sigma, alpha) * (2 / math.pi)


def _betas(t: Time, low: float, high: float) -> tuple[Tensor, Tensor]:
    """beta and half its integral, -log alpha, of the beta that rises in a line from `low` to `high`."""
    return low + t * (high - low), t * (t * (high - low) / 4 + low / 2)


def _time_of(minus_log_alpha: Tensor, low: float, high: float) -> Time:
    """The time at which half the integral of beta is this; never, if that is infinite."""
    root = (low**2 / 4 + (high - low) * minus_log_alpha).sqrt()
    return torch.where(minus_log_alpha.isinf(), minus_log_alpha, 2 * minus_log_alpha / (low / 2 + root))

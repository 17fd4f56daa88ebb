"""Paths that keep the variance: alpha**2 + sigma**2 = 1.

    VP      log alpha = -t**2 (beta_max - beta_min) / 4 - t beta_min / 2       (DDPM in continuous time)
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
        slope = self.beta_max - self.beta_min
        log_alpha = -t * (t * slope / 4 + self.beta_min / 2)
        beta = self.beta_min + t * slope
        alpha, sigma = log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()
        return Coefficients(alpha, sigma, -beta * alpha / 2, beta * alpha.square() / (2 * sigma))

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        minus_log_alpha = 0.5 * torch.log1p((sigma / alpha).square())
        half = self.beta_min / 2
        root = (half**2 + (self.beta_max - self.beta_min) * minus_log_alpha).sqrt()
        return 2 * minus_log_alpha / (half + root)


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

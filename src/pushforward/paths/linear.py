"""Convex paths, alpha + sigma = 1: every pair moves on its straight line, at its own speed.

    Linear        alpha = 1 - t         the path of flow matching and rectified flow
    Polynomial    alpha = (1 - t)**n    slower near the noise, where the velocity of every pair fades to 0

(with sigma_min > 0, Lipman et al.'s: alpha + sigma is 1 at the noise and 1 + sigma_min at the data).

References: Lipman et al. 2022 (arXiv 2210.02747), Liu et al. 2022 (arXiv 2209.03003), Albergo and
Vanden-Eijnden 2022 (arXiv 2209.15571). They put data at t = 1; here data are at t = 0 everywhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class Linear(Path):
    """alpha = 1 - t, sigma = t: the velocity is eps - x0, constant along each pair.

    Args:
        sigma_min: noise that is left at t = 0: sigma = sigma_min + (1 - sigma_min) t.

    >>> Linear().coefficients(torch.tensor([0.25])).alpha
    tensor([0.7500])
    """

    sigma_min: float = 0.0

    def coefficients(self, t: Time) -> Coefficients:
        one, rise = torch.ones_like(t), 1 - self.sigma_min
        return Coefficients(1 - t, self.sigma_min + rise * t, -one, rise * one)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return (sigma - self.sigma_min * alpha) / ((1 - self.sigma_min) * alpha + sigma)


@dataclass(frozen=True, slots=True)
class Polynomial(Path):
    """alpha = (1 - t)**n, sigma = 1 - alpha. At n > 1 the velocity is 0 at t = 1: samples start just before.

    Args:
        degree: n, at least 1; 1 is `Linear`.

    >>> Polynomial(2.0).coefficients(torch.tensor([0.5])).sigma
    tensor([0.7500])
    """

    degree: float = 2.0

    def __post_init__(self) -> None:
        if not self.degree >= 1:
            fix = "Below 1 the velocity is infinite at t = 1."
            raise ConfigError(explain("a degree of 1 or more", repr(self.degree), fix))

    def coefficients(self, t: Time) -> Coefficients:
        alpha, sigma = (1 - t) ** self.degree, -torch.expm1(self.degree * torch.log1p(-t))
        slope = self.degree * (1 - t) ** (self.degree - 1)
        return Coefficients(alpha, sigma, -slope, slope)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return -torch.expm1(-torch.log1p(sigma / alpha) / self.degree)

"""Paths that add noise and keep the data: alpha = 1.

    VE    sigma = sigma_min (sigma_max / sigma_min)**t                        (score matching)
    EDM   sigma = (sigma_min**(1/rho) + t (sigma_max**(1/rho) - sigma_min**(1/rho)))**rho

Both start at sigma_min, not at zero: their samples carry noise of that size, below what the data resolve.
The two draw the same curves x0 + sigma eps at another speed, so evenly spaced times on `EDM` are Karras's grid.

References: Song et al. 2021 (arXiv 2011.13456), Karras et al. 2022 (arXiv 2206.00364).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class VE(Path):
    """Geometric noise levels.

    >>> VE(sigma_min=0.01, sigma_max=50.0).coefficients(torch.zeros(1)).sigma
    tensor([0.0100])
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def coefficients(self, t: Time) -> Coefficients:
        rate = math.log(self.sigma_max / self.sigma_min)
        sigma = self.sigma_min * torch.exp(rate * t)
        return Coefficients(torch.ones_like(t), sigma, torch.zeros_like(t), rate * sigma)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return torch.log(sigma / alpha / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True, slots=True)
class EDM(Path):
    """Noise levels whose rho-th root is evenly spaced.

    >>> EDM().coefficients(torch.zeros(1)).sigma
    tensor([0.0020])
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def coefficients(self, t: Time) -> Coefficients:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        root = low + t * (high - low)
        slope = self.rho * (high - low) * root ** (self.rho - 1)
        return Coefficients(torch.ones_like(t), root**self.rho, torch.zeros_like(t), slope)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((sigma / alpha) ** (1 / self.rho) - low) / (high - low)

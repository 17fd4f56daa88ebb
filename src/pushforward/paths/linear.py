"""The straight path of flow matching and rectified flow: x_t = (1 - t) x0 + t eps.

References: Lipman et al. 2022 (arXiv 2210.02747), Liu et al. 2022 (arXiv 2209.03003), Albergo and
Vanden-Eijnden 2022 (arXiv 2209.15571). They put data at t = 1; here data are at t = 0 everywhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class Linear(Path):
    """alpha = 1 - t, sigma = t: the velocity is eps - x0, constant along each pair.

    >>> Linear().coefficients(torch.tensor([0.25])).alpha
    tensor([0.7500])
    """

    def coefficients(self, t: Time) -> Coefficients:
        one = torch.ones_like(t)
        return Coefficients(1 - t, t, -one, one)

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        return sigma / (alpha + sigma)

"""Any path from two functions; the derivatives come from forward-mode differentiation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class Custom(Path):
    """The path of your own alpha and sigma: smooth functions of t, elementwise, sigma / alpha rising with t.

    >>> path = Custom(alpha=lambda t: 1 - t**2, sigma=lambda t: t**2)
    >>> path.coefficients(torch.tensor([0.5])).sigma_dot
    tensor([1.])
    """

    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]

    def coefficients(self, t: Time) -> Coefficients:
        alpha = torch.func.jvp(self.alpha, (t,), (torch.ones_like(t),))
        sigma = torch.func.jvp(self.sigma, (t,), (torch.ones_like(t),))
        return Coefficients(alpha[0], sigma[0], alpha[1], sigma[1])

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        # the angle of (alpha, sigma) rises from 0 to at most pi/2, so halving [0, 1] finds it
        angle = torch.atan2(sigma, alpha)
        low, high = torch.zeros_like(angle), torch.ones_like(angle)
        for _ in range(math.ceil(-math.log2(torch.finfo(angle.dtype).eps)) + 4):
            middle = (low + high) / 2
            below = torch.atan2(self.sigma(middle), self.alpha(middle)) < angle
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

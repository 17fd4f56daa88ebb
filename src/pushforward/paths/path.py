"""A path from data to noise: two coefficients and their derivatives.

    x_t = alpha(t) x0 + sigma(t) eps,       t in [0, 1],  t = 0 is data, t = 1 is noise.

Flow matching, DDPM, score matching and EDM differ only in alpha and sigma. The direction of the vector
(alpha, sigma) is the signal-to-noise ratio; two paths at equal ratio hold the same information and differ by
a scale, which is why a model trained on one path can be used on any other.
"""

import abc
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward._typing import Sample, Time, per_sample


class Coefficients(NamedTuple):
    """alpha, sigma and their time derivatives, each [batch]."""

    alpha: Tensor
    sigma: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor


class Path(abc.ABC):
    """alpha(t) and sigma(t); a frozen dataclass of constants."""

    @abc.abstractmethod
    def coefficients(self, t: Time) -> Coefficients:
        """alpha, sigma and their derivatives at `t`, each of t's shape."""

    @abc.abstractmethod
    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        """The time at which this path's (alpha, sigma) points the same way: equal signal-to-noise ratio."""

    def mix(self, x0: Sample, eps: Sample, t: Time) -> Sample:
        """x_t = alpha x0 + sigma eps, [batch, *event]."""
        c = self.coefficients(t)
        return per_sample(c.alpha, x0) * x0 + per_sample(c.sigma, x0) * eps

    def log_snr(self, t: Time) -> Tensor:
        """log(alpha**2 / sigma**2), infinite at ends where a coefficient vanishes. (The DPM papers' lambda is half.)"""
        c = self.coefficients(t)
        return 2 * (c.alpha.log() - c.sigma.log())

    def time_at_log_snr(self, log_snr: Tensor) -> Time:
        """The inverse of `log_snr`."""
        return self.time_at(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt())

"""A path from data to noise: two coefficients and their derivatives.

    x_t = alpha(t) x0 + sigma(t) eps,       t in [0, 1],  t = 0 is data, t = 1 is noise.

Flow matching, DDPM, score matching and EDM differ only in alpha and sigma. The direction of the vector
(alpha, sigma) is the signal-to-noise ratio; two paths at equal ratio hold the same information and differ by
a scale, which is why a model trained on one path can be used on any other.

The same marginals come from a diffusion that starts at the data,

    dx = f x dt + g dw,       f = alpha' / alpha,       g**2 = 2 sigma sigma' - 2 f sigma**2 = -sigma**2 (log_snr)',

with beta the customary name where f = -beta / 2 and g**2 = beta. A linear SDE of finite coefficients never forgets its
start, so f and g are infinite where alpha = 0. Its way back is `reverse`, in `sde`.

Reference: Song et al. 2021 (arXiv 2011.13456).
"""

import abc
from typing import Final, NamedTuple

import torch
from torch import Tensor

from pushforward._errors import ConversionError
from pushforward._typing import Sample, Time, per_sample

_INSIDE: Final = 2.0**-100
"""A time apart from 0 in every format, though below the rounding of all: where limits at t = 0 are read."""


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
        """The time at which this path's (alpha, sigma) points the same way: equal signal-to-noise ratio.

        Ratios beyond the path's own have times at or beyond its ends, so that clamping to [0, 1] gives the nearest.
        """

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

    def drift(self, t: Time) -> Tensor:
        """f of the forward SDE dx = f x dt + g dw, [batch], in 1 per unit of t.

        Raises:
            ConversionError: where alpha is 0 and f infinite.

        >>> from pushforward.paths import Cosine, Linear
        >>> Linear().drift(torch.tensor([0.0, 0.5]))
        tensor([-1., -2.])
        """
        c = self.coefficients(t)
        self._decays(c, t)
        return c.alpha_dot / c.alpha

    def diffusion(self, t: Time) -> Tensor:
        """g**2 of the forward SDE, [batch], the variance that a unit of t adds.

        Raises:
            ConversionError: where alpha is 0 and g infinite.

        >>> from pushforward.paths import VP
        >>> VP(beta_min=0.1, beta_max=20.0).diffusion(torch.tensor([0.0, 1.0]))  # beta
        tensor([ 0.1000, 20.0000])
        """
        c = self.coefficients(t)
        if bool(c.sigma_dot.isinf().any()):  # sigma grows as a root of t, and sigma sigma' has a limit
            c = self.coefficients(t.clamp(min=_INSIDE))
        self._decays(c, t)
        return 2 * c.sigma * (c.sigma_dot - c.alpha_dot / c.alpha * c.sigma)

    def _decays(self, c: Coefficients, t: Time) -> None:
        gone = c.alpha == 0
        if bool(gone.any()):
            raise ConversionError(
                f"Expected a time at which some data are left, for the forward SDE; got t={t[gone][0].item():g} on "
                f"{self}, where alpha is 0 and the drift infinite. Stop short of it, or follow the ODE."
            )

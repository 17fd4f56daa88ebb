"""How much each noise level counts: one closed table, in units of the denoiser's error.

A weighting w is what multiplies |x0_hat - x0|**2. Since x0 = (q x_t - sigma scale m) / det, an error of a network's
output is one of x0 times sigma scale / det, so in the network's own units, on scale m - (p x0 + q eps), the weight is

    (sigma / det)**2 w.

With snr = (alpha / sigma)**2 and d = sigma_data:

    weighting        w                          sigma**2 w                         the same as
    EDM(d)           snr + 1 / d**2             alpha**2 + sigma**2 / d**2         1 on the raw output of edm(d)
    SNR              snr                        alpha**2                           1 on eps
    SNRPlusOne       snr + 1                    alpha**2 + sigma**2                1 on v (variance-preserving paths)
    TruncatedSNR     max(snr, 1)                max(alpha**2, sigma**2)
    MinSNR(gamma)    min(snr, gamma)            min(alpha**2, gamma sigma**2)      min(snr, gamma) / snr on eps
    SoftMinSNR(gamma)  1 / (1/snr + 1/gamma)    alpha**2 gamma sigma**2 / (alpha**2 + gamma sigma**2)
    Sigmoid(bias)    snr sigmoid(b - log snr)   alpha**2 sigma**2 / (sigma**2 + alpha**2 exp(-b))
    ELBO             -snr' / 2                  alpha (alpha sigma' - alpha' sigma) / sigma       the likelihood's bound
    In(prediction)   1 on that prediction       (det / scale)**2 of its row

Everything is computed as sigma**2 w, which is finite where the snr is 0 and, but for ELBO, where it is infinite: no
weighting divides by the snr, and chains that end in pure noise (Lin et al. 2024) train with all of them.

References: Karras et al. 2022 (arXiv 2206.00364); Hang et al. 2023 (arXiv 2303.09556) for min-SNR; Crowson et al. 2024
(arXiv 2401.11605) for soft-min-SNR; Salimans and Ho 2022 (arXiv 2202.00512) for the truncated SNR and SNR + 1; Kingma
and Gao 2023 (arXiv 2303.00848) for the sigmoid; Kingma et al. 2021 (arXiv 2107.00630) for the ELBO.
"""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.paths import Coefficients, Prediction


class Weighting(abc.ABC):
    """One row of the table; a frozen dataclass."""

    @abc.abstractmethod
    def times_variance(self, c: Coefficients) -> Tensor:
        """sigma**2 w at coefficients `c`, [batch]."""

    def __call__(self, c: Coefficients) -> Tensor:
        """w, the weight of the denoiser's squared error, [batch]; infinite at sigma = 0 where its formula is."""
        return self.times_variance(c) / c.sigma.square()

    def on(self, prediction: Prediction, c: Coefficients) -> Tensor:
        """The weight of (scale m - (p x0 + q eps))**2, [batch], for outputs m of this kind.

        >>> from pushforward.paths import Linear, eps
        >>> SNR().on(eps, Linear().coefficients(torch.tensor([0.1, 0.9])))
        tensor([1., 1.])
        """
        row = prediction.row(c)
        return self.times_variance(c) / (c.alpha * row.q - c.sigma * row.p).square()


@dataclass(frozen=True, slots=True)
class EDM(Weighting):
    """(sigma**2 + d**2) / (sigma d)**2 in EDM's own sigma: every noise level starts with loss 1."""

    sigma_data: float = 0.5

    def times_variance(self, c: Coefficients) -> Tensor:
        return c.alpha.square() + (c.sigma / self.sigma_data).square()


@dataclass(frozen=True, slots=True)
class SNR(Weighting):
    """DDPM's simple loss, whatever the network predicts."""

    def times_variance(self, c: Coefficients) -> Tensor:
        return c.alpha.square()


@dataclass(frozen=True, slots=True)
class SNRPlusOne(Weighting):
    """The loss on v, whatever the network predicts."""

    def times_variance(self, c: Coefficients) -> Tensor:
        return c.alpha.square() + c.sigma.square()


@dataclass(frozen=True, slots=True)
class TruncatedSNR(Weighting):
    """The larger of the losses on x0 and on eps."""

    def times_variance(self, c: Coefficients) -> Tensor:
        return torch.maximum(c.alpha.square(), c.sigma.square())


@dataclass(frozen=True, slots=True)
class MinSNR(Weighting):
    """DDPM's weights, cut where little noise is left: min(snr, gamma)."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _positive("gamma", self.gamma)

    def times_variance(self, c: Coefficients) -> Tensor:
        return torch.minimum(c.alpha.square(), self.gamma * c.sigma.square())


@dataclass(frozen=True, slots=True)
class SoftMinSNR(Weighting):
    """The smooth form of `MinSNR`: 1 / (1 / snr + 1 / gamma)."""

    gamma: float = 4.0

    def __post_init__(self) -> None:
        _positive("gamma", self.gamma)

    def times_variance(self, c: Coefficients) -> Tensor:
        signal, noise = c.alpha.square(), self.gamma * c.sigma.square()
        return signal * noise / (signal + noise)


@dataclass(frozen=True, slots=True)
class Sigmoid(Weighting):
    """sigmoid(bias - log snr) on eps: monotone, so still a bound on the likelihood of noisy data.

    Kingma and Gao's loss also has the density of log-SNR; here times have any distribution, and that factor is
    theirs.
    """

    bias: float = 2.0

    def times_variance(self, c: Coefficients) -> Tensor:
        signal, noise = c.alpha.square(), c.sigma.square()
        return signal * noise / (noise + signal * math.exp(-self.bias))


@dataclass(frozen=True, slots=True)
class ELBO(Weighting):
    """With uniform times, the bound on minus the log-likelihood, up to a constant: maximum-likelihood training."""

    def times_variance(self, c: Coefficients) -> Tensor:
        return c.alpha * (c.alpha * c.sigma_dot - c.alpha_dot * c.sigma) / c.sigma


@dataclass(frozen=True, slots=True)
class In(Weighting):
    """1 on the error of this prediction, whatever the network predicts."""

    prediction: Prediction

    def times_variance(self, c: Coefficients) -> Tensor:
        p, q, scale = self.prediction.row(c)
        return ((c.alpha * q - c.sigma * p) / scale).square()


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(explain(f"a positive {name}", repr(value), "5 is usual."))

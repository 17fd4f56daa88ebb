"""A mixture of logistics as a monotone map: the distribution function of data, made Gaussian-like by a logit.

    F(x) = sum_k pi_k sigmoid(u_k),   u_k = (x - mu_k) / s_k
    z = logit F(x) * exp(a) + b,      ladj = log F'(x) - log F(x) - log(1 - F(x)) + a

Each logistic by itself would give z = u_k, a line; so the mixture lies between lines, its tails are lines, and
where logit F(x) = y, x lies between the smallest and the largest mu_k + s_k y: the bracket of the inverse. F and
1 - F are kept as logarithms, summed separately, so neither tail is rounded away.

Decoding multiplies by s_k, so s_k must have an end as the scale of an affine map has: s = positive(8 tanh(raw / 8)),
from 0.01 to 8.5 and nearly positive(raw) for the raw numbers of trained networks.

References:
    Ho, Chen, Srinivas, Duan, Abbeel 2019, arXiv 1902.00275 (Flow++).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pushforward._errors import ConfigError, explain
from pushforward.transforms.monotone import Affine, Monotone, Pair
from pushforward.transforms.root import root
from pushforward.transforms.splines import positive

_MOST = 8.0


@dataclass(frozen=True)
class LogisticMixture(Monotone):
    """The mixture of Flow++, of params (K weights, K means, K scales, and the two of an `Affine`).

    Zero parameters put the K means evenly on [-2, 2], with scales 1: equal components would stay equal under
    every gradient.

    Args:
        components: K; Flow++ has 32.

    Raises:
        ConfigError: no component.

    >>> LogisticMixture(8).size
    26
    """

    components: int = 8

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ConfigError(explain("one component or more", f"{self.components}", "8 suit most flows."))

    @property
    def size(self) -> int:
        return 3 * self.components + 2

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        log_weight, mean, scale = self._components(params)
        y, ladj = _logit_of_mixture(x, log_weight, mean, scale)
        z, more = Affine().encode(y, params[..., -2:])
        return z, ladj + more

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        log_weight, mean, scale = self._components(params)
        y, more = Affine().decode(z, params[..., -2:])
        lines = (mean + scale * y.unsqueeze(-1)).detach()

        def f(x: Tensor) -> Pair:
            value, log_slope = _logit_of_mixture(x, log_weight, mean, scale)
            return value, log_slope.exp()

        x = root(f, y, lines.amin(-1), lines.amax(-1))
        return x, more - _logit_of_mixture(x, log_weight, mean, scale)[1]

    def _components(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, mean, scale, _ = params.split([self.components] * 3 + [2], -1)
        start = torch.linspace(-2, 2, self.components, dtype=params.dtype, device=params.device)
        return weight.log_softmax(-1), mean + start, positive(_MOST * torch.tanh(scale / _MOST), 1e-2)


def _logit_of_mixture(x: Tensor, log_weight: Tensor, mean: Tensor, scale: Tensor) -> Pair:
    """logit F(x) and the logarithm of its derivative."""
    u = (x.unsqueeze(-1) - mean) / scale
    below, above = logsigmoid(u), logsigmoid(-u)
    log_f, log_rest = (log_weight + below).logsumexp(-1), (log_weight + above).logsumexp(-1)
    log_density = (log_weight + below + above - scale.log()).logsumexp(-1)
    return log_f - log_rest, log_density - log_f - log_rest

"""Each number to a standard normal one, through the distribution function of a mixture.

    z = Phi^-1( F(x) ),      F(x) = sum_k w_k Phi((x - m_k) / s_k)
    dz/dx = F'(x) / phi(z)

F saturates: 10 deviations out it is 1 in float32, and Phi^-1 of that is infinite, or clamped, either of which breaks
the inverse. Here log F and log(1 - F) are both computed as sums of logarithms, and Phi^-1 is taken of the smaller,
in the logarithm, by Newton's method: for an argument l = log Phi(z),

    z <- z - (log Phi(z) - l) Phi(z) / phi(z),

so that the map has no end and is as exact at 40 deviations as at 1.

References:
    Chen, Gopinath 2000, "Gaussianization". Meng, Song, Song, Ermon 2020, arXiv 2003.01941 (as a flow).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.special import log_ndtr

from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair

_ONE = math.log(math.e - 1)  # softplus of it is 1


@dataclass(frozen=True)
class GaussianMixture(Monotone):
    """z = Phi^-1(F(x)) with F the distribution function of a mixture of normals.

    Parameters are raw (w, m, s): w = softmax, s = softplus(raw + log(e - 1)), and m starts spread over (-1, 1), so that
    components differ from the first step; zero parameters give a mild bend.

    Args:
        components: how many normals.

    Raises:
        ConfigError: none.
    """

    components: int = 8

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ConfigError(explain("one component at least", f"{self.components}", "8 suit most."))

    @property
    def size(self) -> int:
        return 3 * self.components

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        weight, mean, width = params.split(self.components, -1)
        log_w, s = weight.log_softmax(-1), softplus(width + _ONE) + 1e-3
        u = (x[..., None] - mean - self.centres(x)) / s
        below, above = (log_w + log_ndtr(u)).logsumexp(-1), (log_w + log_ndtr(-u)).logsumexp(-1)
        log_density = (log_w - 0.5 * u.square() - s.log()).logsumexp(-1)
        quantile: Tensor = _Quantile.apply(torch.minimum(below, above))  # pyright: ignore[reportAssignmentType]
        z = torch.where(below < above, quantile, -quantile)
        return z, log_density + 0.5 * z.square()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z)
        return x, -self.encode(x, params)[1]

    def centres(self, like: Tensor) -> Tensor:
        """Where the components stand for zero parameters."""
        if self.components == 1:
            return like.new_zeros(1)
        return torch.linspace(-1, 1, self.components, dtype=like.dtype, device=like.device)


class _Quantile(torch.autograd.Function):
    """z with log Phi(z) = l; for l below log(1/2) or not far above."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor) -> Tensor:
        tail = -(-2 * log_p - torch.log(1 - 2 * log_p) - 1.2).clamp_min(0).sqrt()  # near enough for Newton everywhere
        z = tail
        for _ in range(8):
            log_phi = log_ndtr(z)
            z = z - (log_phi - log_p) * (log_phi + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)).exp()
        ctx.save_for_backward(log_p, z)
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        log_p, _ = ctx.saved_tensors
        z = _Quantile.apply(log_p)  # so that this can be differentiated again
        return g * (log_p + 0.5 * z.square() + 0.5 * math.log(2 * math.pi)).exp()  # pyright: ignore

"""Each number to a standard normal one, through the distribution function of a mixture.

    z = Phi^-1( F(x) ),      F(x) = sum_k w_k Phi((x - m_k) / s_k)
    dz/dx = F'(x) / phi(z)

F saturates: 10 deviations out it is 1 in float32, and Phi^-1 of that is infinite, or clamped, either of which breaks
the inverse. Here x is seen from the side where F < 1/2 (the other one by symmetry), log F is a sum of logarithms, and
z solves log Phi(z) = log F by Newton's method. With Mills' ratio M = Phi / phi, exact in both tails,

    z <- z - (log Phi(z) - log F) M(z),      dz/dx = M(z) sum_k r_k / (s_k M(u_k)),   r_k the share of k in F,

so that the map has no end and is as exact at a million deviations as at one.

References:
    Chen, Gopinath 2000, "Gaussianization". Meng, Song, Song, Ermon 2020, arXiv 2003.01941 (as a flow).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

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
        left = (log_w + log_ndtr(u)).logsumexp(-1) < math.log(0.5)
        u = torch.where(left[..., None], u, -u)
        each = log_w + log_ndtr(u)
        z: Tensor = _Quantile.apply(each.logsumexp(-1))  # pyright: ignore[reportAssignmentType]
        ladj = (each.log_softmax(-1) - _log_mills(u) - s.log()).logsumexp(-1) + _log_mills(z)
        return torch.where(left, z, -z), ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z)
        return x, -self.encode(x, params)[1]

    def centres(self, like: Tensor) -> Tensor:
        """Where the components stand for zero parameters."""
        if self.components == 1:
            return like.new_zeros(1)
        return torch.linspace(-1, 1, self.components, dtype=like.dtype, device=like.device)


class _Quantile(torch.autograd.Function):
    """z with log Phi(z) = l, for l below log(1/2) or not far above."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor) -> Tensor:
        z = -(-2 * log_p - torch.log(1 - 2 * log_p) - 1.2).clamp_min(0).sqrt()  # near enough for Newton everywhere
        for _ in range(8):
            z = z - (log_ndtr(z) - log_p) * _log_mills(z).exp()
        ctx.save_for_backward(log_p)
        return z

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        z: Tensor = _Quantile.apply(*ctx.saved_tensors)  # pyright: ignore[reportAssignmentType]  # differentiable again
        return grad_outputs[0] * _log_mills(z).exp()


class _LogNdtr(torch.autograd.Function):
    """log Phi(u), whose slope is 1 / M: torch's own overflows at 1e5 deviations in float32."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return torch.special.log_ndtr(u)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * (-_log_mills(*ctx.saved_tensors)).exp()


class _LogMills(torch.autograd.Function):
    """log(Phi(u) / phi(u)); its slope is 1 / M + u, a difference of equals in the far tail."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        tail, rest = u.clamp_max(0), u.clamp_min(0)
        far = torch.log(torch.special.erfcx(-tail / math.sqrt(2)) * math.sqrt(math.pi / 2))
        return torch.where(u < 0, far, log_ndtr(rest) + 0.5 * rest.square() + 0.5 * math.log(2 * math.pi))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        far, near = u.clamp_max(-100.0), u.clamp_min(-100.0)
        return grad_outputs[0] * torch.where(u < -100, -1 / far + 2 / far**3, (-_log_mills(near)).exp() + near)


def log_ndtr(u: Tensor) -> Tensor:
    """log Phi(u), with derivatives of both orders in both tails."""
    return _LogNdtr.apply(u)  # pyright: ignore[reportReturnType]


def _log_mills(u: Tensor) -> Tensor:
    """log(Phi(u) / phi(u)), with derivatives of both orders."""
    return _LogMills.apply(u)  # pyright: ignore[reportReturnType]

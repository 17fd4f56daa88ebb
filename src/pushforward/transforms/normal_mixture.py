"""A number to a standard normal one, through the distribution function of a mixture of normals.

    z = Phi^-1( F(x) ),      F(x) = sum_k w_k Phi((x - m_k) / s_k)
    dz/dx = F'(x) / phi(z)

F saturates: 10 deviations out it is 1 in float32, and Phi^-1 of that is infinite, or clamped, either of which breaks
the inverse. Here x is seen from the side where F < 1/2 (the other one by symmetry), log F is a sum of logarithms, and
z solves log Phi(z) = log F. With Mills' ratio M = Phi / phi, exact in both tails,

    L = log dz/dx = log M(z) + log sum_k r_k / (s_k M(u_k)),      r_k the share of k in F,

so that the map has no end and is as exact at a million deviations as at one.

As one node: with q_k the share of k in the sum of L, and d(u) = 1 / M(u) + u, a loss with gradients g in z and v in L
has, where c_k = (q_k - r_k) v + r_k M(z) (g + v d(z)), counted from the side where F < 1/2,

    in log w_k    c_k              in u_k    c_k / M(u_k) - q_k v d(u_k)           in log s_k    -u_k [in u_k] - q_k v.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._derivatives import Fused, Tensors
from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair, fits, rows
from pushforward.transforms.normal_tails import log_mills, log_ndtr, quantile, solved, steepness, tails

ONE = math.log(math.e - 1)
"""softplus of it is 1."""

LEAST = 1e-3
"""Of a width."""


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
        if not fits(x, params):
            return self._encode(x, params)
        z, ladj = _Mixed(self.centres(x), self._encode)(x, params)
        return z, ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        left = z < 0

        def tail(x: Tensor) -> Pair:
            log_p, log_slope = self._log_tail(x, params, left)
            return torch.where(left, log_p, -log_p), log_slope

        x = invert(tail, torch.where(left, log_ndtr(z), -log_ndtr(-z)), guess=z)
        return x, -self.encode(x, params)[1]

    def centres(self, like: Tensor) -> Tensor:
        """Where the components stand for zero parameters."""
        if self.components == 1:
            return like.new_zeros(1)
        return torch.linspace(-1, 1, self.components, dtype=like.dtype, device=like.device)

    def _encode(self, x: Tensor, params: Tensor) -> Pair:
        left = self._log_tail(x, params, torch.ones_like(x, dtype=torch.bool))[0] < math.log(0.5)
        log_p, log_slope = self._log_tail(x, params, left)
        z = quantile(log_p)
        return torch.where(left, z, -z), log_slope + log_mills(z)

    def _log_tail(self, x: Tensor, params: Tensor, left: Tensor) -> Pair:
        """log F where `left`, elsewhere log(1 - F); and the logarithm of the size of its slope."""
        weight, mean, width = params.split(self.components, -1)
        log_w, s = weight.log_softmax(-1), softplus(width + ONE) + LEAST
        u = (x[..., None] - mean - self.centres(x)) / s
        u = torch.where(left[..., None], u, -u)
        return log_mixture(u, log_w, -s.log())


def log_mixture(u: Tensor, log_w: Tensor, log_rate: Tensor) -> Pair:
    """log F = log sum_k w_k Phi(u_k) for u [*, K] that rise or fall at these rates, and log of |d log F|."""
    each = log_w + log_ndtr(u)
    return each.logsumexp(-1), (each.log_softmax(-1) - log_mills(u) + log_rate).logsumexp(-1)


@dataclass(frozen=True)
class _Mixed(Fused):
    """(z, L) [*] of numbers [*] and parameters [*, 3 K], or [n, 3 K] for numbers [batch, n]; components come first."""

    centres: Tensor
    otherwise: Callable[[Tensor, Tensor], Tensors]

    def plain(self, *inputs: Tensor) -> Tensors:
        return self.otherwise(*inputs)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, params = inputs
        raw, mean, width = rows(params, x.ndim).unflatten(0, (3, -1))
        log_w, s = raw.log_softmax(0), softplus(width + ONE).add_(LEAST)
        u = (x - (mean + self.centres.view(-1, *[1] * x.ndim))) / s
        left = (torch.special.ndtr(u) * log_w.exp()).sum(0) < 0.5
        u = torch.where(left, u, -u)
        log_p, mills = tails(u)
        log_p += log_w
        r, total = _shares(log_p)
        q, slope = _shares(log_p.sub_(total).sub_(mills).sub_(s.log()))
        z = solved(total)
        ratio = tails(z)[1]
        results = torch.where(left, z, -z), slope.add_(ratio)
        return results, (left, log_w, s, u, r, q, mills, z, ratio)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, params), (left, log_w, s, u, r, q, mills, z, ratio) = inputs, kept
        side = torch.where(left, 1.0, -1.0).to(x)
        g, v = results[0] * side, results[1]
        qv = q * v
        c = torch.addcmul((q - r) * v, r, ratio.exp() * torch.addcmul(g, v, steepness(z, ratio)))
        in_u = (c * (-mills).exp()).addcmul_(qv, steepness(u, mills), value=-1)
        in_log_s = torch.addcmul(qv, u, in_u).neg_()
        in_mean = in_u.mul_(side).div_(s).neg_()
        to_x = in_mean.sum(0).neg_() if needed[0] else None
        if not needed[1]:
            return to_x, None
        c, in_mean, in_log_s = (each.sum_to_size(log_w.shape) for each in (c, in_mean, in_log_s))
        in_raw = torch.addcmul(c, log_w.exp(), c.sum(0), value=-1)
        in_width = in_log_s / s * -torch.expm1(LEAST - s)  # the sigmoid of softplus's argument
        grad = torch.cat([in_raw, in_mean, in_width])
        return to_x, grad.permute(*range(1, grad.ndim), 0).reshape(params.shape)


def _shares(logs: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax and logarithm of the sum along the first axis."""
    most = logs.amax(0)
    each = (logs - most).exp_()
    total = each.sum(0)
    return each.div_(total), total.log_().add_(most)

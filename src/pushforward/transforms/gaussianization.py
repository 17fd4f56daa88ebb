"""Each number to a standard normal one, through the distribution function of a mixture.

    z = Phi^-1( F(x) ),      F(x) = sum_k w_k Phi((x - m_k) / s_k)
    dz/dx = F'(x) / phi(z)

F saturates: 10 deviations out it is 1 in float32, and Phi^-1 of that is infinite, or clamped, either of which breaks
the inverse. Here x is seen from the side where F < 1/2 (the other one by symmetry), log F is a sum of logarithms, and
z solves log Phi(z) = log F by Newton's method. With Mills' ratio M = Phi / phi, exact in both tails,

    z <- z - (log Phi(z) - log F) M(z),      dz/dx = M(z) sum_k r_k / (s_k M(u_k)),   r_k the share of k in F,

so that the map has no end and is as exact at a million deviations as at one.

A layer of Gaussianization turns the event first, z = Phi^-1(F(Q x)). Turned at random and fitted to its marginals one
layer after the other, it approaches a normal without any gradient (`Gaussianize.from_data`, and
`models.gaussianize` for the whole flow), which is where training may start.

References:
    Chen, Gopinath 2000, "Gaussianization". Laparra, Camps-Valls, Malo 2011, arXiv 1602.00229 (random rotations).
    Meng, Song, Song, Ermon 2020, arXiv 2003.01941 (as a flow).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair
from pushforward.transforms.reflections import orthonormal
from pushforward.transforms.transform import Transform

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
        left = self._log_tail(x, params, torch.ones_like(x, dtype=torch.bool))[0] < math.log(0.5)
        log_p, log_slope = self._log_tail(x, params, left)
        z: Tensor = _Quantile.apply(log_p)  # pyright: ignore[reportAssignmentType]
        return torch.where(left, z, -z), log_slope + _log_mills(z)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        left = z < 0

        def tail(x: Tensor) -> Pair:
            log_p, log_slope = self._log_tail(x, params, left)
            return torch.where(left, log_p, -log_p), log_slope

        x = invert(tail, torch.where(left, log_ndtr(z), -log_ndtr(-z)), guess=z)
        return x, -self.encode(x, params)[1]

    def _log_tail(self, x: Tensor, params: Tensor, left: Tensor) -> Pair:
        """log F where `left`, elsewhere log(1 - F); and the logarithm of the size of its slope."""
        weight, mean, width = params.split(self.components, -1)
        log_w, s = weight.log_softmax(-1), softplus(width + _ONE) + 1e-3
        u = (x[..., None] - mean - self.centres(x)) / s
        u = torch.where(left[..., None], u, -u)
        each = log_w + log_ndtr(u)
        return each.logsumexp(-1), (each.log_softmax(-1) - _log_mills(u) - s.log()).logsumexp(-1)

    def centres(self, like: Tensor) -> Tensor:
        """Where the components stand for zero parameters."""
        if self.components == 1:
            return like.new_zeros(1)
        return torch.linspace(-1, 1, self.components, dtype=like.dtype, device=like.device)


class Gaussianize(Transform):
    """A rotation, and each number of what comes out to a standard normal one.

    Args:
        shape: the event's shape.
        components: normals in the mixture of each number.
    """

    def __init__(self, shape: tuple[int, ...], components: int = 8):
        super().__init__()
        self.n, self.mixture = math.prod(shape), GaussianMixture(components)
        self.reflections = nn.Parameter(torch.randn(self.n * self.n))  # flat, so that weight decay leaves them alone
        self.params = nn.Parameter(torch.zeros(self.n * self.mixture.size))

    @classmethod
    def from_data(cls, x: Sample, components: int = 8, draw: Draw | None = None) -> "Gaussianize":
        """A random rotation, with mixtures fitted to the marginals of `x` [batch, *event] behind it.

        Args:
            x: data as they arrive at this transform.
            components: normals in each mixture.
            draw: the address of the rotation.
        """
        made, draw = cls(tuple(x.shape[1:]), components).to(x), draw or Draw(0, "gaussianize")
        with torch.no_grad():
            made.reflections.copy_(draw.normal(made.n, (made.n,)).flatten())
            weight, mean, width = fitted(x.detach().flatten(1) @ made._rotation().T, components)
            raw = [weight.log(), mean - made.mixture.centres(mean), _unsoft(width - 1e-3) - _ONE]
            made.params.copy_(torch.cat(raw, 1).flatten())
        return made

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.mixture.encode(x.flatten(1) @ self._rotation().T, self._params())
        return z.reshape(x.shape), ladj.sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        y, ladj = self.mixture.decode(z.flatten(1), self._params())
        return (y @ self._rotation()).reshape(z.shape), ladj.sum(1)

    def _rotation(self) -> Tensor:
        return orthonormal(self.reflections.unflatten(0, (self.n, self.n)), self.n)

    def _params(self) -> Tensor:
        return self.params.unflatten(0, (self.n, self.mixture.size))


def fitted(y: Tensor, components: int, rounds: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Mixtures of normals fitted to each column of `y` [rows, n] by expectation and maximisation.

    Returns:
        Weights, means and widths, each [n, components].
    """
    at = (torch.arange(components, dtype=y.dtype, device=y.device) + 0.5) / components
    mean = torch.quantile(y[:100_000], at, dim=0).T
    spread = y.std(0, correction=0).clamp_min(1e-6)[:, None]
    least, width = 0.02 * spread, (2 * spread / components).expand_as(mean)
    weight = torch.full_like(mean, 1 / components)
    for _ in range(rounds):
        u = (y[..., None] - mean) / width
        share = (weight.log() - 0.5 * u.square() - width.log()).softmax(-1)
        total = share.sum(0) + 1e-6
        mean = (share * y[..., None]).sum(0) / total
        width = ((share * (y[..., None] - mean).square()).sum(0) / total).sqrt().clamp_min(least) + 2e-3
        weight = total / total.sum(1, keepdim=True)
    return weight, mean, width


def _unsoft(s: Tensor) -> Tensor:
    """The inverse of softplus."""
    return s + torch.log(-torch.expm1(-s))


class _Quantile(torch.autograd.Function):
    """z with log Phi(z) = l, for l below log(1/2) or not far above."""

    generate_vmap_rule = True

    @staticmethod
    def forward(log_p: Tensor) -> Tensor:
        z = -(-2 * log_p - torch.log(1 - 2 * log_p) - 1.2).clamp_min(0).sqrt()  # near enough for Newton everywhere
        for _ in range(8):
            z = z - (log_ndtr(z) - log_p) * _log_mills(z).exp()
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        z: Tensor = _Quantile.apply(*ctx.saved_tensors)  # pyright: ignore[reportAssignmentType]  # differentiable again
        return grad_outputs[0] * _log_mills(z).exp()


class _LogNdtr(torch.autograd.Function):
    """log Phi(u), whose slope is 1 / M: torch's own is 4 % off at u = -1e3 in float32, and lost beyond."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> Tensor:
        return torch.special.log_ndtr(u)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return grad_outputs[0] * (-_log_mills(*ctx.saved_tensors)).exp()


class _LogMills(torch.autograd.Function):
    """log(Phi(u) / phi(u)); its slope is 1 / M + u, a difference of equals in the far tail."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor) -> Tensor:
        tail, rest = u.clamp_max(0), u.clamp_min(0)
        far = torch.log(torch.special.erfcx(-tail / math.sqrt(2)) * math.sqrt(math.pi / 2))
        return torch.where(u < 0, far, log_ndtr(rest) + 0.5 * rest.square() + 0.5 * math.log(2 * math.pi))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

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

"""Monotone maps in closed form: exponentials, soft limits, logarithms, powers, heavy tails.

    Exp         z = exp(x)                                       onto (0, inf)
    Tanh        z = B tanh(x / B)                                onto (-B, B)
    SoftClip    z = x / (1 + |x / B|)                            onto (-B, B), with slower ends
    Asinh       z = B asinh(x / B)                               onto all numbers: far out, a logarithm
    Power       z = sign(x) ((1 + |x|)**p - 1) / p               log p = 2 tanh(raw / 2); slope 1 at 0 for every p
    HeavyTail   x = sign(z) (erfc(|z| / sqrt 2)**(-l) - 1) / l   decode; l > 0, one for each side

Their inverses come by `Inverse(Elementwise(shape, Exp()))`: the logarithm for positive data, and so on. What lies on an
end is there by rounding and decodes to a large finite x; what lies beyond one has no preimage, and decodes to NaN.

HeavyTail gives normal noise the tails of a generalised Pareto law: if z is N(0, 1), P(|x| > r) = (1 + l r)**(-1/l), so
moments of order 1/l and above do not exist (a Student t of nu degrees has l = 1 / nu). No chain of affine maps or
splines over a normal has such tails, which is why their likelihoods break on heavy-tailed data. With
L = log erfc(|z| / sqrt 2) <= 0 and the normal's hazard h(t) = phi(t) / Phi(-t),

    |x| = expm1(-l L) / l,      log dx/dz = -l L + log h(|z|) ,

and encode solves log erfc = -log1p(l |x|) / l for |z|, which lies in [0, sqrt(-2 L)]. Everything is kept in logs, as
erfc itself is 0 in float32 beyond |z| = 14.

References:
    Yeo, Johnson 2000, Biometrika 87(4) (the power; here both signs have the same exponent).
    Hickling, Prangle 2024, arXiv 2406.16971 (the tail transform).
    Jaini, Kobyzev, Yu, Brubaker 2020, arXiv 1907.04481 (why bases and bounded slopes fix the tails).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._errors import ConfigError, explain
from pushforward.transforms.monotone import Monotone, Pair
from pushforward.transforms.root import root


@dataclass(frozen=True)
class Exp(Monotone):
    """z = exp(x), onto the positive numbers.

    >>> Exp().decode(torch.tensor([1.0, -1.0]), torch.zeros(2, 0))[1]
    tensor([-0., -inf])
    """

    @property
    def size(self) -> int:
        return 0

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        return x.exp(), x

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = z.clamp_min(torch.finfo(z.dtype).tiny).log()
        return x.masked_fill(z < 0, math.nan), (-x).masked_fill(z <= 0, -math.inf)


@dataclass(frozen=True)
class _Scaled(Monotone):
    """One shape at one length, the bound B: nearly x where |x| is far below it."""

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise ConfigError(explain("a bound above 0", f"{self.bound}", "Give the largest |z| wanted."))

    @property
    def size(self) -> int:
        return 0


@dataclass(frozen=True)
class Tanh(_Scaled):
    """z = bound tanh(x / bound): nearly x where |x| is small, never past the bound.

    Args:
        bound: B, above 0.
    """

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        return self.bound * torch.tanh(x / self.bound), self._ladj(x)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        most = 1 - torch.finfo(z.dtype).eps
        x = self.bound * torch.atanh((z / self.bound).clamp(-most, most))
        ladj = (-self._ladj(x)).masked_fill(z.abs() >= self.bound, -math.inf)
        return x.masked_fill(_beyond(z, self.bound), math.nan), ladj

    def _ladj(self, x: Tensor) -> Tensor:
        u = x / self.bound
        return 2 * (math.log(2) - u - softplus(-2 * u))


@dataclass(frozen=True)
class SoftClip(_Scaled):
    """z = x / (1 + |x / bound|): keeps numbers within a bound, with tails that decoding can still tell apart.

    Args:
        bound: B, above 0.
    """

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        below = 1 + x.abs() / self.bound
        return x / below, -2 * below.log()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        c = (z / self.bound).clamp(-1 + torch.finfo(z.dtype).eps, 1 - torch.finfo(z.dtype).eps)
        below = 1 - c.abs()
        ladj = (-2 * below.log()).masked_fill(z.abs() >= self.bound, -math.inf)
        return (self.bound * c / below).masked_fill(_beyond(z, self.bound), math.nan), ladj


@dataclass(frozen=True)
class Asinh(_Scaled):
    """z = bound asinh(x / bound): nearly x where |x| is small, its logarithm where it is large, and no end.

    Between maps that throw numbers far out it keeps them in range, as a clip would, and loses none.

    Args:
        bound: B, above 0.

    >>> z, ladj = Asinh(10.0).encode(torch.tensor([0.1, 1e6]), torch.zeros(2, 0))
    >>> [round(v, 3) for v in z.tolist()]
    [0.1, 122.061]
    """

    bound: float = 10.0

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        v = torch.asinh(x / self.bound)
        return self.bound * v, -_log_cosh(v)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        v = z / self.bound
        return self.bound * v.sinh(), _log_cosh(v)


@dataclass(frozen=True)
class Power(Monotone):
    """z = sign(x) ((1 + |x|)**p - 1) / p, of params (raw): draws tails in (p < 1) or out (p > 1).

    >>> z, ladj = Power().encode(torch.tensor([-3.0]), 2 * torch.atanh(torch.tensor([[0.5]]).log() / 2))
    >>> round(z.item(), 4), round(ladj.item(), 4)  # p = 1/2
    (-2.0, -0.6931)
    """

    @property
    def size(self) -> int:
        return 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        p, sign = _power(params), _sign(x)
        grown = torch.log1p(x * sign)
        return sign * torch.expm1(p * grown) / p, (p - 1) * grown

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        p, sign = _power(params), _sign(z)
        grown = torch.log1p(p * z * sign) / p
        return sign * torch.expm1(grown), (1 - p) * grown


@dataclass(frozen=True)
class HeavyTail(Monotone):
    """Heavy-tailed x to light-tailed z, of params (raw for x >= 0, raw for x < 0) with l = softplus(raw - 2).

    The tails of data come first in a chain, then whatever shapes the middle. Slope 0.8 at 0 on both sides.

    >>> z, _ = HeavyTail().encode(torch.tensor([1e3, 1e6]), torch.zeros(2, 2))
    >>> [round(v, 1) for v in z.tolist()]
    [8.4, 13.3]
    """

    @property
    def size(self) -> int:
        return 2

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        l, sign = _tail(params, x), _sign(x)  # noqa: E741
        rarity = torch.log1p(l * x * sign) / l
        t = root(_rarity, rarity, torch.zeros_like(rarity), (2 * rarity.detach()).sqrt() + 1)
        return sign * t, -self._ladj(t, l)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        l, sign = _tail(params, z), _sign(z)  # noqa: E741
        t = z * sign
        return sign * torch.expm1(l * _rarity(t)[0]) / l, self._ladj(t, l)

    def _ladj(self, t: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        return l * _rarity(t)[0] + _log_hazard(t)


def _rarity(t: Tensor) -> Pair:
    """-log erfc(t / sqrt 2) and its derivative, for t >= 0."""
    return -torch.special.log_ndtr(-t) - math.log(2), _log_hazard(t).exp()


def _log_hazard(t: Tensor) -> Tensor:
    return -0.5 * t.square() - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(-t)


def _log_cosh(v: Tensor) -> Tensor:
    return torch.logaddexp(v, -v) - math.log(2)


def _power(params: Tensor) -> Tensor:
    return (2 * torch.tanh(params[..., 0] / 2)).exp()


def _tail(params: Tensor, x: Tensor) -> Tensor:
    above, below = (1e-3 + softplus(params - 2)).unbind(-1)
    return torch.where(x >= 0, above, below)


def _sign(x: Tensor) -> Tensor:
    """1 or -1: unlike torch's, not 0 at 0, where derivatives would be lost."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def _beyond(z: Tensor, bound: float) -> Tensor:
    """Which numbers no rounding of an image can be."""
    return z.abs() > bound * (1 + 8 * torch.finfo(z.dtype).eps)

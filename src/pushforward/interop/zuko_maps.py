"""The maps of one number that zuko alone has, with their parametrisations, as our `Monotone`.

    Controls        a Bernstein polynomial of control points, on [-B, B]        BPF
    Squares         the integral of squared polynomials, each 1 + something     SOSPF
    Gaussianized    Phi^-1 of a mean of Phi                                     GF
    Area            the integral of a positive network                          UNAF

Their formulas are kept with all that is odd about them, so that densities agree: `Controls` that are pinned leap by
2e-6 B where the polynomial ends, and `Gaussianized` reaches no further than 4.89, where 1e-6 of a normal is beyond.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pushforward.transforms import Monotone
from pushforward.transforms.bernstein import averaged
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Pair, rows
from pushforward.transforms.normal_mixture import log_mixture
from pushforward.transforms.normal_tails import quantile
from pushforward.transforms.polynomial import gauss_legendre, integral_of_squares

_EDGE = 1e-6  # share of [-B, B] at either end that counts as beyond it
_SHARE = 1e-6  # d
_LOG_REST = math.log1p(-_SHARE)


@dataclass(frozen=True)
class Controls(Monotone):
    """y = sum_k theta_k B_k,n(t),   t = (x + B) / 2B,   with theta increasing in steps s_k, in units of 2B/n.

        "pinned"    theta_0 = -B,  s = (1, 1, K softmax(a), 1, 1);  beyond the ends y = x + 2e-6 B sign(x)
        "free"      theta_0 = a_1 - K log(2) / 2,  s = n / 2B softplus(a_2, a_2 .. a_K, a_K);  beyond, straight lines

    Args:
        ends: one of these words.
        points: K, how many numbers a.
        bound: B.
    """

    ends: Literal["pinned", "free"]
    points: int
    bound: float

    @property
    def size(self) -> int:
        return self.points

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        start, steps = self._steps(rows(params, x.ndim))
        inside = x.clamp(*(end * self.bound * (1 - 2 * _EDGE) for end in (-1, 1)))
        t, beyond = (inside + self.bound) / (2 * self.bound), x - inside
        less = torch.cat([torch.zeros_like(steps[:1]), (steps - 1).cumsum(0)])  # theta less a straight line
        slope = averaged(steps, t)[0]
        value = start + inside + 2 * self.bound / len(steps) * averaged(less, t)[0]
        if self.ends == "free":
            return value + slope * beyond, slope.log()
        slope = torch.where(beyond == 0, slope, 1)
        return torch.where(beyond == 0, value, x + 2 * self.bound * _EDGE * beyond.sign()), slope.log()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]

    def _steps(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """theta_0 + B [*], and steps [n, *]."""
        if self.ends == "pinned":
            one = torch.ones_like(raw[:1])
            return torch.zeros_like(raw[0]), torch.cat([one, one, self.points * raw.softmax(0), one, one])
        steps = softplus(torch.cat([raw[1:2], raw[1:], raw[-1:]]))
        start = raw[0] - self.points * math.log(2) / 2 + self.bound
        return start, steps * len(steps) / (2 * self.bound)


@dataclass(frozen=True)
class Squares(Monotone):
    """z = b + integral from 0 to x of least + mean_k (1 + sum_j a_kj (t / 10)**j)**2 dt.

    Parameters are a, those of a polynomial side by side, and then b.

    Args:
        polynomials: how many.
        degree: of each.
        least: the smallest slope.
    """

    polynomials: int
    degree: int
    least: float

    @property
    def size(self) -> int:
        return self.polynomials * (self.degree + 1) + 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        a = params[..., :-1].unflatten(-1, (self.polynomials, self.degree + 1))
        a = torch.cat([a[..., :1] + 1, a[..., 1:]], -1) / math.sqrt(self.polynomials)
        z, ladj = integral_of_squares(x, a, 10.0, self.least)
        return params[..., -1] + z, ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z / (1 + z.abs()) ** (1 - 1 / (2 * self.degree + 1)))
        return x, -self.encode(x, params)[1]


@dataclass(frozen=True)
class Gaussianized(Monotone):
    """z = Phi^-1( d / 2 + (1 - d) F(x) ),   F(x) = mean_k Phi(exp(a_k) x + b_k),   d = 1e-6; parameters are b, a.

    Seen from the side where F < 1/2, as `transforms.GaussianMixture`, so that what F loses to rounding is less than d.

    Args:
        components: how many.
    """

    components: int

    @property
    def size(self) -> int:
        return 2 * self.components

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        left = self._tail(x, params, torch.ones_like(x, dtype=torch.bool))[0] < math.log(0.5)
        log_f, log_slope = self._tail(x, params, left)
        z = quantile(torch.logaddexp(log_f + _LOG_REST, torch.full_like(log_f, math.log(_SHARE / 2))))
        log_phi = -0.5 * (z.square() + math.log(2 * math.pi))
        return torch.where(left, z, -z), _LOG_REST + log_f + log_slope - log_phi

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        left, unit = z < 0, torch.finfo(z.dtype).eps * _SHARE
        above = (torch.special.erfc(z.abs() / math.sqrt(2)) - _SHARE) / 2  # 0 is the end
        log_f = above.clamp_min(unit).log() - _LOG_REST

        def tail(x: Tensor) -> Pair:
            found, log_slope = self._tail(x, params, left)
            return torch.where(left, found, -found), log_slope

        x = invert(tail, torch.where(left, log_f, -log_f), guess=z.clamp(-5, 5))
        ladj = (-self.encode(x, params)[1]).masked_fill(above <= 0, -math.inf)
        return x.masked_fill(above < -32 * unit, math.nan), ladj

    def _tail(self, x: Tensor, params: Tensor, left: Tensor) -> Pair:
        """log F where `left`, elsewhere log(1 - F); and the logarithm of the size of its slope."""
        b, a = params.tensor_split(2, -1)
        u = x[..., None] * a.exp() + b
        return log_mixture(torch.where(left[..., None], u, -u), a.new_tensor(-math.log(self.components)), a)


class Area(nn.Module, Monotone):
    """z = b + integral from 0 to x of exp(s / (1 + |s / 7|)) dt,   s = net(t, signal); inverted by search.

    Parameters are the signal and b. The integral is Gauss and Legendre's sum of 32 points, its slope the integrand.

    Args:
        net: theirs, [*, 1 + signal] to [*, 1]; its layers have one matrix [out, in], or one for each number.
        signal: how long it is.
        order: which number stands at each place, if there is one matrix for each.
    """

    def __init__(self, net: nn.Module, signal: int, order: Tensor) -> None:
        super().__init__()
        self.net, self.signal = net, signal
        for layer in net.modules():
            if getattr(layer, "weight", order).ndim == 3:
                for each in layer.parameters(recurse=False):
                    each.data = each.data[order]

    @property
    def size(self) -> int:
        return self.signal + 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        signal, b = params[..., :-1], params[..., -1]
        at, weights = gauss_legendre(32)
        points = x * torch.cat([at, at.new_ones(1)]).to(x).view(-1, *[1] * x.ndim)  # the last point is x itself
        s = self.net(torch.cat([points[..., None], signal.expand(*points.shape, -1)], -1)).squeeze(-1)
        log_slope = s / (1 + (s / 7).abs())
        return b + x * torch.tensordot(weights.to(x), log_slope[:-1].exp(), 1), log_slope[-1]

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]

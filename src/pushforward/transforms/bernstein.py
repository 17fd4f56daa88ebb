"""An increasing polynomial on an interval, and straight lines beyond it.

    y = a + sum_k theta_k B_k,n(t),   t = (x + B) / 2B,   theta increasing   on [-B, B]

The derivative is again a Bernstein polynomial, S = sum_k s_k B_k,n-1(t), of the steps s of theta; the lines continue
value and slope. De Casteljau's averages, of theta less a straight line, say both to rounding.

As one node: a loss with gradients g in y and v in log S has g S + v S' / S in x (S' = 0 beyond the ends), g in a, and
g (2B/n sum_(k > j) B_k,n + B_j,n-1 (x - end)) + v B_j,n-1 / S in s_j.

References:
    Ramasinghe, Fernando, Khan, Barnes 2021, arXiv 2102.03509.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._derivatives import Fused, Tensors
from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair, fits, rows

_ONE = math.log(math.e - 1)  # softplus of it is 1
_LEAST = 1e-3


@dataclass(frozen=True)
class Bernstein(Monotone):
    """A Bernstein polynomial of degree n on [-B, B], continued by straight lines.

    Parameters are a shift and n raw steps of theta; theta_0 = -B + shift, steps 2B/n softplus(raw + log(e - 1)). Zeros
    give the identity.

    Args:
        degree: n.
        bound: B.

    Raises:
        ConfigError: a degree below 1 or a bound that is not above 0.
    """

    degree: int = 16
    bound: float = 2.0

    def __post_init__(self) -> None:
        if self.degree < 1 or not 0 < self.bound < math.inf:
            got = f"degree {self.degree}, bound {self.bound}"
            raise ConfigError(explain("a degree of 1 or more and a bound above 0", got, "16 and 2.0 suit most."))

    @property
    def size(self) -> int:
        return 1 + self.degree

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        averages = _Averages(self.degree, self.bound)
        z, ladj = averages(x, params) if fits(x, params) else averages.plain(x, params)
        return z, ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]


@dataclass(frozen=True)
class _Averages(Fused):
    """(y, log S) [*] of numbers [*] and parameters [*, 1 + n]; steps come first, in units of 2B/n."""

    degree: int
    bound: float

    def plain(self, *inputs: Tensor) -> Tensors:
        return self._said(*inputs)[0]

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        return self._said(*inputs)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, params), (t, steps, slope, bend), (g, v) = inputs, kept, results
        n, bound = self.degree, self.bound
        relative = v / slope
        to_x = torch.addcmul(g * slope, relative, bend) if needed[0] else None
        if not needed[1]:
            return to_x, None
        up, down = _powers(t, n), _powers(1 - t, n).flip(0)
        above = (_binomials(n, t) * up * down).flip(0).cumsum(0).flip(0)[1:]
        base = _binomials(n - 1, t) * up[:-1] * down[1:]
        beyond = x - x.clamp(-bound, bound)
        to_steps = (above * (2 * bound / n * g)).addcmul_(base, torch.addcmul(relative, g, beyond))
        softened = -torch.expm1(_LEAST - (1 + _LEAST) * steps) / (1 + _LEAST)  # the sigmoid of softplus's argument
        grad = torch.cat([g[None], to_steps * softened]).movedim(0, -1)
        return to_x, grad.sum_to_size(params.shape)

    def _said(self, x: Tensor, params: Tensor) -> tuple[Tensors, Tensors]:
        n, bound = self.degree, self.bound
        shift, raw = rows(params, x.ndim).split([1, n])
        steps = (softplus(raw + _ONE) + _LEAST) / (1 + _LEAST)
        inside = x.clamp(-bound, bound)
        t = (inside + bound) / (2 * bound)
        less = torch.cat([torch.zeros_like(steps[:1]), (steps - 1).cumsum(0)])  # theta less a line
        slope, bend = averaged(steps, t)
        value = shift[0] + inside + 2 * bound / n * averaged(less, t)[0] + slope * (x - inside)
        return (value, slope.log()), (t, steps, slope, torch.where(x == inside, bend / (2 * bound), 0))


def averaged(theta: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k theta_k B_k,n(t) for theta [n + 1, *] and t [*] in [0, 1], and its derivative in t."""
    n, slope = len(theta) - 1, torch.zeros_like(t)
    while len(theta) > 1:
        if len(theta) == 2:
            slope = n * (theta[1] - theta[0])
        theta = torch.lerp(theta[:-1], theta[1:], t)
    return theta[0], slope


def _powers(t: Tensor, n: int) -> Tensor:
    """t**k for k = 0 .. n, first axis."""
    found = t.new_ones((n + 1, *t.shape))
    for k in range(n):
        torch.mul(found[k], t, out=found[k + 1])
    return found


def _binomials(n: int, like: Tensor) -> Tensor:
    """n over k for k = 0 .. n, with as many axes behind as `like` has."""
    return like.new_tensor([math.comb(n, k) for k in range(n + 1)]).view(-1, *[1] * like.ndim)

"""Increasing polynomials.

    SumOfSquares    z = b + integral from 0 to x of sum_k p_k(t)**2 dt        p_k of degree r
    Bernstein       z = sum_k theta_k B_k,n((x + B) / 2B),   theta increasing   on [-B, B], straight lines beyond

The integrand of the first has degree 2 r, so Gauss and Legendre's r + 1 points integrate it exactly. Of the second,
the derivative is again a Bernstein polynomial, of the differences of theta; the lines continue value and slope.

References:
    Jaini, Selby, Yu 2019, arXiv 1905.02325 (sums of squares).
    Ramasinghe, Fernando, Khan, Barnes 2021, arXiv 2102.03509 (Bernstein).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair

_FAR = 10.0  # t at which the powers of SumOfSquares weigh the same
_ONE = math.log(math.e - 1)  # softplus of it is 1


@dataclass(frozen=True)
class SumOfSquares(Monotone):
    """z = b + integral from 0 to x of sum_k p_k(t)**2 dt, plus a thousandth of x.

    Parameters are b and the coefficients of each p_k in powers of t / 10, so that an update moves no power more than
    the others anywhere within 10, where held-out data lie further out than those of training. To them fixed ones are
    added, the Taylor series of (cosh(t / 10) + e_k sinh(t / 10)) / sqrt(K), e_k spread about 0 with mean square 1, so
    that the polynomials differ. Zero parameters give 5 sinh(x / 5), whose `Asinh(5.0)` is x again.

    Args:
        degree: r, of each polynomial.
        polynomials: K.

    Raises:
        ConfigError: a degree below 1 or no polynomials.
    """

    degree: int = 4
    polynomials: int = 3

    def __post_init__(self) -> None:
        if min(self.degree, self.polynomials) < 1:
            got = f"degree {self.degree}, {self.polynomials} polynomials"
            raise ConfigError(explain("a degree and a number of polynomials of 1 or more", got, "4 and 3 suit most."))

    @property
    def size(self) -> int:
        return 1 + self.polynomials * (self.degree + 1)

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        coefficients = params[..., 1:].unflatten(-1, (self.polynomials, self.degree + 1)) + self._start(x)
        at, weights = gauss_legendre(self.degree + 1)
        at, weights = torch.cat([at, at.new_ones(1)]).to(x), weights.to(x)
        slope = 1e-3 + self._squares((x / _FAR)[..., None] * at, coefficients)  # the last point is x itself
        return params[..., 0] + x * (slope[..., :-1] * weights).sum(-1), slope[..., -1].log()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z / (1 + z.abs()) ** (1 - 1 / (2 * self.degree + 1)))
        return x, -self.encode(x, params)[1]

    def _start(self, x: Tensor) -> Tensor:
        k = self.polynomials
        wide = math.sqrt(3 * (k - 1) / (k + 1))  # of an even spread of mean square 1
        e = torch.linspace(-wide, wide, k) if k > 1 else torch.zeros(1)
        powers = [(1.0 if i % 2 == 0 else e) / math.factorial(i) * torch.ones(k) for i in range(self.degree + 1)]
        return torch.stack(powers, 1).to(x) / math.sqrt(k)

    def _squares(self, u: Tensor, coefficients: Tensor) -> Tensor:
        """sum_k p_k**2 at u = t / 10 [*, points], by Horner's rule."""
        value = torch.zeros_like(u)[..., None]
        for power in reversed(range(self.degree + 1)):
            value = value * u[..., None] + coefficients[..., None, :, power]
        return value.square().sum(-1)


def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Points and weights of the quadrature on [0, 1], n of each, in float64 (Golub, Welsch 1969).

    >>> at, weights = gauss_legendre(3)
    >>> round((at**5 * weights).sum().item(), 12) == round(1 / 6, 12)
    True
    """
    k = torch.arange(1, n, dtype=torch.float64)
    beside = torch.diag(k / (4 * k**2 - 1).sqrt(), 1)
    at, vectors = torch.linalg.eigh(beside + beside.T)
    return (at + 1) / 2, vectors[0].square()


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
    bound: float = 5.0

    def __post_init__(self) -> None:
        if self.degree < 1 or not 0 < self.bound < math.inf:
            got = f"degree {self.degree}, bound {self.bound}"
            raise ConfigError(explain("a degree of 1 or more and a bound above 0", got, "16 and 5.0 suit most."))

    @property
    def size(self) -> int:
        return 1 + self.degree

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        n, bound = self.degree, self.bound
        steps = (softplus(params[..., 1:] + _ONE) + 1e-3) / (1 + 1e-3)  # in units of 2B/n
        inside = x.clamp(-bound, bound)
        t = (inside + bound) / (2 * bound)
        bend = torch.cat([torch.zeros_like(steps[..., :1]), (steps - 1).cumsum(-1)], -1)  # theta less a line
        slope = _bernstein(steps, t)
        return params[..., 0] + inside + 2 * bound / n * _bernstein(bend, t) + slope * (x - inside), slope.log()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]


def _bernstein(theta: Tensor, t: Tensor) -> Tensor:
    """sum_k theta_k B_k,n(t) for theta [*, n + 1] and t [*] in [0, 1], by de Casteljau's averages."""
    t = t[..., None]
    while theta.shape[-1] > 1:
        theta = (1 - t) * theta[..., :-1] + t * theta[..., 1:]
    return theta.squeeze(-1)

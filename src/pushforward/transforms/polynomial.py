"""Increasing polynomials: integrals of sums of squares.

    z = b + integral from 0 to x of sum_k p_k(t)**2 dt        p_k of degree r

The integrand has degree 2 r, so Gauss and Legendre's r + 1 points integrate it exactly.

References:
    Jaini, Selby, Yu 2019, arXiv 1905.02325.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair

_FAR = 10.0  # t at which the powers of SumOfSquares weigh the same


@dataclass(frozen=True)
class SumOfSquares(Monotone):
    """z = b + integral from 0 to x of sum_k p_k(t)**2 dt, plus a thousandth of x.

    Parameters are b and the coefficients of each p_k in powers of t / 10, so that an update moves no power more than
    the others anywhere within 10, where held-out data lie further out than those of training. To them fixed ones are
    added, the Taylor series of (cosh(t / 2B) + e_k sinh(t / 2B)) / sqrt(K), e_k spread about 0 with mean square 1, so
    that the polynomials differ. Zero parameters give B sinh(x / B), whose `Asinh(B)` is x again.

    Args:
        degree: r, of each polynomial.
        polynomials: K.
        bound: B, above 0.

    Raises:
        ConfigError: a degree below 1, no polynomials, or a bound that is not above 0.
    """

    degree: int = 4
    polynomials: int = 3
    bound: float = 2.5

    def __post_init__(self) -> None:
        if min(self.degree, self.polynomials) < 1 or not 0 < self.bound < math.inf:
            expected = "a degree and a number of polynomials of 1 or more and a bound above 0"
            got = f"degree {self.degree}, {self.polynomials} polynomials, bound {self.bound}"
            raise ConfigError(explain(expected, got, "4, 3 and 2.5 suit most."))

    @property
    def size(self) -> int:
        return 1 + self.polynomials * (self.degree + 1)

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        coefficients = params[..., 1:].unflatten(-1, (self.polynomials, self.degree + 1)) + self._start(x)
        z, ladj = integral_of_squares(x, coefficients, _FAR, 1e-3)
        return params[..., 0] + z, ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z / (1 + z.abs()) ** (1 - 1 / (2 * self.degree + 1)))
        return x, -self.encode(x, params)[1]

    def _start(self, x: Tensor) -> Tensor:
        k, ratio = self.polynomials, _FAR / (2 * self.bound)
        wide = math.sqrt(3 * (k - 1) / (k + 1))  # of an even spread of mean square 1
        e = torch.linspace(-wide, wide, k) if k > 1 else torch.zeros(1)
        each = [ratio**i / math.factorial(i) for i in range(self.degree + 1)]
        powers = [(1.0 if i % 2 == 0 else e) * taylor * torch.ones(k) for i, taylor in enumerate(each)]
        return torch.stack(powers, 1).to(x) / math.sqrt(k)


def integral_of_squares(x: Tensor, coefficients: Tensor, unit: float, least: float) -> Pair:
    """(integral from 0 to x of least + sum_k p_k(t / unit)**2 dt, log of the integrand at x) for x [*].

    `coefficients` are those of each p_k, [*, K, r + 1], the constant first.
    """
    at, weights = gauss_legendre(coefficients.shape[-1])
    at, weights = torch.cat([at, at.new_ones(1)]).to(x), weights.to(x)
    slope = least + _squares((x / unit)[..., None] * at, coefficients)  # the last point is x itself
    return x * (slope[..., :-1] * weights).sum(-1), slope[..., -1].log()


def _squares(u: Tensor, coefficients: Tensor) -> Tensor:
    """sum_k p_k(u)**2 at u [*, points], by Horner's rule."""
    value = torch.zeros_like(u)[..., None]
    for power in reversed(range(coefficients.shape[-1])):
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

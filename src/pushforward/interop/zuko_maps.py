"""The maps of one number that zuko alone has, with their parametrisations, as our `Monotone`.

    Controls       a Bernstein polynomial of control points, on [-B, B]              BPF
    Squares        the integral of squared polynomials, each 1 + something           SOSPF

Their formulas are kept with all that is odd about them, so that densities agree: `Controls` that are pinned leap by
2e-6 B where the polynomial ends.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward.transforms import Monotone
from pushforward.transforms.bernstein import averaged
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Pair, rows
from pushforward.transforms.polynomial import integral_of_squares

_EDGE = 1e-6  # share of [-B, B] at either end that counts as beyond it


@dataclass(frozen=True)
class Controls(Monotone):
    """y = sum_k theta_k B_k,n(t),   t = (x + B) / 2B,   with theta increasing in steps s_k, in units of 2B/n.

        "pinned"    theta_0 = -B,    s = (1, 1, K softmax(a), 1, 1)                   beyond the ends x -+ 2e-6 B
        "free"      theta_0 = a_1 - K log(2) / 2,    s = n softplus(a_2, a_2 .. a_K, a_K) / 2B      straight lines

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

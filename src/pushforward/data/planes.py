"""Distributions in the plane whose density is known, in their own units.

    blobs         p(x) = mean_k N(x; c_k, C_k)
    twisted       the same, each point turned by an angle that depends on its radius: a turn keeps
                  areas, so the density is that of the point turned back
    circles       a circle of radius R blurred by sigma:
                  p(x) = mean_R exp(-(r - R)^2 / 2 sigma^2) I0e(r R / sigma^2) / (2 pi sigma^2),   r = |x|
    curves        c(q), q in [0, 1] with density k q^(k-1), blurred by sigma:
                  p(x) = integral of N(x; c(q), sigma^2) k q^(k-1) dq, by Gauss and Legendre's rule in pieces
    squares       uniform on the dark squares of a board

I0e is the modified Bessel function times exp(-|x|) (the first four formulas follow by integrating the blur in
polar coordinates or along the curve). Pieces are short against sigma, so
the rule is good to eleven digits.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pushforward._random import Draw


class Plane(abc.ABC):
    """A distribution of points [n, 2] that can be drawn and scored; a frozen dataclass."""

    @abc.abstractmethod
    def sample(self, n: int, draw: Draw) -> Tensor:
        """`n` points, [n, 2], each a function of the draw's address and its index."""

    @abc.abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Log-density in nats, [n]; -inf where there is no mass."""


@dataclass(frozen=True)
class Blobs(Plane):
    """Equally likely normal blobs, each with its own axes, then turned by `twist` radians per unit of radius.

    Args:
        centres: the middles, one pair per blob.
        axes: standard deviations along the direction of the centre and across it.
        twist: radians of turn per unit of radius; 0 leaves the blobs as they are.
    """

    centres: tuple[tuple[float, float], ...]
    axes: tuple[float, float]
    twist: float = 0.0

    def sample(self, n: int, draw: Draw) -> Tensor:
        which = draw.of("which").integers(n, len(self.centres))
        local = draw.of("blur").normal(n, (2,)) * torch.tensor(self.axes)
        centres, along = self._frame(local.dtype)
        across = torch.stack([-along[:, 1], along[:, 0]], 1)
        x = centres[which] + local[:, :1] * along[which] + local[:, 1:] * across[which]
        return turn(x, self.twist * x.norm(dim=1))

    def log_density(self, x: Tensor) -> Tensor:
        x = turn(x, -self.twist * x.norm(dim=1))
        centres, along = self._frame(x.dtype)
        across = torch.stack([-along[:, 1], along[:, 0]], 1)
        away = x[:, None] - centres
        u, v = (away * along).sum(2) / self.axes[0], (away * across).sum(2) / self.axes[1]
        constant = math.log(2 * math.pi * self.axes[0] * self.axes[1] * len(self.centres))
        return torch.logsumexp(-(u.square() + v.square()) / 2, 1) - constant

    def _frame(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Centres and the unit vectors towards them ((1, 0) for a centre at the origin), [k, 2] each."""
        centres = torch.tensor(self.centres, dtype=dtype)
        radius = centres.norm(dim=1, keepdim=True)
        return centres, torch.where(radius > 0, centres / radius.clamp(min=1e-30), centres.new_tensor([1.0, 0.0]))


@dataclass(frozen=True)
class Circles(Plane):
    """Equally likely circles around the origin, blurred by a normal of standard deviation `noise`."""

    radii: tuple[float, ...]
    noise: float

    def sample(self, n: int, draw: Draw) -> Tensor:
        angle = draw.of("angle").uniform(n) * 2 * math.pi
        radius = torch.tensor(self.radii)[draw.of("which").integers(n, len(self.radii))]
        ring = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return ring + self.noise * draw.of("blur").normal(n, (2,))

    def log_density(self, x: Tensor) -> Tensor:
        r, radii = x.norm(dim=1)[:, None], x.new_tensor(self.radii)
        bell = -((r - radii) / self.noise).square() / 2
        bessel = torch.special.i0e(r * radii / self.noise**2).log()
        return torch.logsumexp(bell + bessel, 1) - math.log(2 * math.pi * self.noise**2 * len(self.radii))


@dataclass(frozen=True)
class Curves(Plane):
    """Equally likely curves blurred by a normal of standard deviation `noise`.

    Args:
        trace: from q [m] in [0, 1] to the points of each curve, [curves, m, 2].
        noise: the blur.
        speed: the greatest |dc/dq|, which says how many pieces the quadrature needs.
        power: q is drawn with density power q^(power - 1): 1 is uniform.
    """

    trace: Callable[[Tensor], Tensor]
    noise: float
    speed: float
    power: int = 1

    def sample(self, n: int, draw: Draw) -> Tensor:
        points = self.trace(draw.of("along").uniform(n) ** (1 / self.power))
        which = draw.of("which").integers(n, len(points))
        return points[which, torch.arange(n)] + self.noise * draw.of("blur").normal(n, (2,))

    def log_density(self, x: Tensor) -> Tensor:
        q, weights = self._nodes(x)
        points = self.trace(q)
        weight = (weights * self.power * q ** (self.power - 1) / len(points)).log().repeat(len(points))
        parts = [self._log_sum(part, points.flatten(0, 1), weight) for part in x.split(4096)]
        return torch.cat(parts) - math.log(2 * math.pi * self.noise**2)

    def _nodes(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights on [0, 1]: 16 in each piece of at most six blurs, good to eleven digits."""
        pieces = math.ceil(self.speed / (6 * self.noise))
        node, weight = (like.new_tensor(part) for part in np.polynomial.legendre.leggauss(16))
        start = torch.arange(pieces, dtype=like.dtype, device=like.device)
        q = (start[:, None] + (node + 1) / 2) / pieces
        return q.flatten(), (weight / (2 * pieces)).repeat(pieces)

    def _log_sum(self, x: Tensor, points: Tensor, weight: Tensor) -> Tensor:
        # squared distances term by term: the expanded square |x|^2 - 2xc + |c|^2 loses half the digits
        away = (x[:, None, 0] - points[:, 0]).square() + (x[:, None, 1] - points[:, 1]).square()
        return torch.logsumexp(weight - away / (2 * self.noise**2), 1)


@dataclass(frozen=True)
class Squares(Plane):
    """Uniform on the dark squares of a board of `cells` x `cells` (even) around the origin, of side
    `side`."""

    cells: int
    side: float

    def sample(self, n: int, draw: Draw) -> Tensor:
        which = draw.of("which").integers(n, self.cells * self.cells // 2)
        row = which // (self.cells // 2)
        column = 2 * (which % (self.cells // 2)) + row % 2
        corner = torch.stack([column, row], 1) - self.cells / 2
        return (corner + draw.of("within").uniform(n, (2,))) * self.side

    def log_density(self, x: Tensor) -> Tensor:
        cell = (x / self.side + self.cells / 2).floor()
        dark = ((cell >= 0) & (cell < self.cells)).all(1) & (cell.sum(1) % 2 == 0)
        mass = -math.log(self.cells * self.cells / 2 * self.side**2)
        return torch.where(dark, mass, -math.inf).to(x.dtype)


def turn(x: Tensor, angle: Tensor) -> Tensor:
    """Points [n, 2] turned around the origin by angles [n]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)

"""Splines as monotone maps: how unconstrained parameters become knots, and what happens beyond them.

The knots lie in the square [low, high]**2, the first and last in its corners. Zero parameters space them equally
with slopes 1, the identity. With K bins:

    map                 parameters                                      slopes at inner knots
    Linear              K heights                                       (none: a broken line)
    Quadratic           K widths, K - 1 densities at knots              the densities, scaled to total 1
    Cubic               K widths, K heights                             Steffen's, of the bins beside them
    RationalQuadratic   K widths, K heights, K - 1 slopes               free

    tails        beyond the knots                    ends                        parameters more
    identity     y = x                               d_0 = d_K = 1               0
    linear       a line of learned slope             d_0, d_K learned            2
    circular     none: x and y are points of a       d_0 = d_K learned, and      2 (Cubic: 1, its ends
                 circle of length high - low         a rotation after the map       being Steffen's)

On a circle x may be any representative; results lie in [low, high]. The map of a circle that fixes low is a spline
with equal end slopes; the rotation (a learned phase) lets the flow move its special point. Linear has steps anyway, and
shares no slope at its ends: 1 parameter more.

Cubic has no identity tails: its end slopes must not exceed 3 times those of the outermost bins, which 1 may.

References:
    Rezende et al. 2020, arXiv 2002.02428 (the circle); for the maps see `splines.py`.
    Steffen 1990, Astron. Astrophys. 239 (slopes of a monotone cubic).
"""

import abc
import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from pushforward._errors import ConfigError, explain
from pushforward.transforms.monotone import Monotone, Pair
from pushforward.transforms.rational import RationalSpline
from pushforward.transforms.splines import (
    LEAST,
    Layout,
    cubic,
    knots,
    linear,
    positive,
    quadratic,
    rational_quadratic,
)

Tails = Literal["identity", "linear", "circular"]

_Knots = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Spline(Monotone, abc.ABC):
    """What the splines share: the interval, the tails, and the rotation of a circle.

    Args:
        bins: how many pieces, 2 or more.
        low, high: the square of the knots; data far outside meet straight lines only, so cover them.
        tails: what happens beyond it, a word of the module's table.

    Raises:
        ConfigError: too few or too many bins, an empty interval, or tails that the spline does not have.
    """

    bins: int = 8
    low: float = -3.0
    high: float = 3.0
    tails: Tails = "identity"

    words: ClassVar[tuple[str, ...]] = ("identity", "linear", "circular")

    def __post_init__(self) -> None:
        if not (2 <= self.bins <= 500 and -math.inf < self.low < self.high < math.inf):
            got = f"{self.bins} in [{self.low}, {self.high}]"
            raise ConfigError(explain("2 to 500 bins in an interval low < high", got, "8 bins in [-3, 3] suit most."))
        if self.tails not in self.words:
            got = f"{self.tails!r} for a {type(self).__name__}"
            raise ConfigError(explain(f"tails of {', '.join(self.words)}", got, "Choose one of them."))

    @abc.abstractmethod
    def table(self, params: Tensor) -> _Knots:
        """(xs, ys, slopes), each [*, bins + 1], of the parameters [*, size] without the phase."""

    @abc.abstractmethod
    def through(self, x: Tensor, table: _Knots, inverse: bool) -> Pair:
        """The spline through these knots."""

    @abc.abstractmethod
    def of(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        """The spline of these parameters without the phase: `through` the `table`, or quicker."""

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        if self.tails != "circular":
            return self.of(x, params, False)
        z, ladj = self.of(self._wrap(x), params[..., :-1], False)
        return self._wrap(z + params[..., -1]), ladj

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        if self.tails != "circular":
            return self.of(z, params, True)
        return self.of(self._wrap(z - params[..., -1]), params[..., :-1], True)

    def _wrap(self, x: Tensor) -> Tensor:
        return self.low + torch.remainder(x - self.low, self.high - self.low)

    def _knots(self, raw: Tensor) -> Tensor:
        return knots(raw, self.low, self.high)

    def _with_ends(self, inner: Tensor, ends: Tensor) -> Tensor:
        """Positive numbers at all knots: the inner ones, and those that the tails say. `ends` has 0, 1 or 2."""
        if self.tails == "identity":
            return pad(inner, (1, 1), value=1.0)
        return torch.cat([ends[..., :1], inner, ends[..., -1:]], -1)


@dataclass(frozen=True)
class Linear(Spline):
    """A broken line on equally wide bins: the cheapest spline, its density has steps.

    >>> Linear(bins=4).encode(torch.tensor([1.0, 5.0]), torch.zeros(4))
    (tensor([1., 5.]), tensor([0., 0.]))
    """

    @property
    def size(self) -> int:
        return self.bins + {"identity": 0, "linear": 2, "circular": 1}[self.tails]

    def table(self, params: Tensor) -> _Knots:
        ys = self._knots(params[..., : self.bins])
        xs = torch.linspace(self.low, self.high, self.bins + 1, dtype=ys.dtype, device=ys.device).expand_as(ys)
        ends = positive(params[..., self.bins :]) if self.tails == "linear" else torch.ones_like(ys[..., :1])
        return xs, ys, self._with_ends(torch.ones_like(ys[..., 1:-1]), ends)

    def through(self, x: Tensor, table: _Knots, inverse: bool) -> Pair:
        return linear(x, *table, inverse=inverse)

    def of(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        return self.through(x, self.table(params), inverse)


@dataclass(frozen=True)
class Quadratic(Spline):
    """A spline with a piecewise linear derivative: continuous density, an inverse by one square root.

    >>> Quadratic(bins=4).size
    7
    """

    @property
    def size(self) -> int:
        return 2 * self.bins - 1 + {"identity": 0, "linear": 2, "circular": 2}[self.tails]

    def table(self, params: Tensor) -> _Knots:
        xs = self._knots(params[..., : self.bins])
        w = xs.diff()
        inner = positive(params[..., self.bins : 2 * self.bins - 1])
        total = self.high - self.low
        if self.tails == "identity":
            # scale what is inside so that, with 1 at both ends, the trapezoids fill the square
            area = (inner * 0.5 * (w[..., :-1] + w[..., 1:])).sum(-1, keepdim=True)
            slopes = pad(inner * (total - 0.5 * (w[..., :1] + w[..., -1:])) / area, (1, 1), value=1.0)
        else:
            slopes = self._with_ends(inner, positive(params[..., 2 * self.bins - 1 :]))
            slopes = slopes * total / (0.5 * w * (slopes[..., :-1] + slopes[..., 1:])).sum(-1, keepdim=True)
        heights = 0.5 * w * (slopes[..., :-1] + slopes[..., 1:])
        inside = self.low + heights[..., :-1].cumsum(-1)
        return xs, pad(pad(inside, (1, 0), value=self.low), (0, 1), value=self.high), slopes

    def through(self, x: Tensor, table: _Knots, inverse: bool) -> Pair:
        return quadratic(x, *table, inverse=inverse)

    def of(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        return self.through(x, self.table(params), inverse)


@dataclass(frozen=True)
class Cubic(Spline):
    """A cubic spline with Steffen's slopes: few parameters, an inverse by Newton's method.

    >>> Cubic(bins=4).size
    10
    """

    tails: Tails = "linear"
    words: ClassVar[tuple[str, ...]] = ("linear", "circular")

    @property
    def size(self) -> int:
        return 2 * self.bins + {"linear": 2, "circular": 1}[self.tails]

    def table(self, params: Tensor) -> _Knots:
        xs, ys = self._knots(params[..., : self.bins]), self._knots(params[..., self.bins : 2 * self.bins])
        w = xs.diff()
        s = ys.diff() / w
        if self.tails == "circular":
            around, wide = torch.cat([s[..., -1:], s, s[..., :1]], -1), torch.cat([w[..., -1:], w, w[..., :1]], -1)
            return xs, ys, _steffen(around, wide)
        # 3 sigmoid(raw - log 2) is 1 for 0 and stays below 3, where the cubic would stop increasing
        ends = 3 * torch.sigmoid(params[..., 2 * self.bins :] - math.log(2))
        first, last = ends[..., :1] * s[..., :1], ends[..., 1:] * s[..., -1:]
        return xs, ys, torch.cat([first, _steffen(s, w), last], -1)

    def through(self, x: Tensor, table: _Knots, inverse: bool) -> Pair:
        return cubic(x, *table, inverse=inverse)

    def of(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        return self.through(x, self.table(params), inverse)


@dataclass(frozen=True)
class RationalQuadratic(Spline):
    """The rational-quadratic spline: free knots and slopes, an inverse in closed form; the usual choice.

    >>> RationalQuadratic(bins=8).size
    23
    """

    @property
    def size(self) -> int:
        return 3 * self.bins - 1 + {"identity": 0, "linear": 2, "circular": 2}[self.tails]

    def table(self, params: Tensor) -> _Knots:
        both = self._knots(params[..., : 2 * self.bins].unflatten(-1, (2, self.bins)))
        slopes = positive(params[..., 2 * self.bins :])
        inner = slopes[..., : self.bins - 1]
        return both[..., 0, :], both[..., 1, :], self._with_ends(inner, slopes[..., self.bins - 1 :])

    def through(self, x: Tensor, table: _Knots, inverse: bool) -> Pair:
        return rational_quadratic(x, *table, inverse=inverse)

    def of(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        if params.shape[:-1] != x.shape or x.dtype != params.dtype:
            return self._plain(x, params, inverse)
        value, ladj = self.spline(inverse)(x, params)
        return value, ladj

    def spline(self, inverse: bool) -> RationalSpline:
        """`of` as one node, for parameters of every number."""
        inner, n = range(self.bins - 1), self.bins - 1
        first, last = {"identity": (-1, -1), "linear": (n, n + 1), "circular": (n, n)}[self.tails]
        layout = Layout(self.bins, self.low, self.high, LEAST, (first, *inner, last))
        return RationalSpline(layout, inverse, partial(self._plain, inverse=inverse))

    def _plain(self, x: Tensor, params: Tensor, inverse: bool) -> Pair:
        return self.through(x, self.table(params), inverse)


def _steffen(s: Tensor, w: Tensor) -> Tensor:
    """Slopes between bins of slopes s and widths w, [*, bins - 1]: the parabola's, at most twice either bin's."""
    left, right = s[..., :-1], s[..., 1:]
    parabola = (left * w[..., 1:] + right * w[..., :-1]) / (w[..., :-1] + w[..., 1:])
    return torch.minimum(2 * torch.minimum(left, right), parabola)

"""The maps of one number that other flow libraries have, with their parametrisations, as our `Monotone`.

    Scaled     z = x exp(s) + m,      s of an unconstrained number a:

        "exp"         a                           normflows, Real NVP
        "softplus"    log(softplus(a) + least)    nflows, masked autoregression
        "sigmoid"     log(sigmoid(a + 2) + least) nflows, couplings; normflows, masked autoregression (least 0.001)
        "divided"     -log sigmoid(a + 2)         normflows, Glow's
        "softclip"    a / (1 + |a / log least|)   zuko

    Bins       rational-quadratic splines of widths, heights and slopes, in this order:

        "softmax"     widths least + (1 - K least) softmax(a), slopes least + softplus(a)      nflows, normflows
        "softclip"    softmax(a / (1 + |2 a / log least|)), exp(a / (1 + |a / log least|))     zuko

    Wrapped    (x mod 2 pi) - pi before a spline                      zuko, circles
    Network    a network whose weights count by their size            zuko, neural autoregression

Zero parameters are the identity for few of them: these maps are for weights that are there already. The polynomials,
mixtures and integrals of zuko are in `zuko_maps.py`.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, logsigmoid, pad, softplus

from pushforward.transforms import Monotone
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Pair
from pushforward.transforms.splines import knots, rational_quadratic

Scale = Literal["exp", "softplus", "sigmoid", "divided", "softclip"]


@dataclass(frozen=True)
class Scaled(Monotone):
    """z = x exp(s) + m with s by one of the words of the module's table.

    Args:
        scale: which of them.
        scale_first: whether a network says a before m.
        least: the smallest scale, as far as the word has one.
    """

    scale: Scale
    scale_first: bool
    least: float = 0.0

    @property
    def size(self) -> int:
        return 2

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        s, m = self._scale_and_shift(params)
        return x * s.exp() + m, s.expand_as(x)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        s, m = self._scale_and_shift(params)
        return (z - m) * (-s).exp(), (-s).expand_as(z)

    def _scale_and_shift(self, params: Tensor) -> tuple[Tensor, Tensor]:
        first, second = params[..., 0], params[..., 1]
        a, m = (first, second) if self.scale_first else (second, first)
        match self.scale:
            case "exp":
                return a, m
            case "softplus":
                return (softplus(a) + self.least).log(), m
            case "sigmoid":
                return (torch.sigmoid(a + 2) + self.least).log() if self.least else logsigmoid(a + 2), m
            case "divided":
                return -logsigmoid(a + 2), m
            case "softclip":
                return _softclip(a, self.least), m


@dataclass(frozen=True)
class Bins(Monotone):
    """A rational-quadratic spline on [low, high]**2 by one of the words of the module's table.

    Args:
        by: "softmax" or "softclip".
        bins: K.
        low, high: the square of the knots.
        least: smallest share of a bin and ("softmax") smallest slope: (width, height, slope).
        shrink: factor of raw widths and heights.
        ends: "one" for slopes 1 there, which go on as the identity; "free" for learned ones.
    """

    by: Literal["softmax", "softclip"]
    bins: int
    low: float
    high: float
    least: tuple[float, float, float]
    shrink: float = 1.0
    ends: Literal["one", "free"] = "one"

    @property
    def size(self) -> int:
        return 3 * self.bins + (1 if self.ends == "free" else -1)

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        return rational_quadratic(x, *self._table(params))

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        return rational_quadratic(z, *self._table(params), inverse=True)

    def _table(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        width, height, slope = self.least
        wide, high, raw = params.tensor_split([self.bins, 2 * self.bins], -1)
        wide, high = wide * self.shrink, high * self.shrink
        if self.by == "softclip":
            wide, high, slopes = _softclip(wide, width, 2), _softclip(high, height, 2), _softclip(raw, slope).exp()
            width = height = 0.0
        else:
            slopes = slope + softplus(raw)
        slopes = pad(slopes, (1, 1), value=1.0) if self.ends == "one" else slopes
        return knots(wide, self.low, self.high, width), knots(high, self.low, self.high, height), slopes


@dataclass(frozen=True)
class Wrapped(Monotone):
    """(x mod 2 bound) - bound, a point of the circle, through a spline on it.

    Args:
        spline: a map of [-bound, bound] onto itself.
        bound: half of the circle.
    """

    spline: Monotone
    bound: float = math.pi

    @property
    def size(self) -> int:
        return self.spline.size

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        return self.spline.encode(self._wrap(x), params)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x, ladj = self.spline.decode(z, params)
        return self._wrap(x), ladj

    def _wrap(self, x: Tensor) -> Tensor:
        return torch.remainder(x, 2 * self.bound) - self.bound


class Network(nn.Module, Monotone):
    """z = net(x, signal) with |W| for W and elu(h), -elu(-h) for halves of each hidden layer; inverted by search.

    Args:
        layers: linear layers of theirs; the first sees x and the signal. W is one, [out, in], or one for each number.
        order: which number stands at each place, if there is one W for each.
    """

    def __init__(self, layers: list[Any], order: Tensor) -> None:
        super().__init__()
        kept: list[tuple[Tensor, Tensor]] = [(layer.weight.detach(), layer.bias.detach()) for layer in layers]
        stacked = kept[0][0].ndim == 3
        pairs = [(w[order], b[order]) if stacked else (w.clone(), b.clone()) for w, b in kept]
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight, _ in pairs)
        self.biases = nn.ParameterList(nn.Parameter(bias) for _, bias in pairs)

    @property
    def size(self) -> int:
        return self.weights[0].shape[-1] - 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        found: Any = torch.func.jvp(lambda v: self._value(v, params), (x,), (torch.ones_like(x),))
        return found[0], found[1].log()

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z)
        return x, -self.encode(x, params)[1]

    def _value(self, x: Tensor, signal: Tensor) -> Tensor:
        h = torch.cat([x.unsqueeze(-1), signal.expand(*x.shape, -1)], -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                half = h.shape[-1] // 2
                h = torch.cat([elu(h[..., :half]), -elu(-h[..., half:])], -1)
            h = (weight.abs() @ h.unsqueeze(-1)).squeeze(-1) + bias
        return h.squeeze(-1)


def _softclip(a: Tensor, least: float, twice: int = 1) -> Tensor:
    """Within (log least, -log least) / twice."""
    return a / (1 + (twice * a / math.log(least)).abs())

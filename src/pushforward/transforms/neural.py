"""Increasing maps made of small networks.

    Sigmoidal    z = logit sum_k w_k sigmoid(a_k x + b_k)        w on the simplex, a > 0, b real; stacked (NAF)
    Integral     z = b + integral from 0 to x of f(t; h) dt      f > 0 a network, h and b the parameters (UMNN)

Both sums of the first are computed as logarithms, of the sum and of its complement, so that neither tail is lost
to rounding. The integral of the second is a Clenshaw-Curtis sum; its derivative is f(x; h), no sum at all, and
both agree as far as the sum has converged, which for a smooth f is fast.

Inverses are searched (`inversion.py`).

References:
    Huang, Krueger, Lacoste, Courville 2018, arXiv 1804.00779 (deep sigmoidal flows).
    Wehenkel, Louppe 2019, arXiv 1908.05164 (unconstrained monotonic neural networks).
    Clenshaw, Curtis 1960 (the quadrature).
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from pushforward._errors import ConfigError, explain
from pushforward.transforms.inversion import invert
from pushforward.transforms.monotone import Monotone, Pair

_ONE = math.log(math.e - 1)  # softplus of it is 1
_IN_CACHE = 2**18
"""Numbers of a tensor that a processor still holds near."""


@dataclass(frozen=True)
class Sigmoidal(Monotone):
    """z = logit sum_k w_k sigmoid(a_k x + b_k), once or several times over.

    Parameters of a layer are raw (w, a, b): w = softmax, a = softplus(raw + log(e - 1)) + 0.001, and b starts spread
    over (-1, 1), so that units differ from the first step; zero parameters give a mild bend.

    Args:
        units: sigmoids in a layer.
        layers: how many layers, one after the other.

    Raises:
        ConfigError: no units or no layers.
    """

    units: int = 16
    layers: int = 1

    def __post_init__(self) -> None:
        if min(self.units, self.layers) < 1:
            raise ConfigError(explain("a unit and a layer at least", f"{self}", "16 units in one layer are a start."))

    @property
    def size(self) -> int:
        return 3 * self.units * self.layers

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        total = torch.zeros_like(x)
        for raw in params.split(3 * self.units, -1):
            x, ladj = self._layer(x, raw)
            total = total + ladj
        return x, total

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]

    def _layer(self, x: Tensor, raw: Tensor) -> Pair:
        weight, slope, offset = raw.split(self.units, -1)
        log_w, a = weight.log_softmax(-1), softplus(slope + _ONE) + 1e-3
        u = a * x[..., None] + offset + torch.linspace(-1, 1, self.units, dtype=x.dtype, device=x.device)
        below, above = logsigmoid(u), logsigmoid(-u)
        log_sum, log_rest = (log_w + below).logsumexp(-1), (log_w + above).logsumexp(-1)
        log_slope = (log_w + below + above + a.log()).logsumexp(-1)
        return log_sum - log_rest, log_slope - log_sum - log_rest


class Integral(nn.Module, Monotone):
    """z = b + integral from 0 to x of f(t; h) dt, f a network every number shares.

    f(t; h) = softplus(net(t, h) + log(e - 1)) + 0.001: positive, and its integral has no bounds. The parameters are h
    and b.

    Args:
        embedding: length of h.
        hidden, layers: the network's hidden layers, of tanh units (smooth, so that the sum converges).
        points: of the quadrature besides the first.

    Raises:
        ConfigError: no unit, or no point.
    """

    def __init__(self, embedding: int = 16, hidden: int = 64, layers: int = 2, points: int = 32) -> None:
        super().__init__()
        if embedding < 0 or layers < 0 or min(hidden, points) < 1:
            got = f"{embedding=}, {hidden=}, {layers=}, {points=}"
            raise ConfigError(explain("a hidden unit and a point at least", got, "50 units and 32 points suit most."))
        self.embedding, self.hidden, self.points = embedding, hidden, points
        widths = [1 + embedding] + [hidden] * layers + [1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    @property
    def size(self) -> int:
        return self.embedding + 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        """Of many numbers a few at a time: tensors that stay in a cache take half the time of fresh large ones."""
        some = max(1, _IN_CACHE // (self.points * self.hidden))
        if x.is_cuda or torch.compiler.is_compiling() or x.numel() <= some:
            return self._encoded(x, params)
        parts = zip(x.flatten().split(some), params.flatten(0, -2).split(some), strict=True)
        z, ladj = zip(*itertools.starmap(self._encoded, parts), strict=True)
        return torch.cat(z).view_as(x), torch.cat(ladj).view_as(x)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = invert(lambda v: self.encode(v, params), z, guess=z)
        return x, -self.encode(x, params)[1]

    def _encoded(self, x: Tensor, params: Tensor) -> Pair:
        h, b = params[..., :-1], params[..., -1]
        at, weights = clenshaw_curtis(self.points)
        at, weights = at.to(x), weights.to(x)
        slope = self._integrand(x[..., None] * at, h)
        return b + x * (slope * weights).sum(-1), slope[..., -1].log()

    def _integrand(self, t: Tensor, h: Tensor) -> Tensor:
        """f at t [*, points] for h [*, embedding]."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        told = nn.functional.linear(h, first.weight[:, 1:], first.bias)  # the same for all points: once
        out = told[..., None, :] + t[..., None] * first.weight[:, 0]
        for layer in list(self.layers)[1:]:
            out = layer(torch.tanh(out))
        return softplus(out[..., 0] + _ONE) + 1e-3


def clenshaw_curtis(n: int) -> tuple[Tensor, Tensor]:
    """Points and weights of the quadrature on [0, 1], n + 1 of each, in float64; the last point is 1.

    >>> at, weights = clenshaw_curtis(4)
    >>> round((at**3 * weights).sum().item(), 12)
    0.25
    """
    k = torch.arange(n + 1, dtype=torch.float64)
    at = 0.5 * (1 - torch.cos(math.pi * k / n))
    j = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    terms = torch.where(2 * j == n, 1.0, 2.0) / (4 * j**2 - 1) * torch.cos(2 * math.pi * k[:, None] * j / n)
    weights = (1 - terms.sum(1)) / n
    weights[1:-1] *= 2
    return at, weights / 2

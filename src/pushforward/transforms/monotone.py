"""Increasing maps of one number, with parameters that come from elsewhere: the table behind three transforms.

    z = g(x; params),   g increasing in x,   ladj = log dg/dx      per number, not per sample

A `Monotone` says how many parameters it reads for each number (`size`), and both directions. Who provides them
is somebody else's business, so one class of each kind serves every map:

    Elementwise(shape, monotone)                      parameters learned, one set for each dimension
    MonotoneCoupling(shape, conditioner, monotone)    by a network that sees the numbers kept
    an autoregressive transform                       by a network that sees the numbers before

    map                         size     zero parameters give      range
    Additive                    1        the identity              all numbers
    Affine                      2        the identity              all numbers
    RationalQuadratic & co.     by bins  the identity              all numbers, or a circle (`splines.py`)
    LogisticMixture             3K + 2   a mild bend               all numbers (`mixture.py`)
    Power, HeavyTail            1, 2     the identity, a bend      all numbers (`bends.py`)
    Asinh                       0        --                        all numbers (`bends.py`)
    Exp, Tanh, SoftClip         0        --                        an interval (`bends.py`)
    Composed                    the sum  what both give            what both have (`composed.py`)

Parameters are unconstrained: any real numbers give a valid map, and where the table says so zeros give the
identity, so that a network that starts at 0 starts as the identity. They stand in the last axis, params [*, size]
for x [*] (axes before it broadcast). A network's flat output [batch, size * n] holds the n first parameters, then
the n second ones, and so on; `spread_out` brings it into shape. (A convolution whose channels are `size` groups
does so by itself.)

A number that the map cannot reach has no preimage: `decode` gives NaN for it and ladj = -inf, the logarithm of its
density; on the very end, where rounding takes numbers, it gives a finite one. (`Inverse`, for which such a number is
data of density 0, encodes it as 0.)

To add a map: a frozen dataclass derived from `Monotone`, and a line in `tests/laws/zoo_monotones.py`.
"""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._derivatives import Fused, Tensors
from pushforward._errors import ConfigError, ShapeError, explain

Pair = tuple[Tensor, Tensor]
"""(value, ladj), both of the shape of the numbers mapped."""


class Monotone(abc.ABC):
    """An increasing map of one number; a frozen dataclass. Threads may share it."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many parameters each number needs."""

    @abc.abstractmethod
    def encode(self, x: Tensor, params: Tensor) -> Pair:
        """(z, log dz/dx) for x [*] and params [*, size], each of x's shape."""

    @abc.abstractmethod
    def decode(self, z: Tensor, params: Tensor) -> Pair:
        """(x, log dx/dz): the inverse in the first argument."""


def fits(x: Tensor, params: Tensor) -> bool:
    """Whether numbers [*] and parameters [*, size] have one precision, and all broadcasting is the parameters'."""
    return x.dtype == params.dtype and torch.broadcast_shapes(x.shape, params.shape[:-1]) == x.shape


def rows(params: Tensor, axes: int) -> Tensor:
    """Parameters [size, *], with as many axes behind as numbers have: short axes are never in the inner loop."""
    first = params.movedim(-1, 0).contiguous()
    return first[(slice(None), *[None] * (axes + 1 - first.ndim))]


@dataclass(frozen=True)
class Additive(Monotone):
    """z = x + m, of params (m): keeps volume, never overflows (Dinh et al. 2014, arXiv 1410.8516).

    >>> Additive().encode(torch.tensor([1.0]), torch.tensor([[2.0]]))
    (tensor([3.]), tensor([0.]))
    """

    @property
    def size(self) -> int:
        return 1

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        z = x + params[..., 0]
        return z, torch.zeros_like(z)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        x = z - params[..., 0]
        return x, torch.zeros_like(x)


@dataclass(frozen=True)
class Affine(Monotone):
    """z = x exp(s) + m, of params (raw, m) with s = bound tanh(raw / bound) (Dinh et al. 2016, arXiv 1605.08803).

    The log-scale is bounded because it compounds over layers: decoding divides by exp(s), and samples jump to
    infinity where a trained s drifts off.

    Args:
        bound: the largest |s|, in nats per dimension; above 0.

    Raises:
        ConfigError: `bound` is not above 0.
    """

    bound: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise ConfigError(explain("a bound above 0 on the log-scale", f"{self.bound}", "2.0 suits most flows."))

    @property
    def size(self) -> int:
        return 2

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        if torch.is_grad_enabled() and params.shape[:-1] == x.shape and x.dtype == params.dtype:
            z, s = _Affine(self.bound)(x, params)
        else:
            z, s = _Affine(self.bound).plain(x, params)
        return z, s if s.shape == z.shape else s.expand_as(z)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        raw, m = params.unbind(-1)
        ladj = torch.rsub(_opened(raw, self.bound), self.bound, alpha=2 * self.bound)  # the very numbers of `encode`
        x = (z - m) * ladj.exp()
        return x, ladj if ladj.shape == x.shape else ladj.expand_as(x)


@dataclass(frozen=True)
class _Affine(Fused):
    """(x exp(s) + m, s) as one node: ds/draw = 4 t (1 - t)."""

    bound: float

    def plain(self, *inputs: Tensor) -> Tensors:
        x, params = inputs
        raw, m = params.unbind(-1)
        s = _scale(raw, self.bound)[1]
        return torch.addcmul(m, x, s.exp()), s

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, params = inputs
        raw, m = params.unbind(-1)
        t, s = _scale(raw, self.bound)
        scale = s.exp()
        return (torch.addcmul(m, x, scale), s), (t, scale)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, params), (t, scale), (g, g_s) = inputs, kept, results
        to_x, grad = g * scale, torch.empty_like(params)
        to_raw, to_m = grad.unbind(-1)
        _through_sigmoid(torch.addcmul(g_s, to_x, x), t, grad_input=to_raw).mul_(4)
        to_m.copy_(g)
        return to_x, grad


def _scale(raw: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """t = sigmoid(2 raw / bound) and s = bound tanh(raw / bound) = bound (2 t - 1); tanh itself takes twice as long."""
    t = _opened(raw, bound)
    return t, torch.rsub(t, -bound, alpha=-2 * bound)


def _opened(raw: Tensor, bound: float) -> Tensor:
    return (raw if bound == 2 else raw * (2 / bound)).sigmoid()


_through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input


def spread_out(raw: Tensor, n: int, monotone: Monotone) -> Tensor:
    """A network's output [batch, size * n], first parameters first, as params [batch, n, size].

    Raises:
        ShapeError: the output has another shape.

    >>> spread_out(torch.tensor([[1, 2, 3, 4]]), 2, Affine()).tolist()
    [[[1, 3], [2, 4]]]
    """
    size = monotone.size
    if raw.ndim != 2 or raw.shape[1] != size * n:
        fix = f"Build the conditioner with {size} output(s) for each changed number."
        raise ShapeError(explain(f"a conditioner output of {(len(raw), size * n)}", f"{tuple(raw.shape)}", fix))
    return raw.view(len(raw), size, n).transpose(1, 2)

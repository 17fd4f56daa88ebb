"""Coupling: some numbers of an event are changed by an amount computed from the others, which pass unchanged.

    z[kept]    = x[kept]
    z[changed] = g(x[changed]; m(x[kept]))      m any network; g invertible in its first argument

    additive   g(a; m)    = a + m                        ladj = 0
    affine     g(a; s, m) = a exp(s) + m                 ladj = sum s,     s = bound tanh(raw / bound)

The Jacobian is triangular, so ladj costs nothing, and decoding runs the same network once. The log-scale is
bounded because it compounds over layers: decoding divides by exp(s), and samples jump to infinity where a
trained s drifts off. (A coupling of data and noise, which pairs travel together, is something else.)

The conditioner m comes in as a callable: m(kept) or m(kept, context), [batch, kept] -> [batch, k * changed]
with k = 1 (additive) or 2 (affine: raw log-scales, then shifts). A network with dropout is not the same map
twice: call `eval()` before decoding.

References:
    Dinh, Krueger, Bengio 2014, arXiv 1410.8516 (additive).
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803 (affine).
"""

import abc
import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform

Conditioner = Callable[..., Tensor]
"""A network: m(kept) where there is no context, m(kept, context) where there is."""


class Coupling(Transform, abc.ABC):
    """The part every coupling shares: who is kept, who is changed, and the call of the conditioner.

    Args:
        shape: the event's shape; masks and networks see the event laid out flat.
        conditioner: the network m.
        mask: which numbers are kept, boolean, of the event's shape. The first half by default.

    Raises:
        ConfigError: the mask has another shape, or keeps all or nothing.
    """

    kept: Tensor
    changed: Tensor

    def __init__(self, shape: tuple[int, ...], conditioner: Conditioner, mask: Tensor | None = None):
        super().__init__()
        mask = halves(shape) if mask is None else mask
        if tuple(mask.shape) != tuple(shape) or not 0 < int(mask.sum()) < mask.numel():
            got = f"{int(mask.sum())} kept of a mask of shape {tuple(mask.shape)}"
            fix = "Events need at least two numbers; build the mask with halves, checkerboard or channels."
            raise ConfigError(explain(f"a mask of shape {tuple(shape)} that keeps some and changes some", got, fix))
        self.register_buffer("kept", mask.flatten().nonzero().squeeze(1))
        self.register_buffer("changed", (~mask.flatten()).nonzero().squeeze(1))
        self.conditioner = conditioner

    @abc.abstractmethod
    def encode_changed(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        """g: the changed numbers [batch, changed] given the conditioner's output [batch, k * changed]."""

    @abc.abstractmethod
    def decode_changed(self, z: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        """The inverse of g in its first argument."""

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self._couple(x, context, self.encode_changed)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self._couple(z, context, self.decode_changed)

    def _couple(
        self, x: Sample, context: Context, g: Callable[[Tensor, Tensor], tuple[Tensor, PerSample]]
    ) -> tuple[Sample, PerSample]:
        flat = x.flatten(1)
        kept, changed = flat.index_select(1, self.kept), flat.index_select(1, self.changed)
        raw = self.conditioner(kept) if context is None else self.conditioner(kept, context)
        new, ladj = g(changed, raw)
        return flat.index_copy(1, self.changed, new).reshape(x.shape), ladj


class AdditiveCoupling(Coupling):
    """z = x + m(kept): keeps volume, never overflows (NICE).

    The conditioner returns [batch, changed].

    >>> layer = AdditiveCoupling((2,), lambda kept: 10 * kept)
    >>> layer.encode(torch.tensor([[1.0, 2.0]]))
    (tensor([[ 1., 12.]]), tensor([0.]))
    """

    def encode_changed(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        _check(raw, x, 1)
        return x + raw, x.new_zeros(len(x))

    def decode_changed(self, z: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        _check(raw, z, 1)
        return z - raw, z.new_zeros(len(z))


class AffineCoupling(Coupling):
    """z = x exp(s) + m: changes volume, with |s| <= bound (Real NVP).

    The conditioner returns [batch, 2 * changed]: raw log-scales, then shifts.

    Args:
        shape, conditioner, mask: as in every coupling.
        bound: the largest |s| of this layer, in nats per dimension; above 0.

    Raises:
        ConfigError: the mask is not one, or `bound` is not above 0.
    """

    def __init__(
        self, shape: tuple[int, ...], conditioner: Conditioner, mask: Tensor | None = None, bound: float = 2.0
    ):
        super().__init__(shape, conditioner, mask)
        if not 0 < bound < math.inf:
            raise ConfigError(explain("a bound above 0 on the log-scale", f"{bound}", "2.0 suits most flows."))
        self.bound = bound

    def encode_changed(self, x: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        s, m = self._scale_and_shift(x, raw)
        return x * s.exp() + m, s.sum(1)

    def decode_changed(self, z: Tensor, raw: Tensor) -> tuple[Tensor, PerSample]:
        s, m = self._scale_and_shift(z, raw)
        return (z - m) * (-s).exp(), -s.sum(1)

    def _scale_and_shift(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        _check(raw, x, 2)
        raw_scale, m = raw.chunk(2, 1)
        return self.bound * torch.tanh(raw_scale / self.bound), m


def halves(shape: tuple[int, ...]) -> Tensor:
    """Keeps the first half of the event laid out flat (the smaller half if the count is odd)."""
    n = math.prod(shape)
    return (torch.arange(n) < n // 2).reshape(shape)


def checkerboard(shape: tuple[int, ...]) -> Tensor:
    """Keeps the places whose coordinates, the channel's included, have an even sum.

    >>> checkerboard((2, 3)).int().tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    coordinates = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    return torch.stack(coordinates).sum(0) % 2 == 0


def channels(shape: tuple[int, ...]) -> Tensor:
    """Keeps the first half of the leading axis: the channels of an image."""
    places = torch.arange(shape[0]) < shape[0] // 2
    return places.reshape(-1, *(1 for _ in shape[1:])).expand(shape)


def _check(raw: Tensor, x: Tensor, each: int) -> None:
    if raw.shape != (len(x), each * x.shape[1]):
        fix = f"Build the conditioner with {each} output(s) for each changed number."
        raise ShapeError(explain(f"a conditioner output of {(len(x), each * x.shape[1])}", f"{tuple(raw.shape)}", fix))

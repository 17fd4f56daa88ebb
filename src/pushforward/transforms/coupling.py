"""Coupling: some numbers of an event are changed by an amount computed from the others, which pass unchanged.

    z[kept]    = x[kept]
    z[changed] = g(x[changed]; m(x[kept]))      m any network; g any increasing map of one number

    additive   g(a; m)    = a + m                        ladj = 0
    affine     g(a; s, m) = a exp(s) + m                 ladj = sum s,     s = bound tanh(raw / bound)
    monotone   any member of the table in `monotone.py`: splines, mixtures, tails ...

The Jacobian is triangular, so ladj costs nothing, and decoding runs the same network once. (A coupling of data
and noise, which pairs travel together, is something else.)

The conditioner m comes in as a callable: m(kept) or m(kept, context), [batch, kept] -> [batch, size * changed]
with the size that g has (additive 1; affine 2: raw log-scales, then shifts). A network with dropout is not the
same map twice: call `eval()` before decoding.

References:
    Dinh, Krueger, Bengio 2014, arXiv 1410.8516 (additive).
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803 (affine).
    Durkan, Bekasov, Murray, Papamakarios 2019, arXiv 1906.04032 (splines).
"""

import abc
import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward._derivatives import whole
from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.coupled import coupled
from pushforward.transforms.monotone import Additive, Affine, Monotone, spread_out
from pushforward.transforms.reordering import put_back, reordered
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

    @property
    @abc.abstractmethod
    def monotone(self) -> Monotone:
        """g, whose parameters the conditioner provides."""

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self._couple(x, context, inverse=False)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self._couple(z, context, inverse=True)

    def _couple(self, x: Sample, context: Context, inverse: bool) -> tuple[Sample, PerSample]:
        if x.ndim == 2 and whole():
            return self._reordered(x, context, inverse)
        flat = x.flatten(1)
        params = self._told(flat.index_select(1, self.kept), context)
        z, ladj = coupled(self.monotone, flat, params, self.changed, inverse)
        return z if x.ndim == 2 else z.view(x.shape), ladj

    def _reordered(self, x: Sample, context: Context, inverse: bool) -> tuple[Sample, PerSample]:
        """The same in a compiled graph, where all numbers change places at once, the kept ones first, and go back."""
        order = torch.cat([self.kept, self.changed])
        kept, changed = reordered(x.T, order).split([len(self.kept), len(self.changed)])
        params = self._told(kept.T.clone(), context)
        new, ladj = (self.monotone.decode if inverse else self.monotone.encode)(changed.T, params)
        return put_back(torch.cat([kept, new.T]), order).T, ladj.sum(1)

    def _told(self, kept: Tensor, context: Context) -> Tensor:
        """The parameters [batch, changed, size]."""
        raw = self.conditioner(kept) if context is None else self.conditioner(kept, context)
        return spread_out(raw, len(self.changed), self.monotone)


class AdditiveCoupling(Coupling):
    """z = x + m(kept): keeps volume, never overflows (NICE).

    The conditioner returns [batch, changed].

    >>> layer = AdditiveCoupling((2,), lambda kept: 10 * kept)
    >>> layer.encode(torch.tensor([[1.0, 2.0]]))
    (tensor([[ 1., 12.]]), tensor([0.]))
    """

    @property
    def monotone(self) -> Monotone:
        return Additive()


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
        self._affine = Affine(bound)

    @property
    def monotone(self) -> Monotone:
        return self._affine


class MonotoneCoupling(Coupling):
    """Any increasing map of one number, with parameters from the numbers kept.

    Args:
        shape, conditioner, mask: as in every coupling; the conditioner returns [batch, size * changed].
        monotone: g, a member of the table in `monotone.py`.

    >>> from pushforward.transforms import RationalQuadratic
    >>> g = RationalQuadratic(bins=4)
    >>> layer = MonotoneCoupling((2,), lambda kept: kept.new_zeros(len(kept), g.size), g)
    >>> layer.encode(torch.tensor([[1.0, 2.0]]))[0]
    tensor([[1., 2.]])
    """

    def __init__(
        self, shape: tuple[int, ...], conditioner: Conditioner, monotone: Monotone, mask: Tensor | None = None
    ):
        super().__init__(shape, conditioner, mask)
        self._monotone = monotone

    @property
    def monotone(self) -> Monotone:
        return self._monotone


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

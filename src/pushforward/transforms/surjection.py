"""Maps that lose something in one direction, and what that does to likelihoods.

A transform is one to one. Whole numbers, absolute values or sets are not the image of anything one to one, so they get
a contract of their own:

    encode(x, draw) -> (z, gain)        log p(x)  =  or  >=   E[ log p(z) + gain ]
    decode(z, draw) -> x

The direction that loses nothing is a function; the other draws, from an address of random numbers.

    surjection                  decode is            encode                  gain                       the sum is
    UniformDequantization       rounding             draws within the cell   - n log levels             a bound
    VariationalDequantization   rounding             draws, learned          ... - log q(u | x)         a bound
    Slice                       appending a draw     drops numbers           log q(rest | z)            exact
    Absolute                    a random sign        |x|                     - n log 2                  exact (1)
    Sort                        a random order       sorted along an axis    - log n!                   exact (2)

(1) if x and its mirror images are equally likely, (2) if all orders are.

A bound is one in expectation over the draw (Jensen); several draws tighten it, log of the mean of exp
(`models.Surjected.bound`). Where the flow's density is flat in each cell it is exact. Bits per dimension from
dequantised data are bounds as well, whoever reports them.

References:
    Uria, Murray, Larochelle 2013, arXiv 1306.0186; Theis, van den Oord, Bethge 2015, arXiv 1511.01844 (uniform).
    Ho, Chen, Srinivas, Duan, Abbeel 2019, arXiv 1902.00275 (variational).
    Burda, Grosse, Salakhutdinov 2015, arXiv 1509.00519 (several draws).
    Nielsen, Jaini, Hoogeboom, Winther, Welling 2020, arXiv 2007.02731 (the framework, slice, absolute, sort).
"""

import abc
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.coupling import Conditioner
from pushforward.transforms.transform import Transform


class Surjection(nn.Module, abc.ABC):
    """A map between data and noise that loses something in one direction."""

    @property
    @abc.abstractmethod
    def exact(self) -> bool:
        """Whether log p(z) + gain is log p(x) for every draw; otherwise it is a lower bound on average."""

    @abc.abstractmethod
    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        """Data to noise: (z [batch, *], gain [batch] in nats). Row i depends on the draw's index i alone."""

    @abc.abstractmethod
    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        """Noise to data."""


class UniformDequantization(Surjection):
    """Whole numbers 0..levels-1 as numbers of [0, 1): z = (x + u) / levels, u uniform.

    Args:
        levels: how many values there are; 256 for bytes.

    Raises:
        ConfigError: fewer than two levels.

    >>> layer = UniformDequantization(256)
    >>> layer.decode(layer.encode(torch.tensor([[0.0, 255.0]]), Draw(0))[0], Draw(0))
    tensor([[  0., 255.]])
    """

    def __init__(self, levels: int = 256):
        super().__init__()
        self.levels = _checked(levels)

    @property
    def exact(self) -> bool:
        return False

    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        x = _real(x)
        u = draw.of("dequantize").uniform(len(x), tuple(x.shape[1:])).to(x)
        return _within(x, u, self.levels), _volume(x, self.levels)

    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        return _round(z, self.levels)


class VariationalDequantization(Surjection):
    """Whole numbers with learned noise: z = (x + u) / levels, where u in (0, 1) comes from a conditional flow.

        v ~ N(0, 1),     u = sigmoid(w),   w = noise.decode(v | x)               bounded=False
        v ~ U(0, 1),     u = noise.decode(v | x)                                 bounded=True

    The bounded form is for noise that maps the unit box to itself (a spline with low=0, high=1). As the identity it is
    the uniform one, and its density need not vanish at the ends of a cell; that of the sigmoid of a normal does, so
    that averages over its draws have a heavy tail.

    Args:
        noise: over events of x's shape; its context is x scaled to [-1, 1], as a vector [batch, n].
        levels: how many values there are.
        bounded: which form.

    Raises:
        ConfigError: fewer than two levels.
    """

    def __init__(self, noise: Transform, levels: int = 256, bounded: bool = False):
        super().__init__()
        self.noise, self.levels, self.bounded = noise, _checked(levels), bounded

    @property
    def exact(self) -> bool:
        return False

    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        draw, shape, x = draw.of("dequantize"), tuple(x.shape[1:]), _real(x)
        v = (draw.uniform(len(x), shape) if self.bounded else draw.normal(len(x), shape)).to(x)
        seen = (2 * x / (self.levels - 1) - 1).flatten(1)
        w, ladj = self.noise.decode(v, seen)
        if self.bounded:
            return _within(x, w, self.levels), _volume(x, self.levels) + ladj
        log_q = (-0.5 * v.square() - 0.5 * math.log(2 * math.pi) - logsigmoid(w) - logsigmoid(-w)).flatten(1).sum(1)
        return _within(x, w.sigmoid(), self.levels), _volume(x, self.levels) + ladj - log_q

    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        return _round(z, self.levels)


class Slice(Surjection):
    """Only the first numbers of a vector go on; the rest is normal given them.

    Args:
        n: how many go on.
        rest: how many do not.
        conditioner: [batch, n] to [batch, 2 * rest], log-deviations then means; context is handed on to it.
    """

    def __init__(self, n: int, rest: int, conditioner: Conditioner):
        super().__init__()
        self.n, self.rest, self.conditioner = n, rest, conditioner

    @property
    def exact(self) -> bool:
        return True

    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        z, rest = x.split([self.n, self.rest], 1)
        log_std, mean = self._normal(z, context)
        u = (rest - mean) * (-log_std).exp()
        return z, (-0.5 * u.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(1)

    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        log_std, mean = self._normal(z, context)
        noise = draw.of("slice").normal(len(z), (self.rest,)).to(z)
        return torch.cat([z, mean + log_std.exp() * noise], 1)

    def _normal(self, z: Sample, context: Context) -> tuple[Tensor, Tensor]:
        raw = self.conditioner(z) if context is None else self.conditioner(z, context)
        log_std, mean = raw.chunk(2, 1)
        return log_std, mean


class Absolute(Surjection):
    """z = |x|, for data as likely as their mirror images in every number; decoding draws signs.

    >>> Absolute().encode(torch.tensor([[-2.0, 3.0]]), Draw(0))
    (tensor([[2., 3.]]), tensor([-1.3863]))
    """

    @property
    def exact(self) -> bool:
        return True

    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        return x.abs(), _real(x).new_full((len(x),), -math.prod(x.shape[1:]) * math.log(2))

    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        """Signs for |x|; a negative z has no preimage, and is mirrored."""
        return z.abs() * draw.of("sign").signs(len(z), tuple(z.shape[1:])).to(z)


class Sort(Surjection):
    """Sets [n, *] in order of their members' first number; decoding puts the members in a random order.

    For data as likely in every order of their members.

    >>> Sort().encode(torch.tensor([[3.0, 1.0, 2.0]]), Draw(0))
    (tensor([[1., 2., 3.]]), tensor([-1.7918]))
    """

    @property
    def exact(self) -> bool:
        return True

    def encode(self, x: Sample, draw: Draw, context: Context = None) -> tuple[Sample, PerSample]:
        order = x.flatten(2)[..., 0].argsort(1) if x.ndim > 2 else x.argsort(1)
        return _ordered(x, order), _real(x).new_full((len(x),), -math.lgamma(x.shape[1] + 1))

    def decode(self, z: Sample, draw: Draw, context: Context = None) -> Sample:
        return _ordered(z, draw.of("order").uniform(len(z), (z.shape[1],)).argsort(1).to(z.device))


def _ordered(x: Sample, order: Tensor) -> Sample:
    return x.gather(1, order.reshape(*order.shape, *(1 for _ in x.shape[2:])).expand_as(x))


def _real(x: Sample) -> Sample:
    """Whole numbers of any type as floats, whose noise and logarithms are no whole numbers."""
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _within(x: Sample, u: Tensor, levels: int) -> Sample:
    # rounding may take x + u up to the next cell
    top = torch.nextafter((x + 1) / levels, torch.zeros_like(x))
    return torch.minimum((x + u) / levels, top)


def _round(z: Sample, levels: int) -> Sample:
    return (z * levels).floor().clamp(0, levels - 1)


def _volume(x: Sample, levels: int) -> PerSample:
    return x.new_full((len(x),), -math.prod(x.shape[1:]) * math.log(levels))


def _checked(levels: int) -> int:
    if levels < 2:
        raise ConfigError(explain("two levels or more", f"{levels}", "Bytes have 256."))
    return levels

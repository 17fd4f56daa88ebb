"""One number per dimension: a shift and a scale, each learned.

    Shift            z = x + b               ladj = 0
    DiagonalScale    z = exp(s) x            ladj = sum s

The scale is the only transform of NICE that changes volume: it lets the flow say how much each dimension
matters (a large s is a dimension with little variation). From s = 0 it needs thousands of steps to travel to
where nearly constant dimensions want it, so both have a start taken from data (`from_data`): mean 0, and a
given standard deviation.

References:
    Dinh, Krueger, Bengio 2014, arXiv 1410.8516 (the scale).
    Kingma, Dhariwal 2018, arXiv 1807.03039 (the start from data).
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.start import Starts
from pushforward.transforms.transform import Transform

_T = TypeVar("_T", bound=Transform)


class Shift(Transform, Starts):
    """A learned constant added to each dimension, 0 at the start.

    Args:
        shape: the event's shape.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)
        self.shift = nn.Parameter(torch.zeros(math.prod(shape)))  # flat, so that weight decay leaves it alone

    @classmethod
    def from_data(cls, x: Sample) -> "Shift":
        """The shift after which `x` [batch, *event] has mean 0."""
        return _with(cls(tuple(x.shape[1:])).to(x), "shift", -x.detach().mean(0))

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return x + self.shift.reshape(self.shape), x.new_zeros(len(x))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return z - self.shift.reshape(self.shape), z.new_zeros(len(z))

    @torch.no_grad()
    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        shift = Shift.from_data(x).shift
        self.shift.copy_(-shift if inverse else shift)
        return (self.decode if inverse else self.encode)(x)[0]


class DiagonalScale(Transform, Starts):
    """A learned positive factor for each dimension, 1 at the start.

    Args:
        shape: the event's shape.

    >>> scale = DiagonalScale.from_data(torch.tensor([[-1.0], [1.0]]) * 5, std=2.0)
    >>> round(scale.log_scale.exp().item(), 4)
    0.4
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)
        self.log_scale = nn.Parameter(torch.zeros(math.prod(shape)))

    @classmethod
    def from_data(cls, x: Sample, std: float = 1.0, floor: float = 1e-4) -> "DiagonalScale":
        """The scale after which `x` [batch, *event] has this standard deviation in each dimension.

        Args:
            x: data as they arrive at this transform.
            std: the deviation wanted; that of the base, if the scale comes last.
            floor: dimensions that vary less than this count as varying so much.
        """
        log_std = x.detach().std(0, correction=0).clamp_min(floor).log()
        return _with(cls(tuple(x.shape[1:])).to(x), "log_scale", math.log(std) - log_std)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return x * self.log_scale.exp().reshape(self.shape), self.log_scale.sum().expand(len(x))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return z * (-self.log_scale).exp().reshape(self.shape), (-self.log_scale).sum().expand(len(z))

    @torch.no_grad()
    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        log_scale = DiagonalScale.from_data(x, std).log_scale
        self.log_scale.copy_(-log_scale if inverse else log_scale)
        return (self.decode if inverse else self.encode)(x)[0]


def _with(transform: _T, name: str, value: Tensor) -> _T:
    with torch.no_grad():
        transform.get_parameter(name).copy_(value.flatten())
    return transform

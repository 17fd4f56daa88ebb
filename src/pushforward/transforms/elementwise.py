"""A monotone map for each dimension, with parameters of its own: no network.

    z_i = g(x_i; params_i),      ladj = sum_i log dg/dx_i

With a map that has no parameters it is a fixed change of scale: `Inverse(Elementwise(shape, Exp()))` takes the
logarithm of positive data. With a spline it is one layer of Gaussianization; with `HeavyTail` it gives each
dimension the tails of its data, above and below.
"""

import math

import torch
from torch import Tensor, nn

from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.monotone import Monotone, spread_out
from pushforward.transforms.transform import Transform


class Elementwise(Transform):
    """One monotone map for each number of an event; parameters start at 0.

    Args:
        shape: the event's shape.
        monotone: the map.

    >>> from pushforward.transforms import Affine
    >>> Elementwise((2,), Affine()).encode(torch.tensor([[1.0, 2.0]]))[0]
    tensor([[1., 2.]], grad_fn=...)
    """

    def __init__(self, shape: tuple[int, ...], monotone: Monotone):
        super().__init__()
        self.shape, self.monotone = tuple(shape), monotone
        # flat, so that weight decay leaves it alone
        self.params = nn.Parameter(torch.zeros(monotone.size * math.prod(shape))) if monotone.size else None

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.monotone.encode(x, self._params(x))
        return z, ladj.flatten(1).sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        x, ladj = self.monotone.decode(z, self._params(z))
        return x, ladj.flatten(1).sum(1)

    def _params(self, x: Tensor) -> Tensor:
        """[*shape, size]; the axis of the batch is broadcast."""
        if self.params is None:
            return x.new_zeros(*self.shape, 0)
        each = spread_out(self.params[None], math.prod(self.shape), self.monotone)
        return each.reshape(*self.shape, self.monotone.size)

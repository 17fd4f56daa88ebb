"""One monotone map after another, as one: z = g_2(g_1(x; m_1); m_2) with both sets of parameters from one network.

An affine map before a spline puts what the spline bends where its knots are, given whatever comes before: a spline
alone is the identity beyond its knots, and cannot move there.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from pushforward.transforms.monotone import Monotone, Pair


@dataclass(frozen=True)
class Composed(Monotone):
    """`first`, then `second`, from data to noise; their parameters stand one after the other.

    >>> import torch
    >>> from pushforward.transforms.monotone import Additive
    >>> Composed(Additive(), Additive()).encode(torch.tensor([1.0]), torch.tensor([[2.0, 3.0]]))
    (tensor([6.]), tensor([0.]))
    """

    first: Monotone
    second: Monotone

    @property
    def size(self) -> int:
        return self.first.size + self.second.size

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        one, two = params.split([self.first.size, self.second.size], -1)
        y, ladj = self.first.encode(x, one)
        z, more = self.second.encode(y, two)
        return z, ladj + more

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        one, two = params.split([self.first.size, self.second.size], -1)
        y, ladj = self.second.decode(z, two)
        lost = y.isnan() & ladj.isneginf()  # beyond the second's range: no number, and density 0
        x, more = self.first.decode(y.masked_fill(lost, 0.0), one)
        return x.masked_fill(lost, math.nan), ladj + more

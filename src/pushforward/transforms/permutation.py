"""Orders of the numbers of an event. Volume is kept: ladj = 0.

    z[i] = x[order[i]]        over the event laid out flat, whatever its shape

An order is a weight in the sense that matters for a file: a flow trained with one order is another flow with
another. So it is stored with the parameters (as whole numbers, which no change of precision can spoil).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform


class Permutation(Transform):
    """A fixed order of the numbers of an event.

    Args:
        order: where each output comes from, [n]; n numbers in an event, of any shape.

    Raises:
        ConfigError: `order` is not a permutation of 0..n-1.

    >>> Permutation([2, 0, 1]).encode(torch.tensor([[10.0, 11.0, 12.0]]))[0]
    tensor([[12., 10., 11.]])
    """

    order: Tensor

    def __init__(self, order: Tensor | Sequence[int]):
        super().__init__()
        order = torch.as_tensor(order, dtype=torch.int64).clone()
        if order.ndim != 1 or not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
            fix = "Give the source of each output, as torch.randperm(n) does."
            raise ConfigError(explain("an order holding each of 0..n-1 once", f"{order.tolist()}", fix))
        self.register_buffer("order", order)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return x.flatten(1).index_select(1, self.order).reshape(x.shape), x.new_zeros(len(x))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        flat = z.flatten(1).index_select(1, self.order.argsort())
        return flat.reshape(z.shape), z.new_zeros(len(z))


def reverse(n: int) -> Permutation:
    """Last first: NICE exchanges the halves of an event so."""
    return Permutation(torch.arange(n).flip(0))


def tile(n: int) -> Permutation:
    """The even places, then the odd: neighbours fall in different halves (the first step of NICE)."""
    return Permutation(torch.cat([torch.arange(0, n, 2), torch.arange(1, n, 2)]))


def shuffle(n: int, seed: int = 0) -> Permutation:
    """A random order, the same for the same seed on every machine."""
    return Permutation(Draw(seed, "transforms/shuffle").permutation(n))

"""The same numbers in another shape. Volume is kept: ladj = 0."""

import math

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform


class Reshape(Transform):
    """Events of shape `before` as events of shape `after`, row by row.

    The transforms of this room take events of any shape; this one is for those of other people.

    Args:
        before: the shape of data.
        after: the shape handed on.

    Raises:
        ConfigError: the two shapes hold different counts of numbers.

    >>> import torch
    >>> Reshape((1, 2, 2), (4,)).encode(torch.zeros(3, 1, 2, 2))[0].shape
    torch.Size([3, 4])
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]):
        super().__init__()
        if math.prod(before) != math.prod(after):
            got = f"{tuple(before)} ({math.prod(before)}) and {tuple(after)} ({math.prod(after)})"
            raise ConfigError(explain("two shapes of equally many numbers", got, "Give both in full, without -1."))
        self.before, self.after = tuple(before), tuple(after)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _reshape(x, self.before, self.after), x.new_zeros(len(x))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return _reshape(z, self.after, self.before), z.new_zeros(len(z))


def flatten(shape: tuple[int, ...]) -> Reshape:
    """Events of this shape as vectors."""
    return Reshape(shape, (math.prod(shape),))


def _reshape(x: Sample, before: tuple[int, ...], after: tuple[int, ...]) -> Sample:
    if tuple(x.shape[1:]) != before:
        fix = "Give a batch of events, the batch first."
        raise ShapeError(explain(f"events of shape {before}", f"a tensor of shape {tuple(x.shape)}", fix))
    return x.reshape(len(x), *after)

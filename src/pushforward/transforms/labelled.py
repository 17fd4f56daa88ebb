"""Transforms that read a vector, told a class: context k of K classes becomes the k-th of K unit vectors."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pushforward._derivatives import transformed
from pushforward._errors import ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform


class Labelled(Transform):
    """A transform whose context is a vector of length `classes`, given class indices instead.

    Args:
        transform: what reads the vector.
        classes: how many; index `classes`, or no index, is the zero vector, "no class".
    """

    def __init__(self, transform: Transform, classes: int):
        super().__init__()
        self.transform, self.classes = transform, classes

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self.transform.encode(x, self.vector(x, context))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self.transform.decode(z, self.vector(z, context))

    def vector(self, x: Sample, context: Context) -> Context:
        """What the transform within is given, [batch, classes]."""
        if context is None:
            return x.new_zeros(len(x), self.classes)
        return unit_vectors(context, self.classes).to(x.dtype)


def unit_vectors(context: Tensor, classes: int) -> Tensor:
    """[batch, classes] of class indices [batch]; of index `classes` zeros.

    >>> unit_vectors(torch.tensor([1, 2]), 2).tolist()
    [[0, 1], [0, 0]]
    """
    each = indices(context)
    if transformed():  # where torch's own looks at numbers, which cannot be had there
        return (each[:, None] == torch.arange(classes, device=context.device)).long()
    return one_hot(each, classes + 1)[:, :classes]


def indices(context: Tensor) -> Tensor:
    """A context of classes, as whole numbers.

    Raises:
        ShapeError: anything else than one for each sample.
    """
    if context.ndim == 1:
        return context.long()
    got, fix = f"one of shape {list(context.shape)}", "Give the index of its class for each sample."
    raise ShapeError(explain("a context of class indices [batch]", got, fix))

"""Transforms that read a vector, told a class: context k of K classes becomes the k-th of K unit vectors."""

from pushforward._classes import unit_vectors
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

"""A context of classes: an index for each sample, or its unit vector. Index K of K classes is "no class"."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pushforward._derivatives import transformed
from pushforward._errors import ShapeError, explain


def indices(context: Tensor) -> Tensor:
    """The classes, [batch] of int64.

    Raises:
        ShapeError: anything else than a whole number for each sample.
    """
    if context.ndim == 1 and not context.is_floating_point() and not context.is_complex():
        return context.long()
    got, fix = f"one of shape {list(context.shape)} and {context.dtype}", "Give whole numbers, one for each sample."
    raise ShapeError(explain("a context of class indices [batch]", got, fix))


def unit_vectors(context: Tensor, classes: int) -> Tensor:
    """[batch, classes] of class indices [batch]; of index `classes` zeros.

    >>> unit_vectors(torch.tensor([1, 2]), 2).tolist()
    [[0, 1], [0, 0]]
    """
    each = indices(context)
    if torch.compiler.is_compiling() or transformed():  # where torch's own looks at numbers, which cannot be had there
        return (each[:, None] == torch.arange(classes, device=context.device)).long()
    return one_hot(each, classes + 1)[:, :classes]

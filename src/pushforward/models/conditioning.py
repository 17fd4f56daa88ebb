"""What a model is conditioned on, as far as its parts say; and one row of it for all samples.

    part                                                      one row of its context
    what counts `classes`: `Labelled`, `Condition`, bases     a whole number below it, or the count itself: "no class"
    networks that were made with context=k                    a vector of k numbers
    others                                                    not known; their contexts are taken as they are

Whatever a model is asked, its context has a row for each sample, or a single one, which then is the row of all.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward._errors import ShapeError, explain
from pushforward._typing import Context
from pushforward.nets import (
    CausalTransformer,
    ConcatSquash,
    Condition,
    Contraction,
    Convolutions,
    Dense,
    MaskedDense,
    ResidualDense,
)
from pushforward.transforms import BlockAutoregressive
from pushforward.transforms.planar import Told


class Row(NamedTuple):
    """The shape of one sample's context; `classes` is how many it counts, 0 for a vector."""

    shape: tuple[int, ...]
    classes: int


class Opaque:
    """A module whose context is not that of the modules within it."""


def row_of(module: object) -> Row | None:
    """One row of the context that a model reads, by the first of its parts that says so; None if none does.

    >>> from pushforward.models import maf
    >>> row_of(maf((2,), 1, 8, context=3)), row_of(maf((2,), 1, 8, classes=3)), row_of(maf((2,), 1, 8))
    (Row(shape=(3,), classes=0), Row(shape=(), classes=3), None)
    """
    if isinstance(module, Opaque):
        return None
    if (own := _own(module)) or not isinstance(module, nn.Module):
        return own
    net = getattr(module, "net", None)  # of a diffusion it may be any callable
    parts = module.children() if net is None or isinstance(net, nn.Module) else (net, *module.children())
    return next((row for part in parts if (row := row_of(part))), None)


def fitted(model: nn.Module, context: Context, n: int) -> Context:
    """The context with a row for each of `n` samples: a single row is that of all.

    Classes are looked at where that costs nothing, on CPUs.

    Raises:
        ShapeError: another number of rows, or a class that the model does not have.
    """
    if context is None:
        return None
    if not context.ndim or len(context) not in (1, n):
        row = row_of(model)
        rest = ", ".join(map(str, context.shape[1:] if row is None else row.shape))
        one, each = (f"[{k}, {rest}]" if rest else f"[{k}]" for k in (1, n))
        fix = "Give one row for all samples, context[None] say, or a row for each."
        raise ShapeError(explain(f"a context {each} or {one} for {n} samples", f"{list(context.shape)}", fix))
    looked_at = context.is_cpu and context.numel() and not (torch.compiler.is_compiling() or transformed())
    if looked_at and not context.is_floating_point():
        _check_classes(row_of(model), context)
    return context if len(context) == n else context.expand(n, *context.shape[1:])


def _check_classes(row: Row | None, context: Tensor) -> None:
    if row is None or not row.classes:
        return
    low, high = int(context.min()), int(context.max())
    if context.ndim != 1 or low < 0 or high > row.classes:
        expected = f"class indices [batch] from 0 to {row.classes - 1}, or {row.classes} for no class"
        got = f"indices from {low} to {high} of shape {list(context.shape)}"
        raise ShapeError(explain(expected, got, "Count classes from 0, or make the model with more classes."))


def _own(module: object) -> Row | None:
    classes = getattr(module, "classes", 0)
    length: object = None
    match module:
        case CausalTransformer():
            classes = 0 if module.label is None else module.label.num_embeddings - 1
            length = module.vector
        case Condition() | MaskedDense() | BlockAutoregressive():
            length = module.length
        case Dense() | ResidualDense() | Convolutions() | ConcatSquash() | Contraction():
            length = module.context
        case Told():
            length = module.conditioner
        case _:
            pass
    length = length.in_features if isinstance(length, nn.Linear) else length
    if isinstance(classes, int) and classes > 0:
        return Row((), classes)
    return Row((length,), 0) if isinstance(length, int) and length > 0 else None

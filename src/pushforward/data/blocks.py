"""Parts that stand class by class, mixed.

The first n events of a part stand for all of it, in floors, in pairs with real data and in likelihoods of some. Where
one class comes after the other they stand for one class alone. Such a part is put in an order drawn once and for all,
and `split` remembers where each event stood. What is too large to be copied is only spoken of.
"""

import warnings
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pushforward._errors import explain
from pushforward._random import Draw
from pushforward.data.dataset import Dataset

LARGE: Final = 2**28
"""Bytes that are never copied, and so not shuffled."""


def mixed(data: Dataset) -> Dataset:
    """The same events, a part whose classes come one after the other in another order; others as they are.

    >>> from pushforward.data import from_parts
    >>> classes = torch.arange(20) // 10
    >>> data = from_parts(torch.rand(20, 1), torch.rand(4, 1), classes.numpy(), classes[::5].numpy())
    >>> sorted(set(data.context[:8].tolist()))
    [0, 1]
    """
    order, behind = _order(data.values, data.context, "parts"), _order(data.held_out, data.held_out_context, "held out")
    if data.context is None or data.held_out_context is None or (order is None and behind is None):
        return data
    order = torch.arange(len(data.values)) if order is None else order
    behind = torch.arange(len(data.held_out)) if behind is None else behind
    return replace(
        data,
        values=data.values[order],
        context=data.context[order],
        held_out=data.held_out[behind],
        held_out_context=data.held_out_context[behind],
        places=None if data.places is None else data.places.some(order.numpy()),
        split=torch.cat([order, len(order) + behind]),
    )


def warn_of_blocks(classes: Tensor, name: str) -> None:
    """Say so where those that are held out, the last, are of one class."""
    if _in_blocks(classes):
        expected, got = f"classes mixed in {name}, which is too large to be shuffled", "one class after the other"
        fix = "Shuffle its rows and classes once, and save them; the last are held out."
        warnings.warn(explain(expected, got, fix), stacklevel=3)


def _order(rows: Tensor, classes: Tensor | None, part: str) -> Tensor | None:
    """An order in which the classes mix, of a part that has them in blocks and may be copied."""
    if classes is None or rows.numel() * rows.element_size() > LARGE or not _in_blocks(classes):
        return None
    return Draw(0, part).permutation(len(rows))


def _in_blocks(classes: Tensor) -> bool:
    """Whether each class comes once, and all of it, in more rows than chance would have it so."""
    seen = len(classes.unique())
    return len(classes) > 2 * seen > 2 and 1 + int((classes[1:] != classes[:-1]).sum()) == seen

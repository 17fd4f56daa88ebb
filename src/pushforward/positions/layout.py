"""Layouts as permutations of weights: conversion without loss, and finding out which one a checkpoint has.

Row c of a head's query and key projection is feature c. In layout "half" the pairs are (c, c + r/2), in "interleaved"
(2c, 2c + 1), so the permutation of rows

    new[2c] = old[c],   new[2c + 1] = old[c + r/2]

turns weights of the first into weights of the second with the same scores, bit for bit up to the order of a sum.
Biases and the weights of query and key norms are permuted alike. Values and outputs are not touched.

A wrong layout is not an error but a worse model, so it cannot be seen in shapes or names. What can be seen is the loss
of the model under each (`detect_layout`): two passes over a few sentences settle it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain

Layout = Literal["interleaved", "half"]


def convert_layout(weight: Tensor, features: int, source: Layout, target: Layout, fraction: float = 1.0) -> Tensor:
    """A query or key weight (or bias, or norm weight) of one layout, re-ordered for the other. Lossless.

    Args:
        weight: [heads * features, ...]: the rows of a projection, or a vector of that length.
        features: the size of one head.
        source: the layout the weight was trained with.
        target: the layout wanted.
        fraction: the part of each head that is rotated.

    Returns:
        A tensor of the same shape; scores computed from it in the target layout equal the old ones.

    >>> convert_layout(torch.arange(4), 4, "half", "interleaved")
    tensor([0, 2, 1, 3])
    """
    check_layout(source)
    check_layout(target)
    if weight.shape[0] % features:
        raise ShapeError(explain(
            f"rows in multiples of the head size {features}", f"{weight.shape[0]} rows",
            "Pass the head size.",
        ))  # fmt: skip
    if source == target:
        return weight
    r = rotated_features(features, fraction)
    order = torch.arange(features, device=weight.device)
    pairs = order[:r].unflatten(0, (2, -1) if source == "half" else (-1, 2)).T.flatten()
    order = torch.cat([pairs, order[r:]])
    return weight.unflatten(0, (-1, features))[:, order].flatten(0, 1)


def detect_layout(loss: Callable[[Layout], float], margin: float = 0.02) -> Layout | None:
    """The layout under which a model is right, from its loss under both; None if that does not tell.

    Use a few texts long enough that positions matter (hundreds of tokens), and a model that was trained: with random
    weights, with one token, or with a model that ignores positions, both losses are equal and the answer is None.

    Args:
        loss: the mean loss of the model in a layout, in any unit.
        margin: how much lower, relative to the higher one, a loss must be to count as an answer.

    >>> detect_layout({"interleaved": 7.9, "half": 2.1}.get)
    'half'
    """
    losses: Mapping[Layout, float] = {layout: float(loss(layout)) for layout in get_args(Layout)}
    if not all(math.isfinite(value) for value in losses.values()):
        return None
    better, worse = sorted(losses, key=lambda layout: losses[layout])
    return better if losses[worse] - losses[better] > margin * abs(losses[worse]) else None


def rotated_features(features: int, fraction: float = 1.0) -> int:
    """How many features of a head are rotated: int(fraction * features), which must be even and positive."""
    rotated = int(fraction * features)
    if rotated < 2 or rotated % 2 or rotated > features:
        raise ConfigError(explain(
            "an even number of rotated features, at least 2 and at most the head size",
            f"{rotated} (head size {features}, fraction {fraction:g})",
            "Choose width / heads and fraction so that their product is even.",
        ))  # fmt: skip
    return rotated


def check_layout(layout: str) -> None:
    """Refuse a layout that does not exist."""
    if layout not in get_args(Layout):
        raise ConfigError(explain("layout 'interleaved' or 'half'", repr(layout), "Choose one of the two."))

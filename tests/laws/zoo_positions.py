"""Every position encoding, as a constructor from (tokens, width of a token)."""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.positions import (
    Axial,
    Biases,
    Embeds,
    Learned,
    Position,
    Rotary,
    Scores,
    Sinusoidal,
    Unordered,
    Values,
    grid,
)

POSITIONS: dict[str, Callable[[int, int], Position]] = {
    "axial": lambda tokens, width: Axial(),
    "axial-3d": lambda tokens, width: Axial(axes=3),
    "axial-half": lambda tokens, width: Axial(layout="half"),
    "learned": lambda tokens, width: Learned(tokens, width, std=1.0).double(),
    "rotary": lambda tokens, width: Rotary(),
    "rotary-half": lambda tokens, width: Rotary(layout="half"),
    "rotary-partial": lambda tokens, width: Rotary(fraction=0.5),
    "sinusoidal": lambda tokens, width: Sinusoidal(),
    "sinusoidal-half": lambda tokens, width: Sinusoidal(layout="half"),
    "unordered": lambda tokens, width: Unordered(),
}

HOOKS = (Biases, Scores, Values)


def positions(position: Position, tokens: int) -> Tensor:
    """The first positions an encoding may get: 0, 1, 2, ... or the first points of a square or cube."""
    axes = position.properties.axes
    return torch.arange(tokens) if axes == 1 else grid(*[tokens] * axes)[torch.arange(tokens) * (tokens + 1)]


def embedded(position: Position, x: Tensor, pos: Tensor) -> Tensor:
    """What a net does before its first layer."""
    return position.embed(x, pos) if isinstance(position, Embeds) else x

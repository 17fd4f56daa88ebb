"""Every position encoding, as a constructor from (tokens, width of a token)."""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.positions import (
    NTK,
    Axial,
    Biases,
    CustomRotary,
    DynamicNTK,
    Embeds,
    Interpolation,
    Learned,
    Llama3,
    LongRoPE,
    Mixed,
    Multimodal,
    Polar,
    Position,
    Proportional,
    ReRoPE,
    Rotary,
    Scores,
    Sinusoidal,
    Unordered,
    Values,
    XPos,
    YaRN,
    grid,
)

HEADS = 4

POSITIONS: dict[str, Callable[[int, int], Position]] = {
    "axial": lambda tokens, width: Axial(),
    "axial-3d": lambda tokens, width: Axial(axes=3),
    "axial-half": lambda tokens, width: Axial(layout="half"),
    "axial-sizes": lambda tokens, width: Axial(sizes=(2, width // HEADS - 2)),
    "custom": lambda tokens, width: CustomRotary((0.3, 1e-3, 7.0)),
    "custom-2d": lambda tokens, width: CustomRotary((0.3, 1e-3, 7.0), axis=(1, 0, 1)),
    "learned": lambda tokens, width: Learned(tokens, width, std=1.0).double(),
    "mixed": lambda tokens, width: Mixed(HEADS, width // HEADS).double(),
    "mixed-1d": lambda tokens, width: Mixed(HEADS, width // HEADS, axes=1, base=100.0, layout="half").double(),
    "mixed-3d": lambda tokens, width: Mixed(HEADS, width // HEADS, axes=3).double(),
    "multimodal": lambda tokens, width: Multimodal((2, 2, width // HEADS // 2 - 4)),
    "multimodal-interleaved": lambda tokens, width: Multimodal((2, 1, 1), interleaved=True),
    "polar": lambda tokens, width: Polar(HEADS, width // HEADS).double(),
    "rerope": lambda tokens, width: ReRoPE(window=3),
    "rerope-scaled": lambda tokens, width: ReRoPE(window=3, trained=4, fraction=0.5, layout="half"),
    "rotary": lambda tokens, width: Rotary(),
    "rotary-half": lambda tokens, width: Rotary(layout="half"),
    "rotary-partial": lambda tokens, width: Rotary(fraction=0.5),
    "rotary-dynamic": lambda tokens, width: Rotary(extension=DynamicNTK(2.0, trained=4, length=9)),
    "rotary-interpolated": lambda tokens, width: Rotary(extension=Interpolation(2.0)),
    "rotary-llama3": lambda tokens, width: Rotary(extension=Llama3(trained=64)),
    "rotary-long": lambda tokens, width: Rotary(extension=LongRoPE((1.0,) * 6, (1.0, 1.5, 2.0, 3.0, 4.0, 4.0), 4, 8)),
    "rotary-ntk": lambda tokens, width: Rotary(extension=NTK(4.0)),
    "rotary-proportional": lambda tokens, width: Rotary(extension=Proportional(0.5)),
    "rotary-yarn": lambda tokens, width: Rotary(extension=YaRN(4.0, trained=64)),
    "sinusoidal": lambda tokens, width: Sinusoidal(),
    "sinusoidal-half": lambda tokens, width: Sinusoidal(layout="half"),
    "unordered": lambda tokens, width: Unordered(),
    "xpos": lambda tokens, width: XPos(),
}

HOOKS = (Biases, Scores, Values)


def positions(position: Position, tokens: int) -> Tensor:
    """The first positions an encoding may get: 0, 1, 2, ... or the first points of a square or cube."""
    axes = position.properties.axes
    return torch.arange(tokens) if axes == 1 else grid(*[tokens] * axes)[torch.arange(tokens) * (tokens + 1)]


def embedded(position: Position, x: Tensor, pos: Tensor) -> Tensor:
    """What a net does before its first layer."""
    return position.embed(x, pos) if isinstance(position, Embeds) else x

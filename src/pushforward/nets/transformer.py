"""A Transformer told the time by adaptive normalisation (DiT), over image patches or sequences.

    c = SiLU(time(t) + class(context))
    h <- h + g1(c) * attention((1 + a1(c)) * norm(h) + b1(c))
    h <- h + g2(c) * network((1 + a2(c)) * norm(h) + b2(c))

All a, b, g start at zero and so does the last layer: every block is the identity and the output is 0 at the
start (adaLN-zero). The modulations of all layers are one matrix product on [batch, width], small beside
the tokens. Positions are made from the shape, passed explicitly, and turned into a rotation or a bias once per call.

References: Peebles & Xie 2022, DiT, arXiv 2212.09748; Su et al. 2021, RoFormer, arXiv 2104.09864.
"""

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time, Tokens
from pushforward.nets.attention import Attention, check_width
from pushforward.nets.condition import Condition, check_event, zero
from pushforward.nets.derivatives import normalise
from pushforward.nets.feature_maps import FeatureMap, of_layer
from pushforward.nets.linear_attention import LinearAttention, check_linear
from pushforward.nets.time import FASTEST
from pushforward.positions import Axial, Embeds, Placed, Position, Rotary, Unordered, grid, place


class Block(nn.Module):
    """One layer: attention and a two-layer network, each modulated and gated by the condition."""

    def __init__(
        self, width: int, heads: int, expansion: int = 4, causal: bool = False, map: FeatureMap | None = None
    ) -> None:
        super().__init__()
        nothing = Unordered()  # given `placed`
        linear = None if map is None else LinearAttention(width, heads, nothing, map, causal)
        self.attention = linear or Attention(width, heads, nothing, causal)
        self.network = nn.Sequential(
            nn.Linear(width, expansion * width), nn.SiLU(), nn.Linear(expansion * width, width)
        )

    def forward(self, h: Tokens, modulation: Tensor, placed: Placed, mask: Tensor | None = None) -> Tokens:
        """One layer; modulation is [batch, 6, 1, width]: scale, shift, gate, twice."""
        a1, b1, g1, a2, b2, g2 = modulation.unbind(1)
        h = torch.addcmul(h, g1, self.attention(modulate(h, a1, b1), placed.pos, mask, placed))
        return torch.addcmul(h, g2, self.network(modulate(h, a2, b2)))


def modulate(h: Tokens, scale: Tensor, shift: Tensor) -> Tokens:
    """(1 + scale) * norm(h) + shift, the norm without parameters of its own."""
    return torch.addcmul(shift, normalise(h), scale + 1)


class Transformer(nn.Module):
    """A field net on images (C, H, W) or sequences (tokens, features).

    Args:
        shape: shape of one event.
        position: the encoding; None takes `Axial` for images and `Rotary` for sequences. An encoding with two
            axes gets (row, column) of each patch, one with one axis gets its index.
        width: size of a token.
        layers: how many blocks.
        heads: heads per block; width must be divisible by it.
        patch: side of a patch in pixels; None takes the smallest above 1 that leaves at most 64 tokens.
        classes: number of classes context may name; 0 means unconditional. Index `classes` means "no class".
        context: length of a context vector instead of classes, 0 for none.
        expansion: hidden size of a block's network as a multiple of width.
        causal: a token sees only itself and the tokens before it.
        attention: a feature map makes attention linear (`linear_attention.py`); None is softmax.
        fastest: cycles of the fastest wave that tells the time; 2 to 4 for a model whose d/dt is to be learned from.

    References:
        Peebles & Xie 2022, arXiv 2212.09748.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        position: Position | None = None,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        patch: int | None = None,
        classes: int = 0,
        context: int = 0,
        expansion: int = 4,
        causal: bool = False,
        attention: FeatureMap | None = None,
        fastest: float = FASTEST,
    ) -> None:
        super().__init__()
        check_width(width, heads)
        self.shape = tuple(shape)
        self.patch = patch_side(self.shape, patch)
        self.width, self.layers, self.heads = width, layers, heads
        self.position = position if position is not None else Axial() if len(self.shape) == 3 else Rotary()
        features = self.shape[1] if len(self.shape) == 2 else self.shape[0] * self.patch**2
        self.enter = nn.Linear(features, width)
        self.condition = Condition(width, classes, context, fastest)
        self.modulation = nn.Linear(width, (6 * layers + 2) * width)
        maps = [attention and of_layer(attention, layer) for layer in range(layers)]
        self.blocks = nn.ModuleList(Block(width, heads, expansion, causal, map) for map in maps)
        self.turned = width // heads if attention is None else attention.size(width // heads)
        self.leave = nn.Linear(width, features)
        if attention is not None:
            check_linear(self.position)
        self._check_position(causal)
        _initialise(self)

    def forward(self, x: Sample, t: Time, context: Context = None, leap: Time | None = None) -> Sample:
        """The field at (x, t), [batch, *shape].

        Args:
            x: [batch, *shape].
            t: times, [batch].
            context: class indices [batch] in 0..classes, vectors [batch, context], or None.
            leap: how far a flow map jumps (`two_times`), [batch]; None is 0.
        """
        check_event(x, t, self.shape)
        pos = self.positions(x.device)
        h = self.enter(patches(x, self.patch) if len(self.shape) == 3 else x)
        if isinstance(self.position, Embeds):
            h = self.position.embed(h, pos)
        placed = place(self.position, pos, self.turned, h.dtype)
        condition = nn.functional.silu(self.condition(t, context, len(x), leap))
        modulation = self.modulation(condition).unflatten(-1, (-1, 1, self.width))
        each, last = modulation.split([6 * self.layers, 2], 1)
        for block, own in zip(self.blocks, each.chunk(self.layers, 1), strict=True):
            h = block(h, own, placed)
        h = self.leave(modulate(h, *last.unbind(1)))
        return unpatches(h, self.shape, self.patch) if len(self.shape) == 3 else h

    def _check_position(self, causal: bool) -> None:
        properties, name = self.position.properties, type(self.position).__name__
        if properties.axes not in ((1,) if len(self.shape) == 2 else (1, 2)):
            raise ConfigError(explain(
                f"an encoding for {'sequences (1 axis)' if len(self.shape) == 2 else 'images (1 or 2 axes)'}",
                f"{name} with {properties.axes} axes", "Use Rotary() for sequences, Axial() for images.",
            ))  # fmt: skip
        if causal and properties.reads == "around":
            raise ConfigError(explain(
                "an encoding that reads no later tokens in a causal net", name, "Make it causal, or use Rotary().",
            ))  # fmt: skip
        if properties.causal_only and not causal:
            raise ConfigError(explain(
                "causal=True for an encoding of the past", f"{name} in a net that sees both ways",
                "Set causal=True, or use Rotary().",
            ))  # fmt: skip
        place(self.position, self.positions(), self.turned, torch.float32).check_heads(self.heads)

    def positions(self, device: torch.device | None = None) -> Tensor:
        """Where the tokens of one event stand: [tokens], or [tokens, 2] if the encoding has two axes."""
        if len(self.shape) == 2:
            return torch.arange(self.shape[0], device=device)
        rows, columns = self.shape[1] // self.patch, self.shape[2] // self.patch
        if self.position.properties.axes == 1:
            return torch.arange(rows * columns, device=device)
        return grid(rows, columns, device=device)


def patches(x: Tensor, side: int) -> Tokens:
    """Images [batch, channels, rows, columns] as tokens [batch, patches, channels * side**2], row by row."""
    tiles = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatches(h: Tokens, shape: tuple[int, ...], side: int) -> Tensor:
    """The inverse of `patches`."""
    channels, rows, columns = shape
    tiles = h.reshape(len(h), rows // side, columns // side, channels, side, side)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(h), channels, rows, columns)


def patch_side(shape: tuple[int, ...], patch: int | None = None) -> int:
    """The side of a patch: the one asked for, or the smallest above 1 that leaves at most 64 of them."""
    if len(shape) == 2:
        return 1
    if len(shape) != 3:
        raise ShapeError(explain(
            "an event shape (channels, rows, columns) or (tokens, features)", f"{shape}",
            "Use nets.MLP for vectors.",
        ))  # fmt: skip
    _, rows, columns = shape
    sides = [s for s in range(1, max(rows, columns) + 1) if rows % s == 0 == columns % s]
    if patch is None:
        return next((s for s in sides if s > 1 and rows * columns <= 64 * s * s), sides[-1])
    if patch not in sides:
        raise ConfigError(explain(
            f"a patch that divides {rows} x {columns} ({', '.join(map(str, sides))})", str(patch),
            "Choose one of these.",
        ))  # fmt: skip
    return patch


def _initialise(net: Transformer) -> None:
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("position."):  # encodings start themselves
            for part in module.weight.chunk(3 if name.endswith("qkv") else 1):  # three matrices in one
                nn.init.xavier_uniform_(part)
            nn.init.zeros_(module.bias)
    if net.condition.label is not None:
        nn.init.normal_(net.condition.label.weight, std=0.02)
    zero(net.modulation)
    zero(net.leave)

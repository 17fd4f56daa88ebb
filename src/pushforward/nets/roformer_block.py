"""One block of a RoFormer: attention, attention to a memory, and a network, each added and then normalised.

    q, k   = R Q h, R K h          turned by where the tokens stand; linear attention turns their features instead
    h     <- norm(h + O attention(q, k, V h))
    h     <- norm(h + O attention(Q h, K m, V m))        with a memory m
    h     <- norm(h + D act(U h))

What was read before is handed in, and what may be kept is handed out: nothing is stored here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward._typing import Heads, Tokens
from pushforward.nets.attention import attend
from pushforward.nets.feature_maps import FeatureMap, of_layer
from pushforward.nets.linear_attention import linear_attention, linear_extend
from pushforward.nets.roformer_config import RoFormerConfig
from pushforward.nets.roformer_heads import ACTIVATIONS, PostNorm
from pushforward.nets.running_sums import Summed
from pushforward.positions import Placed, Rotation

Pair = tuple[Heads, Heads]
"""Keys and values of one layer."""

Past = Pair | Summed
"""What a layer keeps of the tokens read: themselves or, with linear attention, their sums."""


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """What every layer shares: positions as a rotation, and who sees whom."""

    turn: Rotation
    placed: Placed
    turns_values: bool
    mask: Tensor | None
    causal: bool
    keep: bool
    memory: Tokens | None
    memory_mask: Tensor | None


class Mixing(nn.Module):
    """Attention of tokens to their own past, or to a memory, with what may be kept of it."""

    def __init__(self, config: RoFormerConfig, layer: int = 0) -> None:
        super().__init__()
        self.heads, self.biased = config.heads, config.bias
        self.map = config.attention and of_layer(config.attention, layer)
        self.qkv = nn.Linear(config.width, 3 * config.width, config.bias)
        self.out = nn.Linear(config.width, config.width, config.bias)

    def own(self, h: Tokens, around: Around, past: Past | None) -> tuple[Tokens, Past]:
        """What tokens hear from each other and from those before them."""
        q, k, v = self._split(self.qkv(h), 3)
        if self.map is not None:
            assert not isinstance(past, tuple)
            heard, kept = _linear(q, k, v, around, self.map, past)
            return self.out(heard.transpose(1, 2).flatten(2)), kept
        assert not isinstance(past, Summed)
        if around.turns_values:
            q, both = around.turn(q, torch.cat([k, v], 1))
            k, v = both.chunk(2, 1)
        else:
            q, k = around.turn(q, k)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        heard = attend(q, k, v, around.placed, around.mask, around.causal)
        return self.out(heard.transpose(1, 2).flatten(2)), (k, v)

    def other(self, h: Tokens, around: Around, known: Pair | None) -> tuple[Tokens, Pair]:
        """What tokens hear from the memory."""
        sizes = [h.shape[-1], 2 * h.shape[-1]]
        weights = self.qkv.weight.split(sizes)
        biases = self.qkv.bias.split(sizes) if self.biased else (None, None)
        (q,) = self._split(functional.linear(h, weights[0], biases[0]), 1)
        if known is None:
            assert around.memory is not None
            k, v = self._split(functional.linear(around.memory, weights[1], biases[1]), 2)
            known = (k, v)
        heard = attend(q, *known, around.placed, around.memory_mask)
        return self.out(heard.transpose(1, 2).flatten(2)), known

    def _split(self, x: Tensor, parts: int) -> tuple[Heads, ...]:
        return tuple(z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in x.chunk(parts, -1))


class Block(nn.Module):
    """Attention, to a memory too, and a two-layer network, each added and then normalised."""

    def __init__(self, config: RoFormerConfig, layer: int) -> None:
        super().__init__()
        self.attention, self.attention_norm = Mixing(config, layer), PostNorm(config.width, config)
        self.cross = Mixing(config) if config.cross else None
        self.cross_norm = PostNorm(config.width, config) if config.cross else None
        self.up = nn.Linear(config.width, config.hidden, config.bias)
        self.down = nn.Linear(config.hidden, config.width, config.bias)
        self.network_norm = PostNorm(config.width, config)
        self.activation = ACTIVATIONS[config.activation]

    def forward(
        self, h: Tokens, around: Around, past: Past | None, known: Pair | None
    ) -> tuple[Tokens, Past, Pair | None]:
        heard, own = self.attention.own(h, around, past)
        h = self.attention_norm(h + heard)
        if self.cross is not None and self.cross_norm is not None and (known or around.memory is not None):
            heard, known = self.cross.other(h, around, known)
            h = self.cross_norm(h + heard)
        return self.network_norm(h + self.down(self.activation(self.up(h)))), own, known


def _linear(q: Heads, k: Heads, v: Heads, around: Around, map: FeatureMap, past: Summed | None) -> tuple[Heads, Past]:
    """Linear attention; what is kept without being asked for is what it was made of."""
    if around.keep:
        return linear_extend(q, k, v, around.placed, map, past, around.mask)
    return linear_attention(q, k, v, around.placed, map, around.mask, None, around.causal), (k, v)

"""An encoding on the bench: between random tokens and attention.

    h = embed(x, pos),    q, k, v = h W_q, h W_k, h W_v,    out = attend(q, k, v, place(encoding, pos))

Tokens and projections are the same at every call, so that two runs differ in what they are told alone.
"""

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pushforward._random import Draw
from pushforward._typing import Heads, Tokens
from pushforward.positions.placed import Placed, place
from pushforward.positions.position import Embeds, Position


class Attend(Protocol):
    """Attention that takes an encoding: `positions.attention`, `nets.attend`, or one's own."""

    def __call__(self, q: Heads, k: Heads, v: Heads, placed: Placed, mask: Tensor | None = None, /) -> Heads: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """An encoding, the attention it is tried with, and the sizes of the tokens."""

    position: Position
    attend: Attend
    tokens: int
    width: int
    heads: int

    @property
    def pos(self) -> Tensor:
        """Where the tokens stand, [tokens], or [tokens, axes] in rows of 3."""
        index = torch.arange(self.tokens)
        axes = self.position.properties.axes
        digits = [index // 3**power % 3 for power in range(axes - 2, -1, -1)]
        return index if axes == 1 else torch.stack([index // 3 ** (axes - 1), *digits], -1)

    @property
    def x(self) -> Tokens:
        """Two rows of random tokens, [2, tokens, width]."""
        return Draw(0).of("tokens").normal(2, (self.tokens, self.width), torch.float64)

    @property
    def causal(self) -> Tensor | None:
        """The mask all runs have: that of the past, where the encoding is made for it."""
        return self.past if self.position.properties.causal_only else None

    @property
    def past(self) -> Tensor:
        """The mask by which a token sees itself and those before."""
        return torch.ones(self.tokens, self.tokens, dtype=torch.bool).tril()

    def embedded(self, x: Tokens, pos: Tensor) -> Tokens:
        """Tokens with the encoding's marks, if it marks any."""
        return self.position.embed(x, pos) if isinstance(self.position, Embeds) else x

    def heads_of(self, h: Tokens) -> list[Heads]:
        """Queries, keys and values of embedded tokens."""
        weights = Draw(0).of("projections").normal(3, (self.width, self.width), torch.float64) * self.width**-0.5
        return [(h @ w.to(h.dtype)).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in weights]

    def mix(self, h: Tokens, pos: Tensor, mask: Tensor | None = None, new: slice = slice(None)) -> Tokens:
        """Attention of the tokens `new` to all of the embedded tokens h."""
        q, k, v = self.heads_of(h)
        at = pos[..., new, :] if self.position.properties.axes > 1 else pos[..., new]
        placed = place(self.position, at if new != slice(None) else pos, q.shape[-1], q.dtype, pos)
        out = self.attend(q[..., new, :], k, v, placed, None if mask is None else mask[..., new, :])
        return out.transpose(1, 2).flatten(2)

    def run(self, x: Tokens, pos: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens through the encoding and attention, [batch, tokens, width]."""
        n = x.shape[-2]
        seen = None if self.causal is None else self.causal[:n, :n]
        mask = seen if mask is None else mask if seen is None else mask & seen
        return self.mix(self.embedded(x, pos), pos, mask)


def shaken(encoding: Position) -> Position:
    """A copy in float64 with no parameter left where it started."""
    position = copy.deepcopy(encoding)
    if isinstance(position, nn.Module):
        position.to("cpu", torch.float64)
        with torch.no_grad():
            for name, parameter in position.named_parameters():
                noise = Draw(0).of(name).normal(max(1, len(parameter.flatten())), dtype=torch.float64)
                parameter.add_(0.2 * noise.view(parameter.shape))
    return position

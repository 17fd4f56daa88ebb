"""What linear attention remembers: sums over the tokens read so far, whatever their number.

    S_i = sum_{j <= i} (R_j phi(k_j)) v_j^T,   z_i = sum_{j <= i} phi(k_j)
    out_i = S_i^T R_i phi(q_i) / <z_i, phi(q_i)>

Tokens are read in pieces: within a piece every pair is met, what came before is in the sums. So `scan` is three forms,

    piece None     parallel     all pairs at once, memory for T**2
    piece 64       chunked      T / 64 sums at a time: training
    piece 1        recurrent    one token after another: generation

which are equal but for rounding. Rows of several sequences (`segments`) forget their sums where a new one begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward._typing import Heads


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """What a layer remembers of all tokens read, whatever their number.

    Args:
        values: S, [batch, heads, size of the map, features of a value].
        weights: z, [batch, heads, size of the map].
        segment: which segment the last token was of, [batch]; None without segments.
        tokens: how many were read.
    """

    values: Tensor
    weights: Tensor
    segment: Tensor | None
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Answers to queries: numerators [batch, heads, tokens, features] and denominators [batch, heads, tokens, 1]."""

    over: Tensor
    under: Tensor

    def plus(self, other: "Said", sign: int = 1) -> "Said":
        """What both say of the same tokens; without the other's if the sign is -1."""
        return Said(self.over + sign * other.over, self.under + sign * other.under)

    def backwards(self) -> "Said":
        """The same, last token to first."""
        return Said(self.over.flip(-2), self.under.flip(-2))

    def ratio(self, dtype: torch.dtype) -> Heads:
        """The attention; 0 where a query sees no key."""
        return (self.over / torch.where(self.under == 0, 1, self.under)).to(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """Tokens behind the feature map: their features turned (`tq`, `tk`) and not; `tk is k` where nothing turns."""

    q: Tensor
    k: Tensor
    tq: Tensor
    tk: Tensor
    v: Tensor
    segments: Tensor | None

    def met(self, allowed: Tensor | None) -> Said:
        """Every query with every key that it may see."""
        pairs = _kept(self.tq @ self.tk.mT, allowed)
        plain = pairs if self.tk is self.k else _kept(self.q @ self.k.mT, allowed)
        return Said(pairs @ self.v, plain.sum(-1, keepdim=True))

    def itself(self) -> Said:
        """Every query with the key of its own token."""
        return Said((self.tq * self.tk).sum(-1, True) * self.v, (self.q * self.k).sum(-1, True))

    def read(self, state: Summed) -> Said:
        """Every query with the sums, if they are of its segment."""
        over, under = self.tq @ state.values, self.q @ state.weights.unsqueeze(-1)
        if self.segments is None or state.segment is None:
            return Said(over, under)
        mine = (self.segments == state.segment[:, None])[:, None, :, None]
        return Said(over * mine, under * mine)

    def summed(self, state: Summed | None) -> Summed:
        """The sums with these tokens in them: of the last token's segment alone."""
        k, tk, last = self.k, self.tk, None if state is None else state.segment
        if self.segments is not None:
            last = self.segments[:, -1]
            own = (self.segments == last[:, None])[:, None, :, None]
            k, tk = k * own, tk * own
        values, weights, tokens = tk.mT @ self.v, k.sum(-2), self.v.shape[-2]
        if state is None:
            return Summed(values, weights, last, tokens)
        old, z = state.values, state.weights
        if self.segments is not None and last is not None and state.segment is not None:
            goes_on = (state.segment == last)[:, None, None]
            old, z = old * goes_on[..., None], z * goes_on
        return Summed(old + values, z + weights, last, state.tokens + tokens)

    def together(self) -> Tensor | None:
        """Which pairs are of one segment, [batch, 1, tokens, tokens]; None without segments."""
        ids = self.segments
        return None if ids is None else (ids[:, :, None] == ids[:, None, :])[:, None]

    def split(self, piece: int) -> "Iterator[Mapped]":
        """The same tokens, so many at a time."""
        along = [each.split(piece, -2) for each in (self.q, self.k, self.tq, self.tk, self.v)]
        ids = [None] * len(along[0]) if self.segments is None else self.segments.split(piece, -1)
        for q, k, tq, tk, v, own in zip(*along, ids, strict=True):
            yield Mapped(q, k, tq, k if self.tk is self.k else tk, v, own)

    def backwards(self) -> "Mapped":
        """The same tokens, last to first."""
        q, k, tq, tk, v = (each.flip(-2) for each in (self.q, self.k, self.tq, self.tk, self.v))
        turned = replace(self, q=q, k=k, tq=tq, tk=k if self.tk is self.k else tk, v=v)
        return turned if self.segments is None else replace(turned, segments=self.segments.flip(-1))


def scan(tokens: Mapped, state: Summed | None, piece: int | None, keep: bool = False) -> tuple[Said, Summed | None]:
    """Read a row piece by piece; what all say, and the sums in the end if they are kept."""
    count = tokens.v.shape[-2]
    said: list[Said] = []
    for i, part in enumerate(tokens.split(piece or max(count, 1))):
        n = part.v.shape[-2]
        past = torch.ones(n, n, dtype=torch.bool, device=part.v.device).tril()
        same = part.together()
        said.append(part.met(past if same is None else past & same))
        if state is not None:
            said[-1] = said[-1].plus(part.read(state))
        if keep or (i + 1) * (piece or count) < count:
            state = part.summed(state)
    if len(said) == 1:
        return said[0], state
    return Said(torch.cat([each.over for each in said], -2), torch.cat([each.under for each in said], -2)), state


def _kept(pairs: Tensor, allowed: Tensor | None) -> Tensor:
    return pairs if allowed is None else pairs.masked_fill(~allowed, 0.0)

"""Position encodings as at most five hooks, positions always explicit.

    1. embed(x, pos)                    on embedded tokens          learned, sinusoidal, recurrent, convolved
    2. rotation(pos_q, pos_k)           on queries and keys         rotary, FLOATER
    3. bias(pos_q, pos_k)               added to the scores         ALiBi, T5, KERPLE, FIRE
    4. score(q, k, pos_q, pos_k, mask)  content-dependent scores    Shaw, Transformer-XL, DeBERTa, CoPE
    5. value(v, weights, pos_q, pos_k)  added to what is summed     Shaw's value term, FLOATER's

An encoding implements one or more of the hooks; attention asks `isinstance`. Positions are tensors, never
inferred from shapes and never cached in buffers, so packed, left-padded and offset sequences, `.half()` and
the meta device cannot spoil anything. `pos` is [*batch, tokens] for sequences (one axis) or
[*batch, tokens, axes] for grids; whole or fractional.

What depends on the positions alone (the rotation, the bias) is computed once and used by every layer.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pushforward._typing import Heads, Tokens
from pushforward.positions.distance import distances


@dataclass(frozen=True, slots=True)
class Properties:
    """What an encoding promises; `check_encoding` proves each promise numerically.

    Args:
        relative: scores do not change when all positions shift together.
        toeplitz: the bias depends on i - j alone.
        linear_attention: usable where scores are never formed (hooks 1 and 2 only).
        extrapolates: defined at positions never trained on.
        causal_only: meaningful only where a token sees its past.
        fractional: positions need not be whole.
        isometric: turned queries and keys keep their norms.
        composes: turns add up, R_a R_b = R_{a+b}.
        reads: which tokens `embed` looks at: each itself, or also its neighbours before it, or on both sides.
        scale: what <q, k> is multiplied by; None is 1 / sqrt(size of a head).
        axes: how many coordinates a position has.
    """

    relative: bool = False
    toeplitz: bool = False
    linear_attention: bool = True
    extrapolates: bool = True
    causal_only: bool = False
    fractional: bool = True
    isometric: bool = False
    composes: bool = False
    reads: Literal["self", "past", "around"] = "self"
    scale: float | None = None
    axes: int = 1


class Position(abc.ABC):
    """A position encoding. Concrete ones also implement one or more of the hooks below (`Unordered` none)."""

    @property
    @abc.abstractmethod
    def properties(self) -> Properties:
        """What this encoding promises."""


class Embeds(Position):
    """Hook 1: acts on embedded tokens before the first layer."""

    @abc.abstractmethod
    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """Tokens [batch, tokens, width] with their position in them."""


Rotation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Turns queries and keys [batch, heads, tokens, features]; made once, used in every layer."""


class Rotates(Position):
    """Hook 2: acts on queries and keys in every layer."""

    @abc.abstractmethod
    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        """The map of queries and keys at these positions; what it returns may be wider than what it gets.

        Args:
            pos_q: positions of the queries.
            pos_k: positions of the keys.
            features: the size of one head.
            dtype: what queries and keys are in; float64 asks for float64 tables.
        """

    def rotate(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor) -> tuple[Heads, Heads]:
        """Queries and keys [batch, heads, tokens, features], turned by their positions."""
        return self.rotation(pos_q, pos_k, q.shape[-1], q.dtype)(q, k)


class Biases(Position):
    """Hook 3: a content-free term added to the scores."""

    @abc.abstractmethod
    def bias(self, pos_q: Tensor, pos_k: Tensor) -> Tensor:
        """Broadcastable to scores [batch, heads, queries, keys]."""


class Toeplitz(Biases):
    """Hook 3 of one variable: a bias that depends on the distance alone, so that N tokens need 2N - 1 numbers."""

    @abc.abstractmethod
    def by_distance(self, distance: Tensor) -> Tensor:
        """The bias of each head, [heads, *distance.shape].

        Args:
            distance: position of the key minus position of the query, any shape.
        """

    def bias(self, pos_q: Tensor, pos_k: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """[*batch, heads, queries, keys], for any positions, in a dtype that is rounded to before it is spread."""
        values, index = distances(pos_q, pos_k)
        return self.by_distance(values).to(dtype)[:, index].movedim(0, -3)


class Scores(Position):
    """Hook 4: a content-dependent term added to the (already scaled) scores."""

    @abc.abstractmethod
    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        """Broadcastable to scores [batch, heads, queries, keys].

        Args:
            q: queries, [batch, heads, queries, features], after hook 2.
            k: keys.
            pos_q: positions of the queries.
            pos_k: positions of the keys.
            mask: where True, a query may see a key; for encodings that count what is seen (CoPE).
        """


class Values(Position):
    """Hook 5: a term added to what attention sums."""

    @abc.abstractmethod
    def value(self, v: Heads, weights: Tensor, pos_q: Tensor, pos_k: Tensor) -> Heads:
        """What is added to the output [batch, heads, queries, features].

        Args:
            v: values, [batch, heads, keys, features].
            weights: the softmax, [batch, heads, queries, keys].
            pos_q: positions of the queries.
            pos_k: positions of the keys.
        """

"""Attention with an encoding, as it is written: the formula that every quicker way is held to.

    q', k'  = rotation(q, k)                                         hook 2
    scores  = scale <q', k'> + bias(i, j) + score(q', k', i, j)      hooks 3 and 4
    out     = softmax(scores) v + value(v, softmax(scores), i, j)    hook 5

scale is 1 / sqrt(size of a head) before it is turned, unless the encoding says otherwise. What depends on positions
alone is made once (`place`) and shared by all layers. Queries and keys may stand at different positions: a cached
decoder asks with the last tokens alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ShapeError, explain
from pushforward._typing import Heads
from pushforward.positions.distance import consecutive
from pushforward.positions.position import Biases, Position, Rotates, Rotation, Scores, Toeplitz, Values
from pushforward.positions.toeplitz import diagonals, spread


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A position encoding at given positions: what every layer shares.

    Args:
        position: the encoding.
        pos: positions of the queries.
        pos_k: positions of the keys.
        rotation: hook 2 at these positions.
        bias: hook 3 at these positions, [*batch, heads, queries, keys].
        diagonals: hook 3 in its place as one number per diagonal, [heads, queries + keys - 1], where the bias is
            `Toeplitz`, the positions are two rows of consecutive numbers and a processor does the work.
        scale: what <q, k> is multiplied by.
    """

    position: Position
    pos: Tensor
    pos_k: Tensor
    rotation: Rotation | None
    bias: Tensor | None
    diagonals: Tensor | None
    scale: float

    def check_heads(self, heads: int) -> None:
        """Refuse queries with another number of heads than the bias has.

        Raises:
            ShapeError: the numbers differ.
        """
        bias = self.bias if self.diagonals is None else self.diagonals.unsqueeze(-1)
        if bias is not None and bias.ndim > 2 and bias.shape[-3] not in (1, heads):
            name, own = type(self.position).__name__, bias.shape[-3]
            raise ShapeError(explain(
                f"{own} heads, for which {name} was made", f"{heads}", f"Make {name} for {heads} heads.",
            ))  # fmt: skip

    def dense(self) -> Tensor | None:
        """The bias for every pair, however it is kept."""
        return self.bias if self.diagonals is None else spread(self.diagonals, len(self.pos_k)).flip(-2)


def place(position: Position, pos: Tensor, features: int, dtype: torch.dtype, pos_k: Tensor | None = None) -> Placed:
    """Evaluate the hooks that depend on positions alone, once for all layers.

    Args:
        position: the encoding.
        pos: positions of the queries, [*batch, tokens] or [*batch, tokens, axes].
        features: the size of one head.
        dtype: what queries and keys are in.
        pos_k: positions of the keys; None is those of the queries.
    """
    pos_k = pos if pos_k is None else pos_k
    rotation = position.rotation(pos, pos_k, features, dtype) if isinstance(position, Rotates) else None
    bias = along = None
    if isinstance(position, Toeplitz) and consecutive(pos) and consecutive(pos_k):
        along = diagonals(position, len(pos), len(pos_k), int(pos[0] - pos_k[0])).to(dtype)
    elif isinstance(position, Toeplitz):
        bias = position.bias(pos, pos_k, dtype)
    elif isinstance(position, Biases):
        bias = position.bias(pos, pos_k).to(dtype)
    scale = position.properties.scale
    return Placed(position, pos, pos_k, rotation, bias, along, features**-0.5 if scale is None else scale)


def attention(q: Heads, k: Heads, v: Heads, placed: Placed, mask: Tensor | None = None) -> Heads:
    """Softmax attention with any position encoding, as it is written: memory for all pairs, every derivative.

    Args:
        q: queries, [batch, heads, queries, features].
        k: keys, [batch, heads, keys, features].
        v: values.
        placed: the encoding at their positions (`place`).
        mask: where True, a query may see a key; broadcastable to [batch, heads, queries, keys].

    Returns:
        [batch, heads, queries, features].

    Raises:
        ShapeError: the encoding is for another number of heads.
    """
    position, pos, pos_k, bias = placed.position, placed.pos, placed.pos_k, placed.dense()
    placed.check_heads(q.shape[1])
    if placed.rotation is not None:
        q, k = placed.rotation(q, k)
    scores = (q * placed.scale) @ k.mT
    if isinstance(position, Scores):
        scores = scores + position.score(q, k, pos, pos_k, mask).to(scores.dtype)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1)
    out = weights @ v
    return out + position.value(v, weights, pos, pos_k).to(out.dtype) if isinstance(position, Values) else out

"""Biases for FlexAttention: `score_mod` functions that look a bias up instead of holding it for every pair.

    score_mod(score, b, h, i, j) = score + r[h, pos_k[j] - pos_q[i] - low]        a bias of the distance
    score_mod(score, b, h, i, j) = score + bias[b, h, i, j]                       any other

On a GPU, compile `torch.nn.attention.flex_attention.flex_attention` and pass the function; gradients of trained biases
flow there. On processors torch 2.13 runs it for inference alone; `toeplitz_attention` trains there.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.positions.distance import readable
from pushforward.positions.position import Biases, Position, Toeplitz

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(score, batch, head, query, key) -> score, as FlexAttention wants it."""


def score_mod(encoding: Position, pos_q: Tensor, pos_k: Tensor | None = None) -> ScoreMod:
    """Hook 3 of an encoding at these positions, as FlexAttention's `score_mod`.

    Args:
        encoding: an encoding whose only hook is a bias.
        pos_q: positions of the queries, [tokens] or [batch, tokens]; whole ones need memory for distances alone.
        pos_k: positions of the keys; None is those of the queries.

    Raises:
        ConfigError: the encoding has no bias.
    """
    if not isinstance(encoding, Biases):
        raise ConfigError(explain(
            "an encoding that is a bias (ALiBi, KERPLE, T5, FIRE)", type(encoding).__name__,
            "Rotate queries and keys before FlexAttention instead, or use nets.Attention.",
        ))  # fmt: skip
    pos_k = pos_q if pos_k is None else pos_k
    if isinstance(encoding, Toeplitz) and readable(pos_q) and not pos_q.is_floating_point():
        low, high = int(pos_k.min() - pos_q.max()), int(pos_k.max() - pos_q.min())
        return _by_distance(encoding.by_distance(torch.arange(low, high + 1, device=pos_q.device)), pos_q, pos_k, low)
    return _by_pair(encoding.bias(pos_q, pos_k))


def _by_distance(table: Tensor, pos_q: Tensor, pos_k: Tensor, low: int) -> ScoreMod:
    def modified(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        i = pos_q[query] if pos_q.ndim == 1 else pos_q[batch, query]
        j = pos_k[key] if pos_k.ndim == 1 else pos_k[batch, key]
        return score + table[head, j - i - low].to(score.dtype)

    return modified


def _by_pair(bias: Tensor) -> ScoreMod:
    def modified(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        term = bias[head, query, key] if bias.ndim == 3 else bias[batch, head, query, key]
        return score + term.to(score.dtype)

    return modified

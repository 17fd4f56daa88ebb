"""Attention that asks its position encoding what it wants to do.

    scores = <R_q q, R_k k> / sqrt(D) + bias(i, j) + score(q, k, i, j)
    out    = softmax(scores) v + value(v, softmax(scores), i, j)

Each term belongs to one hook of `positions` and is there only if the encoding implements it. What depends on
positions alone is made once (`place`) and shared by all layers. Rotation and bias alone go to
`scaled_dot_product_attention`; the last two hooks need the scores themselves. Fused kernels have no
forward-mode derivative, so the formula itself runs inside `torch.func` transforms. (They have no second
derivative in reverse mode either: for that, call inside `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.)

References: Vaswani et al. 2017, arXiv 1706.03762.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Heads, Tokens
from pushforward.nets.derivatives import transformed
from pushforward.positions import Biases, Position, Rotates, Rotation, Scores, Values

FEW = 16
"""Up to this many tokens the plain formula is at least as quick as the fused kernel on a processor."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A position encoding at given positions: what every layer shares."""

    position: Position
    pos: Tensor
    rotation: Rotation | None
    bias: Tensor | None


def place(position: Position, pos: Tensor, features: int, dtype: torch.dtype) -> Placed:
    """Evaluate the hooks that depend on positions alone, once for all layers.

    Args:
        position: the encoding.
        pos: positions, [*batch, tokens] or [*batch, tokens, axes].
        features: the size of one head.
        dtype: what queries and keys are in.
    """
    rotation = position.rotation(pos, pos, features, dtype) if isinstance(position, Rotates) else None
    bias = position.bias(pos, pos) if isinstance(position, Biases) else None
    return Placed(position, pos, rotation, bias)


def attend(q: Heads, k: Heads, v: Heads, placed: Placed, mask: Tensor | None = None, causal: bool = False) -> Heads:
    """Softmax attention with any position encoding, [batch, heads, tokens, features].

    Args:
        q: queries, [batch, heads, tokens, features].
        k: keys.
        v: values.
        placed: the encoding at the tokens' positions (`place`).
        mask: where True, a query may see a key; broadcastable to [batch, heads, queries, keys].
        causal: a token sees itself and what stands before it in the sequence.
    """
    if placed.rotation is not None:
        q, k = placed.rotation(q, k)
    hooked = isinstance(placed.position, Scores | Values)
    if hooked or _plain(q, k):
        return _formula(q, k, v, placed, _added(q, k, placed.bias, mask, causal))
    if placed.bias is None and mask is None:
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    added = _added(q, k, placed.bias, mask, causal)
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=added)


def _formula(q: Heads, k: Heads, v: Heads, placed: Placed, added: Tensor | None) -> Heads:
    """Attention as it is written."""
    position, pos = placed.position, placed.pos
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if isinstance(position, Scores):
        scores = scores + position.score(q, k, pos, pos)
    if added is not None:
        scores = scores + added
    weights = scores.softmax(-1)
    out = weights @ v
    return out + position.value(v, weights, pos, pos) if isinstance(position, Values) else out


class Attention(nn.Module):
    """Multi-head softmax attention with explicit positions.

    Args:
        width: size of a token.
        heads: how many heads share it; width must be divisible by it.
        position: the encoding; what it does to embedded tokens is the business of the net around the layers.
        causal: a token sees itself and the tokens before it.

    Raises:
        ConfigError: width is not divisible by heads.
    """

    def __init__(self, width: int, heads: int, position: Position, causal: bool = False) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(explain(
                "a width divisible by heads", f"width={width}, heads={heads}", "Change one of them.",
            ))  # fmt: skip
        self.width, self.heads, self.causal = width, heads, causal
        self.position = position
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tokens, pos: Tensor, mask: Tensor | None = None, placed: Placed | None = None) -> Tokens:
        """Mix the tokens.

        Args:
            x: [batch, tokens, width].
            pos: where they stand, [*batch, tokens] or [*batch, tokens, axes].
            mask: where True, a query may see a key; broadcastable to [batch, heads, queries, keys].
            placed: an encoding evaluated once for all layers (`place`); it replaces `position` and `pos`.

        Returns:
            [batch, tokens, width].
        """
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        placed = placed or place(self.position, pos, q.shape[-1], q.dtype)
        return self.out(attend(q, k, v, placed, mask, self.causal).transpose(1, 2).flatten(2))


def _added(q: Tensor, k: Tensor, bias: Tensor | None, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Bias, mask and causality as one term added to the scores."""
    if causal:
        past = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(k.shape[-2] - q.shape[-2])
        mask = past if mask is None else mask & past
    if mask is None:
        return bias
    floor = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(~mask, float("-inf"))
    return floor if bias is None else bias + floor


def _plain(q: Tensor, k: Tensor) -> bool:
    """Whether the formula itself is called for: it has every derivative, and is quick for few tokens."""
    if torch.compiler.is_compiling():
        return False
    return transformed() or (q.device.type == "cpu" and max(q.shape[-2], k.shape[-2]) <= FEW)

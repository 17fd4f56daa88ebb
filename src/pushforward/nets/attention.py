"""Attention that asks its position encoding what it wants to do.

    scores = scale <R_q q, R_k k> + bias(i, j) + score(q, k, i, j)
    out    = softmax(scores) v + value(v, softmax(scores), i, j)

Each term belongs to one hook of `positions` and is there only if the encoding implements it. What depends on
positions alone is made once (`positions.place`) and shared by all layers. How it is computed:

    score or value                        the formula (`positions.attention`), which holds all scores
    bias of the distance, no mask         on a processor: fused, with N numbers for the bias (`toeplitz_attention`),
                                          unless it is trained and scores are few
    any other bias, a mask                fused, with a number per pair
    rotation or nothing                   fused

Fused kernels have no forward-mode derivative, so the formula itself runs inside `torch.func` transforms. (They have
no second derivative in reverse mode either: for that, call inside `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.)

References: Vaswani et al. 2017, arXiv 1706.03762.
"""

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, explain
from pushforward._typing import Heads, Tokens
from pushforward.positions import Placed, Position, Scores, Values, attention, place, toeplitz_attention

FEW = 16
"""Up to this many tokens the plain formula is at least as quick as the fused kernel on a processor."""

HELD = 1 << 23
"""Up to this many scores it is quicker to hold them for the gradient of a trained bias than to compute them again."""


def attend(q: Heads, k: Heads, v: Heads, placed: Placed, mask: Tensor | None = None, causal: bool = False) -> Heads:
    """Softmax attention with any position encoding, [batch, heads, queries, features].

    Args:
        q: queries, [batch, heads, queries, features].
        k: keys, [batch, heads, keys, features].
        v: values.
        placed: the encoding at the tokens' positions (`place`).
        mask: where True, a query may see a key; broadcastable to [batch, heads, queries, keys].
        causal: a token sees itself and what stands before it in the sequence; the last query sees all keys.

    Raises:
        ShapeError: the encoding is for another number of heads.
    """
    if isinstance(placed.position, Scores | Values) or _plain(q, k):
        return attention(q, k, v, placed, _seen(q, k, mask, causal))
    placed.check_heads(q.shape[1])
    if placed.rotation is not None:
        q, k = placed.rotation(q, k)
    if placed.diagonals is not None and mask is None and not _held(q, k, placed.diagonals):
        return toeplitz_attention(q, k, v, placed.diagonals.to(q.dtype), causal, placed.scale)
    bias = placed.dense()
    if causal and not (mask is None and bias is None and q.shape[-2] == k.shape[-2]):
        mask, causal = _seen(q, k, mask, True), False
    if bias is not None:
        bias = bias.to(q.dtype)
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=placed.scale)


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
        check_width(width, heads)
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


def check_width(width: int, heads: int) -> None:
    """Refuse heads that do not share the width.

    Raises:
        ConfigError: width is not divisible by heads.
    """
    if heads < 1 or width % heads:
        raise ConfigError(explain(
            "a width divisible by heads", f"width={width}, heads={heads}", "Change one of them.",
        ))  # fmt: skip


def _seen(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Mask and causality as one mask."""
    if not causal:
        return mask
    past = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(k.shape[-2] - q.shape[-2])
    return past if mask is None else mask & past


def _held(q: Tensor, k: Tensor, bias: Tensor) -> bool:
    """Whether scores are few enough to hold them all for the gradient of the bias."""
    trained = bias.requires_grad and torch.is_grad_enabled()
    return trained and q[..., 0].numel() * k.shape[-2] <= HELD


def _plain(q: Tensor, k: Tensor) -> bool:
    """Whether the formula itself is called for: it has every derivative, and is quick for few tokens."""
    if torch.compiler.is_compiling():
        return False
    return transformed() or (q.device.type == "cpu" and max(q.shape[-2], k.shape[-2]) <= FEW)

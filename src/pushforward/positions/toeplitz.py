"""Attention with a bias of the distance alone, in memory that grows with N and not with N squared.

A bias b(j - i) of Q queries and K keys is a Toeplitz matrix: constant along diagonals, Q + K - 1 numbers r. With the
queries in reverse order it is constant along antidiagonals, and then every row is the row above moved by one:

    i' = Q - 1 - i,    b(j - i) = r[j + i'],    r[n] = b(n - (Q - 1)),

so the whole matrix is an overlapping view of r (both strides 1), which torch's fused attention on processors reads
as it is. Causality is free: -inf in the part of r that lies in the future.

A bias that is trained needs its gradient, for which the fused kernel has no formula. There the backward pass goes
over blocks of queries, recomputes their weights P and sums the gradient of the scores along diagonals:

    dS = P (dP - sum_j P dP),   dP = dO V^T,   dr[n] = sum over j - i + Q - 1 = n of dS_ij.

On a GPU use `score_mod` with FlexAttention, or the dense bias.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from pushforward._typing import Heads
from pushforward.positions.position import Toeplitz

PAIRS = 1 << 20
"""Scores that the backward pass holds at a time."""


def diagonals(encoding: Toeplitz, queries: int, keys: int, offset: int | None = None) -> Tensor:
    """The bias of consecutive positions at each distance, [heads, queries + keys - 1].

    Args:
        encoding: a bias of the distance.
        queries: how many queries there are.
        keys: how many keys.
        offset: position of the first query minus that of the first key; None for queries that are the last tokens.
    """
    offset = keys - queries if offset is None else offset
    return encoding.by_distance(torch.arange(1 - queries, keys) - offset)


def spread(diagonals: Tensor, keys: int) -> Tensor:
    """The bias as a view without a copy, [heads, queries, keys], queries in reverse order.

    Args:
        diagonals: the bias at each distance, from that of the last query to the first key upwards,
            [heads, queries + keys - 1].
        keys: how many keys there are.

    >>> spread(torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0]]), keys=3).flip(-2)
    tensor([[[ 0.,  1.,  2.], [-1.,  0.,  1.], [-2., -1.,  0.]]])
    """
    return diagonals.unfold(-1, keys, 1)


def toeplitz_attention(
    q: Heads, k: Heads, v: Heads, diagonals: Tensor, causal: bool = False, scale: float | None = None
) -> Heads:
    """softmax(scale q k^T + b(j - i)) v on a processor, without a matrix of biases or of scores.

    Args:
        q: queries, [batch, heads, queries, features].
        k: keys, [batch, heads, keys, features].
        v: values.
        diagonals: the bias at each distance (`spread`), in the dtype of the queries; it may be trained.
        causal: the last query sees all keys, each one before it sees one fewer.
        scale: what <q, k> is multiplied by; None is 1 / sqrt(features).
    """
    by = q.shape[-1] ** -0.5 if scale is None else scale
    if causal:
        future = torch.arange(diagonals.shape[-1], device=q.device) >= k.shape[-2]
        diagonals = diagonals.masked_fill(future, float("-inf"))
    if diagonals.requires_grad and torch.is_grad_enabled():
        return _Trained.apply(q, k, v, diagonals, by)  # pyright: ignore[reportReturnType]
    return _fused(q, k, v, diagonals, by)


def _fused(q: Tensor, k: Tensor, v: Tensor, diagonals: Tensor, scale: float) -> Tensor:
    bias = spread(diagonals, k.shape[-2])[None]
    return scaled_dot_product_attention(q.flip(-2), k, v, attn_mask=bias, scale=scale).flip(-2)


class _Trained(torch.autograd.Function):
    """The same with a gradient for the diagonals."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, diagonals: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k, v, diagonals)
        ctx.scale = scale
        return _fused(q.detach(), k.detach(), v.detach(), diagonals.detach(), scale)  # a trained mask is not fused

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, diagonals = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives are wanted, which the formula has
            return _again(ctx.saved_tensors, grads[0], ctx.scale)
        dq, dk, dv, dr = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(diagonals)
        queries, keys = q.shape[-2], k.shape[-2]
        rows = max(1, PAIRS // (keys * q[..., 0, 0].numel()))
        for low in range(0, queries, rows):
            high = min(low + rows, queries)
            part = slice(queries - high, queries - low + keys - 1)  # the distances of these queries
            block, out = q[..., low:high, :], grads[0][..., low:high, :]
            bias = spread(diagonals[:, part], keys).flip(-2)
            weights = torch.softmax(ctx.scale * (block @ k.mT) + bias, -1)
            slope = out @ v.mT
            slope = weights * (slope - (slope * weights).sum(-1, keepdim=True))
            dq[..., low:high, :] = ctx.scale * (slope @ k)
            dk += ctx.scale * (slope.mT @ block)
            dv += weights.mT @ out
            dr[:, part] += along_diagonals(slope.sum(0))
        return dq, dk, dv, dr, None


def _again(inputs: tuple[Tensor, ...], grad: Tensor, scale: float) -> tuple[Tensor | None, ...]:
    """The gradients of the formula, which may be differentiated once more."""
    inputs = q, k, v, diagonals = tuple(x.view_as(x) for x in inputs)  # apart, where one is another
    weights = torch.softmax(scale * (q @ k.mT) + spread(diagonals, k.shape[-2]).flip(-2), -1)
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(weights @ v, wanted, grad, create_graph=True))
    return (*(next(found) if x.requires_grad else None for x in inputs), None)


def along_diagonals(x: Tensor) -> Tensor:
    """Sums along the diagonals, the transpose of `spread`: [heads, rows, keys] to [heads, rows + keys - 1].

    >>> along_diagonals(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[3., 5., 2.]])
    """
    rows, keys = x.shape[-2:]
    skewed = pad(x.flip(-2), (0, rows)).flatten(-2)[..., : rows * (rows + keys - 1)]
    return skewed.unflatten(-1, (rows, rows + keys - 1)).sum(-2)

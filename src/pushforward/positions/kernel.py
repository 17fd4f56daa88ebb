"""The rotation of pairs on a processor: in place, or into a fresh tensor, in few passes over memory.

Six operations per pair are free beside reading and writing it, so what counts is passes over memory and fresh memory.

    interleaved, float32    one complex multiplication of the tensor by the table
    half, float32           five real operations on pieces that fit a cache, one of which needs spare room
    bfloat16, float16       pieces go to a float32 workspace, turn there, and come back

The workspace rounds bfloat16 once, at the end. A rotation is linear, so its derivative is itself, and its transpose
(the backward pass) is the rotation by the conjugate table. Only the tables are kept for it, never the tensor.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import transformed
from pushforward.positions.layout import Layout

PIECE = 1 << 18
"""Features of a piece: a megabyte in float32. With an eighth, what Python does per piece costs as much as the work."""


def turn(x: Tensor, cos: Tensor, sin: Tensor, layout: Layout, out: Tensor, adjoint: bool = False) -> None:
    """Write x, rotated, to `out`, which may be x. All features are rotated; no derivatives.

    Args:
        x: [..., tokens, features].
        cos: broadcastable to [..., tokens, features // 2], float32 or float64.
        sin: likewise.
        layout: which features make a pair.
        out: like x.
        adjoint: rotate by the conjugate, the backward pass.
    """
    if layout == "interleaved":
        table = _complex(cos, sin)
        table = table.conj_physical() if adjoint else table
        if x.dtype == cos.dtype and _viewable(x) and _viewable(out):
            torch.mul(_pairs(x), table, out=_pairs(out))
        else:
            _interleaved(x, table, out)
    else:
        _half(x, cos.contiguous(), (-sin if adjoint else sin).contiguous(), out)


class Turned(torch.autograd.Function):
    """The rotation as an operation with a derivative of every order; in place or not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, layout: Layout, adjoint: bool, in_place: bool) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.layout, ctx.adjoint = layout, adjoint
        if in_place:
            ctx.mark_dirty(x)
        out = x if in_place else torch.empty_like(x, memory_format=torch.contiguous_format)
        turn(x, cos, sin, layout, out, adjoint)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, sin = ctx.saved_tensors
        turned = Turned.apply(grads[0], cos, sin, ctx.layout, not ctx.adjoint, False)
        return turned, None, None, None, None, None  # pyright: ignore[reportReturnType]


def usable(x: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Whether these kernels apply: eager, on a processor, outside of torch.func, with tables that are not trained."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or cos.requires_grad or sin.requires_grad:
        return False
    return not transformed()


def _interleaved(x: Tensor, table: Tensor, out: Tensor) -> None:
    work = torch.empty(_room(x), dtype=table.real.dtype, device=x.device)
    for source, turns, target in _pieces(x, table.expand(*x.shape[:-1], -1), out):
        y = work[: source.numel()].view(source.shape).copy_(source)
        _pairs(y).mul_(turns)
        target.copy_(y)


def _half(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    pairs, direct = cos.shape[-1], out.dtype == cos.dtype
    work = torch.empty(0 if direct else _room(x), dtype=cos.dtype, device=x.device)
    spare = torch.empty(_room(x) // 2, dtype=cos.dtype, device=x.device)
    cos, sin = cos.expand(*x.shape[:-1], pairs), sin.expand(*x.shape[:-1], pairs)
    for source, c, s, target in _pieces(x, cos, sin, out):
        y = target if direct else work[: source.numel()].view(source.shape)
        if out is not x or not direct:
            y.copy_(source)
        a, b = y.split(pairs, -1)
        a_s = torch.mul(a, s, out=spare[: a.numel()].view(a.shape))
        a.mul_(c).addcmul_(b, s, value=-1)
        b.mul_(c).add_(a_s)
        if not direct:
            target.copy_(y)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of equal leading shape cut alike, so that the first is cut in pieces of at most `PIECE` numbers."""
    x = tensors[0]
    if x.numel() <= PIECE or x.ndim == 1:
        yield tensors
        return
    inner = x.numel() // x.shape[0]
    if inner <= PIECE:
        yield from zip(*(tensor.split(PIECE // inner) for tensor in tensors))
    else:
        for parts in zip(*(tensor.unbind(0) for tensor in tensors)):
            yield from _pieces(*parts)


def _room(x: Tensor) -> int:
    """Numbers in the largest piece."""
    return min(x.numel(), max(PIECE, x.shape[-1]))


def _viewable(x: Tensor) -> bool:
    """Whether pairs of neighbours are complex numbers without a copy."""
    return x.stride(-1) == 1 and not x.storage_offset() % 2 and not any(stride % 2 for stride in x.stride()[:-1])


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _complex(cos: Tensor, sin: Tensor) -> Tensor:
    """cos + i sin; without a copy if they lie side by side (`spectrum.paired`)."""
    beside = cos.stride() == sin.stride() and cos.stride(-1) == 2 and sin.storage_offset() == cos.storage_offset() + 1
    if beside and cos.dtype == sin.dtype and cos.untyped_storage().data_ptr() == sin.untyped_storage().data_ptr():
        return torch.view_as_complex(cos.as_strided((*cos.shape, 2), (*cos.stride(), 1)))
    return torch.complex(cos, sin)

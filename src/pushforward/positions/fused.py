"""The rotation as one Triton kernel: all heads of a token turn by a row of the table that is read once.

A program handles one token of one sequence. It reads that token's row of the table once, by its position, and turns all
heads with it in float32:

    (a, b) -> (a cos - b sin, a sin + b cos) mu,      mu = w / sqrt(mean(x**2) + eps) with a norm, 1 without.

The backward pass is the same kernel with the sign of the sine turned. The fused norm has no derivative: it is for
inference. Import this module by itself, where triton is installed; nothing else here needs it. The arithmetic is
tested under Triton's interpreter; on hardware it has not been measured.
"""

# pyright: basic, reportInvalidTypeForm=false
# (Triton reads the annotations of a kernel itself, and has no types of its own.)

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Heads
from pushforward.positions.layout import Layout, check_layout

available = importlib.util.find_spec("triton") is not None

if available:
    triton: Any = importlib.import_module("triton")
    tl: Any = importlib.import_module("triton.language")

    @triton.jit
    def _turn_heads(
        x, out, cos, sin, rows, weight, tokens, heads, eps,
        x_batch, x_token, x_head, out_batch, out_token, out_head, table_row,
        PAIRS: tl.constexpr, FEATURES: tl.constexpr, PAIRS_2: tl.constexpr, REST_2: tl.constexpr, HEADS_2: tl.constexpr,
        INTERLEAVED: tl.constexpr, ADJOINT: tl.constexpr, NORM: tl.constexpr,
    ):  # fmt: skip
        """Sizes ending in _2 are rounded up to powers of two, as blocks must be."""
        row = tl.program_id(0).to(tl.int64)
        x += (row // tokens) * x_batch + (row % tokens) * x_token
        out += (row // tokens) * out_batch + (row % tokens) * out_token
        place = tl.load(rows + row).to(tl.int64) * table_row
        c = tl.arange(0, PAIRS_2)
        turning = c < PAIRS
        cosine = tl.load(cos + place + c, mask=turning, other=0.0).to(tl.float32)[None, :]
        sine = tl.load(sin + place + c, mask=turning, other=0.0).to(tl.float32)[None, :]
        if ADJOINT:
            sine = -sine
        first = 2 * c if INTERLEAVED else c
        second = first + (1 if INTERLEAVED else PAIRS)
        rest = 2 * PAIRS + tl.arange(0, REST_2)
        for start in range(0, heads, HEADS_2):
            h = start + tl.arange(0, HEADS_2)
            pairs = (h < heads)[:, None] & turning[None, :]
            others = (h < heads)[:, None] & (rest < FEATURES)[None, :]
            source = x + h.to(tl.int64)[:, None] * x_head
            target = out + h.to(tl.int64)[:, None] * out_head
            a = tl.load(source + first[None, :], mask=pairs, other=0.0).to(tl.float32)
            b = tl.load(source + second[None, :], mask=pairs, other=0.0).to(tl.float32)
            z = tl.load(source + rest[None, :], mask=others, other=0.0).to(tl.float32)
            if NORM:
                square = tl.sum(a * a, 1) + tl.sum(b * b, 1) + tl.sum(z * z, 1)
                scale = (1.0 / tl.sqrt(square / FEATURES + eps))[:, None]
                a = a * scale * tl.load(weight + first, mask=turning, other=0.0).to(tl.float32)[None, :]
                b = b * scale * tl.load(weight + second, mask=turning, other=0.0).to(tl.float32)[None, :]
                z = z * scale * tl.load(weight + rest, mask=rest < FEATURES, other=0.0).to(tl.float32)[None, :]
            tl.store(target + first[None, :], a * cosine - b * sine, mask=pairs)
            tl.store(target + second[None, :], a * sine + b * cosine, mask=pairs)
            tl.store(target + rest[None, :], z, mask=others)


def fused_rotate(
    x: Heads, cos: Tensor, sin: Tensor, rows: Tensor | None = None, layout: Layout = "interleaved",
    norm: Tensor | None = None, eps: float = 1e-6, in_place: bool = False,
) -> Tensor:  # fmt: skip
    """Rotate (and first normalise) in one kernel.

    Args:
        x: [batch, heads, tokens, features] with features next to each other; any strides otherwise.
        cos: [positions, pairs], float32; the first 2 * pairs features turn.
        sin: likewise.
        rows: which row of the tables each token has, whole numbers [tokens] or [batch, tokens]; None for 0, 1, 2, ...
        layout: which features make a pair.
        norm: weight [features] of a root-mean-square norm over all features before the rotation; None for none.
        eps: added to the mean square.
        in_place: write over x.

    Raises:
        ConfigError: triton is not installed, or a derivative of the norm is asked for.
        ShapeError: shapes do not fit.
    """
    check_layout(layout)
    if not available:
        raise ConfigError(explain("triton", "an environment without it", "Install triton, or use rotate or rotate_."))
    if x.ndim != 4 or x.stride(-1) != 1 or 2 * cos.shape[-1] > x.shape[-1] or cos.ndim != 2 or cos.shape != sin.shape:
        raise ShapeError(explain(
            "x [batch, heads, tokens, features] with features next to each other, tables [positions, pairs]",
            f"{list(x.shape)} with strides {list(x.stride())}, {list(cos.shape)}, {list(sin.shape)}", "See rotate.",
        ))  # fmt: skip
    tokens = torch.arange(x.shape[2], device=x.device) if rows is None else rows
    if rows is None and len(cos) < x.shape[2]:
        raise ShapeError(explain(f"a row for each of {x.shape[2]} tokens", f"{len(cos)} rows", "Make longer tables."))
    where = tokens.expand(x.shape[0], -1).contiguous()
    if norm is not None and torch.is_grad_enabled() and (x.requires_grad or norm.requires_grad):
        raise ConfigError(
            explain("no derivative of the fused norm", "an input that requires one", "Use torch.no_grad.")
        )
    tables = cos.contiguous(), sin.contiguous()
    return _Fused.apply(x, *tables, where, layout, norm, eps, False, in_place)  # pyright: ignore[reportReturnType]


class _Fused(torch.autograd.Function):
    """The kernel and its transpose."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, rows: Tensor, layout: Layout, norm: Tensor | None, eps: float,
        adjoint: bool, in_place: bool,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(cos, sin, rows)
        ctx.layout, ctx.adjoint = layout, adjoint
        if in_place:
            ctx.mark_dirty(x)
        out = x if in_place else torch.empty_like(x)
        batch, heads, tokens, features = x.shape
        pairs, block = cos.shape[1], _power(cos.shape[1])
        _turn_heads[(batch * tokens,)](
            x, out, cos, sin, rows, cos if norm is None else norm.contiguous(), tokens, heads, eps,
            x.stride(0), x.stride(2), x.stride(1), out.stride(0), out.stride(2), out.stride(1), cos.stride(0),
            PAIRS=pairs, FEATURES=features, PAIRS_2=block, REST_2=_power(max(1, features - 2 * pairs)),
            HEADS_2=min(_power(heads), max(1, 2048 // block)),
            INTERLEAVED=layout == "interleaved", ADJOINT=adjoint, NORM=norm is not None,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, sin, rows = ctx.saved_tensors
        g = grads[0] if grads[0].stride(-1) == 1 else grads[0].contiguous()
        turned = _Fused.apply(g, cos, sin, rows, ctx.layout, None, 0.0, not ctx.adjoint, False)
        return turned, *(None,) * 8


def _power(n: int) -> int:
    """The power of two at or above n."""
    return 1 << (n - 1).bit_length()

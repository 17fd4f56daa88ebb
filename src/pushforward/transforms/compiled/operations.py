"""Operations of torch's that are the compiled spline: what `graphs.py` puts into graphs.

    spline(x [n], rows [size, n])                           value [n] and ladj [n]
    spline_backward(x [n], rows [size, n], g [n], u [n])    gradients [n] and [size, n], of those of value and ladj

Rows hold parameters; all are contiguous. For gradients x is the number on the data side. Inductor calls both between
the kernels that it writes.
"""

from typing import Any

import torch
from torch import Tensor

from pushforward.transforms.compiled.rational import fill, fill_gradients

_Pair = tuple[Tensor, Tensor]

_LAYOUT = "int bins, float low, float high, float least, int first, int last, bool inverse"

_library = torch.library.Library("pushforward", "DEF")
_library.define(f"spline(Tensor x, Tensor rows, {_LAYOUT}) -> (Tensor, Tensor)")
_library.define(f"spline_backward(Tensor x, Tensor rows, Tensor g, Tensor u, {_LAYOUT}) -> (Tensor, Tensor)")


def _spline(x: Tensor, rows: Tensor, *layout: Any) -> _Pair:
    value, ladj = _like_both(x, x)
    fill(rows.numpy(), x.numpy(), *_grouped(*layout), value.numpy(), ladj.numpy())
    return value, ladj


def _spline_backward(x: Tensor, rows: Tensor, g: Tensor, u: Tensor, *layout: Any) -> _Pair:
    to_x, to_rows = _like_both(x, rows)
    numbers = (each.numpy() for each in (rows, x, g, u))
    fill_gradients(*numbers, *_grouped(*layout), to_x.numpy(), to_rows.numpy())
    return to_x, to_rows


def _grouped(bins: int, low: float, high: float, least: float, first: int, last: int, inverse: bool) -> tuple[Any, ...]:
    return (bins, low, high, least), (first, last), inverse


def _like_both(one: Tensor, other: Tensor, *_: Any) -> _Pair:
    return torch.empty_like(one), torch.empty_like(other)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: _Pair) -> None:
    x, rows, *ctx.layout = inputs
    ctx.save_for_backward(output[0] if ctx.layout[-1] else x, rows)


def _backward(ctx: Any, g: Tensor, u: Tensor) -> tuple[Tensor | None, ...]:
    numbers = *ctx.saved_tensors, g.contiguous(), u.contiguous()
    return *torch.ops.pushforward.spline_backward(*numbers, *ctx.layout), *(None for _ in ctx.layout)


_library.impl("spline", _spline, "CPU")
_library.impl("spline_backward", _spline_backward, "CPU")
torch.library.register_fake("pushforward::spline", lambda x, rows, *_: _like_both(x, x), lib=_library)
torch.library.register_fake("pushforward::spline_backward", _like_both, lib=_library)
torch.library.register_autograd("pushforward::spline", _backward, setup_context=_keep, lib=_library)

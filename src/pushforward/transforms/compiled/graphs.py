"""The compiled spline in graphs of `torch.compile`: one operation, since inductor makes slower code of the formula."""

import importlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward._derivatives import constant, whole
from pushforward.transforms.compiled import spline, taken

if TYPE_CHECKING:
    from pushforward.transforms.rational import Layout


def takes(x: Tensor, params: Tensor) -> bool:
    """Whether a graph is being made, and is to hold the operation for numbers [*] and parameters [*, size]."""
    return whole() and x.dtype == params.dtype and taken(x, x.numel()) and _defined()


def mapped(x: Tensor, params: Tensor, layout: "Layout", inverse: bool) -> tuple[Tensor, Tensor]:
    """(value, ladj) [*] of numbers [*] and parameters [*, size]."""
    bins, low, high, least, slopes = layout
    along = x.ndim > 0 and params.stride(0) == 1  # the batch
    number, rows = (x.movedim(0, -1), params.movedim(0, -2)) if along else (x, params)
    flat = number.reshape(-1).contiguous(), rows.movedim(-1, 0).reshape(params.shape[-1], x.numel()).contiguous()
    sizes = bins, float(low), float(high), least, slopes[0], slopes[-1]
    found = torch.ops.pushforward.spline(*flat, *sizes, inverse)
    value, ladj = (each.view(number.shape) for each in found)
    return (value.movedim(-1, 0), ladj.movedim(-1, 0)) if along else (value, ladj)


@constant
def _defined() -> bool:
    """Define the operations, once, where there is numba."""
    if spline() is None:
        return False
    importlib.import_module("pushforward.transforms.compiled.operations")
    return True

"""The compiled spline as one operation in graphs of `torch.compile`."""

import importlib

import torch
from torch import Tensor

from pushforward._derivatives import constant
from pushforward.transforms.compiled import spline, taken
from pushforward.transforms.splines import Layout


def takes(x: Tensor) -> bool:
    """Whether there is an operation for such numbers [n]."""
    return taken(x, x.numel()) and _defined()


def mapped(x: Tensor, rows: Tensor, layout: Layout, inverse: bool) -> tuple[Tensor, Tensor]:
    """(value, ladj) [n] of numbers [n] and rows of parameters [size, n]."""
    bins, low, high, least, slopes = layout
    sizes = bins, float(low), float(high), least, slopes[0], slopes[-1]
    return torch.ops.pushforward.spline(x.contiguous(), rows.contiguous(), *sizes, inverse)


@constant
def _defined() -> bool:
    """Define the operations, once, where there is numba."""
    if spline() is None:
        return False
    importlib.import_module("pushforward.transforms.compiled.operations")
    return True

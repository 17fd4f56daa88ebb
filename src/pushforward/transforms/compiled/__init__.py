"""Formulas of float32 numbers on a CPU, compiled by numba where it is installed (`pip install 'pushforward[numba]'`).

To torch a formula is a call for every operation, some 5 microseconds each, and as many passes through memory; compiled,
it is one call and one pass. `transforms/rational.py` has the formula in torch's operations as well, which take all
other numbers: other precisions, other devices, and so many that more than two threads of torch's are quicker than the
one here. Both say the same within rounding. numba compiles for some seconds at the first call of all, and keeps what it
made for the next process. `docs/decisions/numba.md` says why.
"""

import functools
import importlib
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from pushforward._derivatives import constant

_ALONE = 2**14
"""So many numbers one thread takes whatever the number of torch's."""


def spline_for(x: Tensor, count: int) -> ModuleType | None:
    """`calls.py` of this folder if it can take such numbers, so many of them, None if torch must."""
    return spline() if taken(x, count) else None


def taken(x: Tensor, count: int) -> bool:
    """Whether such numbers, so many of them, are for compiled formulas."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or type(x) not in (Tensor, nn.Parameter):
        return False
    return count <= _ALONE or _few_threads()


@constant
def _few_threads() -> bool:
    return torch.get_num_threads() <= 2


@functools.cache
def spline() -> ModuleType | None:
    """`calls.py` of this folder, if there is numba and nobody has switched it off (`NUMBA_DISABLE_JIT`)."""
    try:
        off = importlib.import_module("numba").config.DISABLE_JIT
        return None if off else importlib.import_module(f"{__name__}.calls")
    except ImportError:
        return None


def axes_of(params: Tensor) -> list[int]:
    """The axes of the numbers that have parameters [*, size], that of the longest stride first."""
    return sorted(range(params.ndim - 1), key=lambda axis: -params.stride(axis))


def strides_of(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """Strides of a tensor without gaps whose axes, from the longest stride to the shortest, are these."""
    strides, step = [0] * len(axes), 1
    for axis in reversed(axes):
        strides[axis], step = step, step * shape[axis]
    return strides

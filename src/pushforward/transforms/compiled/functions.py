"""What compiled formulas are made of: how they are compiled, and functions of float32 that LLVM makes vectors of.

It has no exponential or logarithm that takes vectors: these are sums of their own, within 2 units of the last place.
NaN stays NaN, as comparisons are written so that it fails them. Loops run along numbers with nothing else in them.

References: Cody, Waite 1980, Software manual for the elementary functions (the logarithm of 2 in two parts).
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

real, _whole = np.float32, np.int32
_LOG2E, _LN2 = real(1.4426950408889634), real(0.6931471805599453)
_LN2_HIGH, _LN2_LOW = real(0.693359375), real(-2.12194440e-4)
_TO_WHOLE = real(1.5 * 2**23)  # whole numbers are what a float32 can hold here, in its lowest bits
_ROOT = _whole(0x3F3504F3)  # the bits of sqrt(1 / 2)


def edition(folder: Path) -> str:
    """A word for what its sources say now."""
    sources = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:8]


_EDITION = edition(Path(__file__).parent)


def _reinterpreted(source: Any, target: Any, kind: ir.Type) -> Any:
    """The same 32 bits as another type."""

    @intrinsic
    def cast(typing: Any, number: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], kind)

        return target(source), build

    return cast


_as_float = _reinterpreted(types.int32, types.float32, ir.FloatType())
_as_int = _reinterpreted(types.float32, types.int32, ir.IntType(32))


def fast(function: Any) -> Any:
    """Compiled when first called, and kept beside this file, where there is room for it, until the folder changes."""
    function.__qualname__ += _EDITION  # numba keeps it by this name, and looks at the function's own file alone
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


@fast
def exp(v: Any) -> Any:
    """Of v at most 0."""
    v = real(-87) if v < real(-87) else v
    t = v * _LOG2E + _TO_WHOLE
    k = t - _TO_WHOLE
    v = v - k * _LN2_HIGH - k * _LN2_LOW
    p = real(1 / 720) + real(1 / 5040) * v
    p = real(1 / 24) + (real(1 / 120) + p * v) * v
    p = real(1) + (real(1) + (real(1 / 2) + (real(1 / 6) + p * v) * v) * v) * v
    return p * _as_float((_as_int(t) << _whole(23)) + _whole(0x3F800000))


@fast
def twice_atanh(s: Any) -> Any:
    """Of |s| at most 1/3."""
    q = s * s
    p = real(2 / 13) + (real(2 / 15) + real(2 / 17) * q) * q
    p = real(2 / 7) + (real(2 / 9) + (real(2 / 11) + p * q) * q) * q
    return (real(2) + (real(2 / 3) + (real(2 / 5) + p * q) * q) * q) * s


@fast
def log(v: Any) -> Any:
    """Of a number of full precision above 0; of others NaN, and -inf of 0."""
    bits = _as_int(v) - _ROOT
    m = _as_float((bits & _whole(0x7FFFFF)) + _ROOT)
    found = twice_atanh((m - real(1)) / (m + real(1))) + real(bits >> _whole(23)) * _LN2
    return found if v > real(0) else (real(-np.inf) if v == real(0) else real(np.nan))


@fast
def sigmoid(v: Any) -> Any:
    """1 / (1 + exp(-v))."""
    t = exp(-abs(v))
    return (real(1) if v > real(0) else t) / (real(1) + t)


def flat(x: Tensor, axes: Sequence[int]) -> np.ndarray:
    """The numbers of a tensor in one row, in the order of these axes."""
    return np.ascontiguousarray(x.detach().numpy().transpose(axes).reshape(-1))


def in_rows(params: Tensor, axes: Sequence[int]) -> np.ndarray:
    """Parameters [*, size] as [size, n], numbers in the order of these axes."""
    size, n = params.shape[-1], math.prod(params.shape[:-1])
    return np.ascontiguousarray(params.detach().numpy().transpose(-1, *axes).reshape(size, n))

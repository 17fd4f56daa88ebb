"""The rational-quadratic spline, compiled by numba and by torch, against those of zuko and nflows, where installed.

    python benchmarks/splines.py [rounds]

512 events of 32 numbers, 8 bins, float32, one thread; from a network's raw output to (value, ladj). Rounds
alternate; the best of each is printed, as milliseconds and as a ratio to ours.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from pushforward.transforms import RationalQuadratic, rational
from pushforward.transforms.compiled import spline, spline_for

BINS, BOUND = 8, 3.0
Call = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def ours() -> tuple[Call, Call]:
    spline = RationalQuadratic(BINS, -BOUND, BOUND)
    return spline.encode, spline.decode


def by_torch() -> tuple[Call, Call]:
    """The same in torch's operations."""

    def of(call: Call) -> Call:
        def slow(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
            rational.spline_for = lambda x, count: None
            try:
                return call(x, raw)
            finally:
                rational.spline_for = spline_for

        return slow

    return of(ours()[0]), of(ours()[1])


def zuko() -> tuple[Call, Call]:
    kind = import_module("zuko.transforms").MonotonicRQSTransform

    def of(raw: Tensor):
        return kind(*raw.split([BINS, BINS, BINS - 1], -1), bound=BOUND)

    return (lambda x, raw: of(raw).call_and_ladj(x)), (lambda z, raw: of(raw).inv.call_and_ladj(z))


def nflows() -> tuple[Call, Call]:
    spline = import_module("nflows.transforms.splines.rational_quadratic").unconstrained_rational_quadratic_spline

    def call(x: Tensor, raw: Tensor, inverse: bool = False):
        return spline(x, *raw.split([BINS, BINS, BINS - 1], -1), inverse=inverse, tail_bound=BOUND)

    return call, lambda z, raw: call(z, raw, True)


def timed(call: Call, x: Tensor, raw: Tensor, gradient: bool) -> float:
    """Milliseconds of one call, with the derivatives if asked for."""
    start = time.thread_time()
    with torch.set_grad_enabled(gradient):
        value, ladj = call(x, raw)
        if gradient:
            torch.autograd.grad(value.sum() + ladj.sum(), (x, raw))
    return 1e3 * (time.thread_time() - start)


def main(rounds: int = 30) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = (1.5 * torch.randn(512, 32)).requires_grad_()
    raw = torch.randn(512, 32, 3 * BINS - 1).requires_grad_()
    found = {}
    if spline() is None:
        print("numba is not installed: ours is by torch")
    for make in (ours, by_torch, zuko, nflows):
        try:
            found[make.__name__] = make()
        except ModuleNotFoundError:
            print(f"{make.__name__} is not installed")
    for direction, word in enumerate(("encode", "decode")):
        for gradient in (False, True):
            best = dict.fromkeys(found, float("inf"))
            for _ in range(rounds):
                for name, calls in found.items():
                    best[name] = min(best[name], timed(calls[direction], x, raw, gradient))
            text = ", ".join(f"{name} {ms:.2f} ms ({ms / best['ours']:.2f}x)" for name, ms in best.items())
            print(f"{word}{' with derivatives' if gradient else '':<17} {text}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

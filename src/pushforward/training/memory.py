"""What a training process holds, and that it does not grow.

    resident    bytes of this process in memory now, and at most so far (RSS)
    device      bytes of tensors on the accelerator now, and at most so far

Reference counts free everything here, so the cycle collector has nothing to do but what the user's own code leaves
behind. Looking through a heap of 165,000 objects (torch alone) would stall a step for 70 ms, and at another step on
each process, so that all wait for each in turn. Therefore what was there before training is frozen, the collector's
full runs happen at the same steps on all processes, and in between it looks at young objects alone.

The C library of Linux (glibc) gives freed memory back to the system, and a step's gradients with it, whose pages the
next step takes again, one fault each, and the system clears again. In training what was freed is kept instead.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

import torch

COLLECT_EVERY = 100
"""Steps from one full collection to the next, on every process."""

_RARELY = 1_000_000


@contextmanager
def frozen_heap() -> Generator[None]:
    """Within, the cycle collector leaves alone what was there before, and never runs in full by itself."""
    if gc.get_freeze_count():  # somebody else's
        yield
        return
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(before[0], before[1], _RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def kept_pages() -> Generator[None]:
    """Within, memory that a step has freed stays with the process, for the next one; afterwards it is given back.

    Only where the C library is glibc, and nobody has set its allocator through the environment.
    """
    libc = None if any(map(os.environ.get, _ALLOCATOR)) else _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_TRIM, -1)  # never
    libc.mallopt(_MAPS, 0)
    try:
        yield
    finally:  # as glibc has them once a large block was freed
        libc.mallopt(_MAPS, 65_536)
        libc.mallopt(_MAPPED_FROM, 2**25)
        libc.mallopt(_TRIM, 2**26)
        libc.malloc_trim(0)


_TRIM, _MAPPED_FROM, _MAPS = -1, -3, -4
"""M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_MMAP_MAX of malloc.h."""

_ALLOCATOR = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def collect(done: int) -> None:
    """Collect cycles, if this many steps are the time for it."""
    if done % COLLECT_EVERY == 0:
        gc.collect()


def memory(device: torch.device) -> dict[str, int]:
    """Bytes held now and at most so far, as lines of metrics have them; what the system does not say is left out."""
    now, peak = resident()
    found = {"memory": now, "memory_peak": peak}
    if device.type == "cuda":
        found["device_memory"] = torch.cuda.memory_allocated(device)
        found["device_memory_peak"] = torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        found["device_memory"] = torch.mps.current_allocated_memory()
    return {name: value for name, value in found.items() if value is not None}


def resident() -> tuple[int | None, int | None]:
    """This process's bytes in memory, now and at most so far; None where the system does not say."""
    now, peak = _now(), _peak()
    return now, max(now, peak) if now is not None and peak is not None else peak  # the system counts them apart


def _now() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    import resource

    return pages * resource.getpagesize()


def _peak() -> int | None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

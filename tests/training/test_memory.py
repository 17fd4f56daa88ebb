"""A training run holds what it held; the cycle collector has its times."""

import ctypes
import gc
import mmap
import os
import subprocess
import sys

import pytest
import torch

from pushforward.training import Settings, train
from pushforward.training import memory as room
from pushforward.training.memory import memory, resident
from training.stand_in import Circle, Straight, flow_matching


def tensors() -> int:
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def growth(steps: int, path, **changes) -> tuple[int, int]:
    """Bytes and tensors that a run holds at its end and not after two fifths of it, without the collector.

    By then there is the copy of a checkpoint, whose memory is used again.
    """
    seen = []

    def look(model) -> float:
        seen.append((resident()[0] or 0, tensors()))
        return 0.0

    gc.collect()
    gc.disable()
    try:
        settings = Settings(steps=steps, batch=8, device="cpu", threads=1, log_every=10, checkpoint_every=steps // 5)
        train(Straight(), Circle(), flow_matching, settings=settings, progress=False, run=path,
              judge=look, judge_every=steps // 5, **changes)  # fmt: skip
    finally:
        gc.enable()
    return seen[-1][0] - seen[1][0], seen[-1][1] - seen[1][1]


@pytest.mark.parametrize("changes", [{}, {"recompute": True, "accumulate": 2}], ids=["plain", "recomputed"])
def test_1000_steps_without_the_collector_hold_nothing_more(tmp_path, changes):  # which conftest makes idle
    grown, more = growth(1_000, tmp_path, **changes)
    assert more == 0
    assert grown < 4e6


@pytest.mark.slow
def test_10_000_steps_without_the_collector_hold_nothing_more(tmp_path):
    grown, more = growth(10_000, tmp_path)
    print(f"\n10,000 steps: {grown / 1e6:+.2f} MB and {more:+d} tensors after the first 4,000")
    assert more == 0
    assert grown < 4e6


def test_a_leak_would_be_seen():
    kept = []

    def leaking(model, batch, draw):
        kept.append(torch.ones(2))
        return flow_matching(model, batch, draw)

    leaking.__qualname__ = "flow_matching"
    seen = []  # tensors alone: in a large process what is resident may come from what it held before
    settings = Settings(steps=200, batch=8, device="cpu", threads=1)
    train(Straight(), Circle(), leaking, settings=settings, progress=False,
          judge=lambda _: seen.append(tensors()) or 0.0, judge_every=100)  # fmt: skip
    assert seen[-1] - seen[0] == 100


@pytest.mark.parametrize(("steps", "log_every"), [(250, 7), (250, 100)])
def test_the_collector_runs_at_steps_that_no_setting_moves(steps, log_every, monkeypatch):
    at, step = [], [0]

    def counting(model, batch, draw):
        step[0] = draw.step
        return flow_matching(model, batch, draw)

    monkeypatch.setattr(gc, "collect", lambda generation=2: at.append((step[0] + 1, generation)))
    settings = Settings(steps=steps, batch=4, device="cpu", threads=1, log_every=log_every)
    train(Straight(), Circle(), counting, settings=settings, progress=False)
    assert at[1:] == [(100, 2), (200, 2)]  # the first is before training


def test_full_collections_have_no_other_time_within():
    before = gc.get_threshold()
    with room.frozen_heap():
        assert gc.get_threshold() == (before[0], before[1], 1_000_000)
        assert gc.isenabled()
    assert gc.get_threshold() == before


def test_memory_is_bytes_and_its_peak_is_no_less():
    now = memory(torch.device("cpu"))
    with mmap.mmap(-1, 2**26) as block:  # pages of the kernel: a tensor may get what a test before gave back
        block.write(b"1" * len(block))
        then = memory(torch.device("cpu"))
    assert then["memory"] - now["memory"] > 50e6
    after = memory(torch.device("cpu"))
    assert after["memory_peak"] > then["memory"] - 1e6  # the kernel counts in lumps
    assert set(after) == {"memory", "memory_peak"}


FAULTS = """
import resource, torch
from contextlib import nullcontext
from pushforward.training.memory import kept_pages, resident

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    for each in [torch.ones(2**20) for _ in range(40)]:
        each.add_(1)

with nullcontext() if {plain} else kept_pages():
    for _ in range(3):
        before = faults()
        step()
    held = resident()[0]
print(faults() - before, held - resident()[0])
"""


def paged(plain: bool, **environment: str) -> tuple[int, int]:
    """Page faults of the third of three equal steps, and the bytes that are given back in the end."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc, whose allocator this is about")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    found = subprocess.run([sys.executable, "-c", FAULTS.format(plain=plain)], env=clean | environment,
                           capture_output=True, text=True, check=True)  # fmt: skip
    faults, returned = found.stdout.split()
    return int(faults), int(returned)


def test_freed_memory_is_that_of_the_next_step_and_goes_back_in_the_end():
    faults, returned = paged(plain=False)
    assert faults < 1_000  # 160 MB are 40,000 pages
    assert returned > 100e6
    # left alone, glibc keeps them or not as chance has it; with a threshold of one's own it never does
    assert paged(plain=True, MALLOC_MMAP_THRESHOLD_="131072")[0] > 10_000


def test_who_has_set_the_allocator_keeps_it():
    assert paged(plain=False, MALLOC_TRIM_THRESHOLD_="131072")[0] > 10_000

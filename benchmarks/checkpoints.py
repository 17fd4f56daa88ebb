"""Checkpoints of a model of 100 MB: against a plain copy of the same files, and what training waits for.

    python benchmarks/checkpoints.py [MEGABYTES] [ROUNDS]

A checkpoint holds the weights, their average and two moments: four times the model. It is hashed, synced, renamed and
pruned; the copy is `shutil.copyfile` of the same files, each synced too, since what is not synced is not kept. Then
training steps are timed with a checkpoint at every fifth: written at once, or meanwhile. Rounds alternate; medians.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from pushforward.training.checkpoint import Checkpoint, write_checkpoint
from pushforward.training.files import verify
from pushforward.training.saving import Saving


def seconds(act: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def copied(source: Path, target: Path) -> None:
    """A plain copy of the files of a folder, synced."""
    target.mkdir()
    for path in source.iterdir():
        shutil.copyfile(path, target / path.name)
        with (target / path.name).open("rb") as file:
            os.fsync(file.fileno())


def median(values: list[float]) -> str:
    """With quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return f"{middle:7.3f} s ({low:.3f} to {high:.3f})"


def main(megabytes: int, rounds: int) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    parts = {f"w{i}": torch.randn(512, 512) for i in range(max(1, megabytes))}
    moments = {f"{name}.{part}": torch.rand_like(w) for name, w in parts.items() for part in ("exp_avg", "exp_avg_sq")}
    whole = Checkpoint(0, parts, parts, moments, {}, {})
    size = 4 * sum(each.nbytes for each in parts.values()) / 1e6
    times: dict[str, list[float]] = {name: [] for name in ("copy", "checkpoint", "verify", "wait")}
    saving = Saving()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        for step in range(1, rounds + 1):
            now = replace(whole, step=step)
            times["checkpoint"].append(seconds(lambda now=now: write_checkpoint(folder / "run", now)))
            place = folder / f"run/step-{step:08d}"
            times["copy"].append(seconds(lambda place=place: copied(place, folder / "copy")))
            shutil.rmtree(folder / "copy")
            times["verify"].append(seconds(lambda place=place: verify(place)))
            write = partial(write_checkpoint, folder / "meanwhile")
            times["wait"].append(seconds(partial(saving.begin, now, write)))
            work(1.5 * times["checkpoint"][-1])
            saving.wait()
        print(f"{size:,.0f} MB: a model of {size / 4:,.0f} MB, its average and two moments; {rounds} rounds")
        for what in ("copy", "checkpoint", "verify"):
            print(f"  {what:<34} {median(times[what])}")
        print(f"  checkpoint / copy                  {ratio(times['checkpoint'], times['copy']):7.2f}")
        print(f"  what a step waits, written at once {median(times['checkpoint'])}")
        print(f"  what a step waits, meanwhile       {median(times['wait'])}")
        print(f"  hidden                             {1 - ratio(times['wait'], times['checkpoint']):7.0%}")


def ratio(first: list[float], second: list[float]) -> float:
    """The median of the ratios of neighbours in time."""
    return statistics.median(a / b for a, b in zip(first, second))


def work(length: float) -> None:
    """Something like training, while a checkpoint is written."""
    a, end = torch.randn(256, 256), time.perf_counter() + length
    while time.perf_counter() < end:
        a = (a @ a).clamp(-1, 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, int(sys.argv[2]) if len(sys.argv) > 2 else 7)

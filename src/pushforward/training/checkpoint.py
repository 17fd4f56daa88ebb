"""Checkpoints: a folder per step, found whole or not at all.

    checkpoints/step-00001200/
        model.safetensors  ema.safetensors  optim.safetensors  state.json  config.json  manifest.json

It is written as `.step-00001200.tmp`, synced, sealed and renamed. Pruning takes the manifest first, so what
is half deleted does not verify. A reader takes the newest folder that verifies, else the one before. There is
no generator state to keep: every random number is a function of the seed and the step.
"""

import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pushforward._errors import RunError
from pushforward.training.files import (
    MANIFEST,
    read_json,
    read_tensors,
    seal,
    sync,
    verify,
    write_json,
    write_tensors,
)

KEEP = 2
"""How many checkpoints stay."""

_TENSORS = ("model", "ema", "optim")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run between two steps.

    Args:
        step: how many updates have been made.
        model: weights and buffers by name.
        ema: averaged weights by name; empty without averaging.
        optim: the optimizer's state by name.
        state: everything else, as JSON values.
        config: what the run was begun with, as JSON values.
    """

    step: int
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optim: Mapping[str, Tensor]
    state: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def averaged(self) -> dict[str, Tensor]:
        """The weights to sample with."""
        return {**self.model, **self.ema}


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into the folder of checkpoints, and prune all but the newest.

    Raises:
        OSError: the disk is full, say. What was written before is untouched and nothing is left of this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"step-{checkpoint.step:08d}"
    beside = folder / f".{place.name}.tmp"
    if _whole(place):  # the same step of the same run: the same bits
        return place
    try:
        _remove(beside)
        beside.mkdir()
        for name in _TENSORS:
            write_tensors(beside / f"{name}.safetensors", getattr(checkpoint, name))
        write_json(beside / "state.json", {"step": checkpoint.step, **checkpoint.state})
        write_json(beside / "config.json", checkpoint.config)
        seal(beside, [*(f"{name}.safetensors" for name in _TENSORS), "state.json", "config.json"])
        _remove(place)
        os.rename(beside, place)
        sync(folder)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _prune(folder)
    return place


def read_checkpoint(place: Path, check: bool = True) -> Checkpoint:
    """Read one checkpoint.

    Args:
        place: its folder.
        check: verify its checksums first.

    Raises:
        RunError: it is not whole.
    """
    if check:
        verify(place)
    tensors = {name: read_tensors(place / f"{name}.safetensors") for name in _TENSORS}
    state = read_json(place / "state.json")
    return Checkpoint(step=state.pop("step"), state=state, config=read_json(place / "config.json"), **tensors)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that verifies; a warning names those that do not. None if there is none.

    Raises:
        RunError: there are checkpoints, but all are damaged.
    """
    steps, problem = _steps(folder), None
    for place in steps:
        try:
            verify(place)
        except RunError as error:
            problem = error
            warnings.warn(f"A checkpoint is passed over. {error}", stacklevel=2)
        else:
            return place
    if problem is not None:
        raise problem
    return None


def _steps(folder: Path) -> list[Path]:
    """Checkpoints that have a manifest, newest first."""
    return sorted((path.parent for path in folder.glob(f"step-*/{MANIFEST}")), reverse=True)


def _whole(place: Path) -> bool:
    try:
        verify(place)
    except RunError:
        return False
    return True


def _prune(folder: Path) -> None:
    """Keep the newest; take away the older ones and what interrupted writers and pruners left behind."""
    kept = _steps(folder)[:KEEP]
    for place in [*folder.glob("step-*"), *folder.glob(".step-*.tmp")]:
        if place not in kept:
            _remove(place)


def _remove(place: Path) -> None:
    """Take a checkpoint away; from the first moment on it is none."""
    (place / MANIFEST).unlink(missing_ok=True)
    if place.exists():
        shutil.rmtree(place)

"""Checkpoints: a folder per step, found whole or not at all.

    checkpoints/step-00001200/
        model.safetensors  ema.safetensors  optim.safetensors  state.json  config.json  manifest.json
        profiles.safetensors    where averages of several widths are followed (`averages`)

It is written as `.step-00001200.tmp`, sealed, synced and renamed (`_durable`). Pruning takes the manifest first, so
what is half deleted does not verify. A reader takes the newest folder that verifies, else the one before, and says
which and why. There is no generator state to keep: every random number is a function of the seed and the step.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pushforward._durable import put, remove, replacing_folder
from pushforward._errors import RunError, explain
from pushforward.training.files import MANIFEST, as_json, manifest, pieces, read_json, read_tensors, verify

KEEP = 2
"""How many checkpoints stay."""

Anchors = Callable[[int], bool]
"""Which steps to look for."""

_TENSORS = ("model", "ema", "optim")
_PROFILES = "profiles.safetensors"
_FILES = (*(f"{name}.safetensors" for name in _TENSORS), "state.json", "config.json")


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
        profiles: averages of several widths, by width and name; empty where none are followed.
    """

    step: int
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optim: Mapping[str, Tensor]
    state: Mapping[str, Any]
    config: Mapping[str, Any]
    profiles: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def averaged(self) -> dict[str, Tensor]:
        """The weights to sample with."""
        return {**self.model, **self.ema}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, anchors: Anchors = lambda step: False) -> Path:
    """Write a checkpoint into the folder of checkpoints, and prune all but the newest.

    Args:
        folder: of checkpoints.
        checkpoint: what to write.
        anchors: the steps of which the newest stays too, however many come after it.

    Raises:
        OSError: the disk is full, say. What was written before is untouched and nothing is left of this one.
    """
    place = folder / f"step-{checkpoint.step:08d}"
    if _whole(place):  # the same step of the same run: the same bits
        return place
    with replacing_folder(place) as beside:
        facts = {
            f"{name}.safetensors": put(beside / f"{name}.safetensors", pieces(getattr(checkpoint, name)))
            for name in _TENSORS
        }
        if checkpoint.profiles:
            facts[_PROFILES] = put(beside / _PROFILES, pieces(checkpoint.profiles))
        said = {"state.json": {"step": checkpoint.step, **checkpoint.state}, "config.json": checkpoint.config}
        facts |= {name: put(beside / name, [as_json(value).encode()]) for name, value in said.items()}
        put(beside / MANIFEST, [manifest(facts).encode()])
    _prune(folder, anchors)
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
        verify(place, _FILES)
    tensors = {name: read_tensors(place / f"{name}.safetensors") for name in _TENSORS}
    profiles = read_tensors(place / _PROFILES) if (place / _PROFILES).exists() else {}
    step, state = read_state(place)
    return Checkpoint(step=step, state=state, config=read_json(place / "config.json"), profiles=profiles, **tensors)


def read_state(place: Path) -> tuple[int, dict[str, Any]]:
    """The step of a checkpoint, and the rest of its state.

    Raises:
        RunError: there is none.
    """
    state = read_json(place / "state.json")
    step = state.pop("step", None)
    if type(step) is not int or step < 0:
        fix = "Take it away: the one before is found then."
        raise RunError(explain("the step of a checkpoint", f"{repr(step)[:100]} in {str(place)!r}", fix))
    return step, state


def newest_checkpoint(folder: Path, only: Anchors = lambda step: True) -> Path | None:
    """The newest checkpoint that verifies; a warning says which does not, and why. None if there is none.

    Args:
        folder: of checkpoints.
        only: look at these steps alone.

    Raises:
        RunError: there are checkpoints, but all are damaged.
    """
    problems: list[RunError] = []
    passed = "A checkpoint is passed over for the one before"
    for place in filter(lambda place: only(_step(place)), _steps(folder)):
        try:
            verify(place, _FILES)
        except RunError as error:
            problems.append(error)
        else:
            for problem in problems:
                warnings.warn(f"{passed}, {place.name}. {problem}", stacklevel=2)
            return place
    if problems:
        raise problems[0]
    return None


def _steps(folder: Path) -> list[Path]:
    """Checkpoints that have a manifest, newest first: the step in the name counts, no clock."""
    found = [path.parent for path in folder.glob(f"step-*/{MANIFEST}") if path.parent.name[5:].isdecimal()]
    return sorted(found, key=_step, reverse=True)


def _step(place: Path) -> int:
    return int(place.name.removeprefix("step-"))


def _whole(place: Path) -> bool:
    try:
        verify(place, _FILES)
    except RunError:
        return False
    return True


def _prune(folder: Path, anchors: Anchors) -> None:
    """Keep the newest and the newest anchor; take away the rest, and what interrupted writers left behind."""
    found = _steps(folder)
    kept = found[:KEEP] + [place for place in found if anchors(_step(place))][:1]
    for place in [*folder.glob("step-*"), *folder.glob(".step-*.tmp")]:
        if place not in kept:
            remove(place / MANIFEST)  # from this moment on it is none
            remove(place)

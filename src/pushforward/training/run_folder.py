"""A run folder, as the process that trains writes it: everything about one training run.

    config.toml          how to build the model and how it is trained
    environment.json     versions, machine, code, command
    metrics.jsonl        one line per log interval: step, loss, norm, lr, seconds, memory
    checkpoints/         see `checkpoint`
    averages/            see `averages`, where several widths are followed
    model.safetensors    the averaged weights, when the run is done
    manifest.json        size and SHA-256 of config.toml and model.safetensors, written last
    failure.txt          what it failed with, if it did; a signal is no failure
    tracking.json        what trackers call it, if there are any

One process writes to a folder at a time (`lock.py`); any number may read. Where the manifest is missing the run is not
done, and the newest checkpoint speaks for it. A run goes on with what it was begun with, or not at all.
"""

import json
import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from pushforward import _config
from pushforward._durable import make, remove, sync, write_text
from pushforward._errors import ConfigError, RunError, explain
from pushforward._recipe import KINDS, Run
from pushforward.training.averages import forget_snapshots, write_snapshot
from pushforward.training.checkpoint import Anchors, Checkpoint, newest_checkpoint, read_state, write_checkpoint
from pushforward.training.files import MANIFEST, read_json, seal, write_json, write_tensors
from pushforward.training.lock import LOCK, alone
from pushforward.training.signals import Interrupted

CONFIG, WEIGHTS, METRICS, FAILURE = "config.toml", "model.safetensors", "metrics.jsonl", "failure.txt"
_DIGESTS = {
    "teacher": ", the weights of another teacher",
    "start": ", another model or other rows to start from",
}
"""What a digest that is another means, in words."""
_FREE = frozenset(
    {"steps", "on_nan", "log_every", "checkpoint_every", "accumulate", "device", "threads", "shard"}
    | {"recompute", "compile"}
)
"""Settings that may change on the way."""


class RunFolder:
    """A run folder that this process writes to. Made by `locked`."""

    def __init__(self, path: Path, config: Run) -> None:
        self.path, self.config = path, config
        self._metrics: IO[bytes] | None = None
        self._unwritten, self._told = b"", False

    def newest(self, only: Anchors = lambda step: True) -> Path | None:
        """Where the newest whole checkpoint is, after checking that it is this run's; None at the beginning.

        Args:
            only: of these steps.

        Raises:
            ConfigError: it was begun with other settings, model or data, or has made more steps.
        """
        place = newest_checkpoint(self.path / "checkpoints", only)
        if place is None:
            return None
        begun = _config.from_table(Run, read_json(place / "config.json"), KINDS)
        _require_same(begun, self.config, self.path)
        made, steps = read_state(place)[0], self.config.settings.steps
        if made > steps:
            fix = "Ask for as many or more, or use another folder."
            raise ConfigError(explain(f"at least the {made} steps this run has made", f"steps = {steps}", fix))
        return place

    def begin(self, step: int, facts: Mapping[str, Any]) -> None:
        """Write the configuration and the environment, and cut metrics and averages back to `step`."""
        forget_snapshots(self.path, step)
        remove(self.path / MANIFEST)
        remove(self.path / WEIGHTS)
        remove(self.path / FAILURE)
        write_text(self.path / CONFIG, _config.dumps(self.config, KINDS), alone=True)
        write_json(self.path / "environment.json", facts)
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step), alone=True)
        self._metrics = path.open("ab", buffering=0)

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics; on a full disk it waits for room, and a warning says so once."""
        assert self._metrics is not None, "begin() comes first"
        self._unwritten += json.dumps(record).encode() + b"\n"
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._metrics.write(self._unwritten) :]
        except OSError as error:
            if not self._told:
                warnings.warn(f"Metrics wait for room on the disk: {error}. Training goes on.", stacklevel=2)
            self._told = True

    def checkpoint(self, checkpoint: Checkpoint, anchors: Anchors = lambda step: False, kept: bool = False) -> None:
        """Write a checkpoint, after the metrics up to it, and if asked after a snapshot of its averages.

        Raises:
            OSError: it could not be written; the ones before are untouched.
        """
        if self._metrics is not None:
            sync(self.path / METRICS)
        if kept:
            write_snapshot(self.path, checkpoint.step, checkpoint.profiles)
        write_checkpoint(self.path / "checkpoints", checkpoint, anchors)

    def finish(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the final weights and seal the folder."""
        remove(self.path / MANIFEST)
        config = write_text(self.path / CONFIG, _config.dumps(self.config, KINDS), alone=True)
        seal(self.path, {CONFIG: config, WEIGHTS: write_tensors(self.path / WEIGHTS, tensors)})

    def fail(self, error: Exception) -> None:
        """Note what a run that had begun failed with."""
        if self._metrics is not None and not isinstance(error, Interrupted):
            with suppress(OSError):
                write_text(self.path / FAILURE, f"{type(error).__name__}: {error}\n", alone=True)

    def close(self) -> None:
        """Close the metrics."""
        if self._metrics is not None:
            self._metrics.close()


def claim(path: Path) -> None:
    """Make a folder a run's, before anything is written to it.

    Raises:
        RunError: it is a folder of something else.
    """
    strangers = path.exists() and not (path / LOCK).exists() and any(path.iterdir() if path.is_dir() else [path])
    if strangers and not (path / CONFIG).exists():
        fix = "Choose a folder that is new or empty."
        raise RunError(explain("a run folder", f"{str(path)!r}, which holds something else", fix))
    make(path)
    (path / LOCK).touch()


@contextmanager
def locked(path: Path, config: Run) -> Generator[RunFolder]:
    """A run folder for this process alone.

    Raises:
        RunError: another process has it, or it is a folder of something else.
    """
    claim(path)
    with alone(path):
        folder = RunFolder(path, config)
        try:
            yield folder
        except Exception as error:
            folder.fail(error)
            raise
        finally:
            folder.close()


def _require_same(old: Run, new: Run, path: Path) -> None:
    """Refuse to go on with a run under another description than it was begun with."""
    untold = {name: None for name in _DIGESTS if getattr(old, name) is None}  # the release that began it kept none
    freed = replace(new, settings=replace(new.settings, **{k: getattr(old.settings, k) for k in _FREE}), **untold)
    old, freed = (replace(run, objective=_said(run.objective)) for run in (old, freed))
    if freed == old:
        return
    before, after = _flat(old), _flat(freed)
    name = next(key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key))
    got = f"{name} = {after.get(name)!r}{_DIGESTS.get(name, '')}"
    fix = "Go on with what it was begun with, or use another folder."
    raise ConfigError(explain(f"{name} = {before.get(name)!r}, as {str(path)!r} was begun", got, fix))


def _said(objective: str) -> str:
    """Without arguments that are None, which the release that began a run may not have had."""
    return re.sub(r", \w+=None|\b\w+=None(?:, )?", "", objective)


def _flat(run: Run) -> dict[str, Any]:
    named = {each.name: getattr(run, each.name) for each in fields(run) if each.name != "settings"}
    return {**asdict(run.settings), **named}


def _step_of(line: str) -> float:
    """The step of a line of metrics; infinity for one that was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")

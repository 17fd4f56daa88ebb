"""A run folder: everything about one training run, and the way back to the model.

    config.toml          how to build the model and how it is trained
    environment.json     versions, machine, code, command
    metrics.jsonl        one line per log interval: step, loss, norm, lr, seconds
    checkpoints/         see `checkpoint`
    model.safetensors    the averaged weights, when the run is done
    manifest.json        size and SHA-256 of config.toml and model.safetensors, written last

One process writes to a folder at a time (a lock on `lock`); any number may read. Where the manifest is
missing the run is not done, and the newest checkpoint speaks for it.
"""

import json
import os
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from pushforward import _config
from pushforward._errors import ConfigError, RunError, explain
from pushforward._recipe import KINDS, Recipe, Run, Settings
from pushforward.models.model import Model
from pushforward.training.build import build
from pushforward.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, write_checkpoint
from pushforward.training.files import (
    MANIFEST,
    read_json,
    read_tensors,
    require_version,
    seal,
    verify,
    write_json,
    write_tensors,
    write_text,
)
from pushforward.training.weights import not_finite, put_weights, weights

CONFIG, WEIGHTS, METRICS = "config.toml", "model.safetensors", "metrics.jsonl"
_FREE = frozenset({"steps", "log_every", "checkpoint_every", "accumulate", "device", "threads", "shard"})


def load(run: str | os.PathLike[str], model: Model | None = None, device: str = "cpu") -> Model:
    """The model of a run folder, ready to sample: with its final weights, or its newest checkpoint's.

    Args:
        run: the folder.
        model: a model to put the weights into, for runs whose model was built by hand.
        device: where to put it.

    Raises:
        RunError: the folder is missing, damaged, of another version, or says nothing about its model.
    """
    folder = Path(run)
    config = read_run(folder)
    if model is None:
        if config.model is None:
            fix = "Build it as you did then and call load(run, model)."
            raise RunError(explain("a recipe of the model", f"{str(folder)!r}, built by hand", fix))
        model = build(config.model, config.shape, config.classes)
    put_weights(model, _final_weights(folder))
    bad = not_finite(dict(model.named_parameters()))
    if bad:
        fix = "Train again with a lower lr."
        raise RunError(explain("finite weights", f"{bad!r} in {str(folder)!r}, which is not", fix))
    return model.to(device).eval()


def save_run(
    model: Model,
    run: str | os.PathLike[str],
    recipe: Recipe | None = None,
    classes: int = 0,
    data: str = "",
    settings: Settings | None = None,
) -> Path:
    """Write a model as a finished run folder, as `load` reads it.

    Args:
        model: whose weights are written as they are.
        run: the folder; made if it does not exist.
        recipe: how to build the model; without it, `load` must be given one.
        classes: how many classes its context counts.
        data: the name of its data set.
        settings: how it was trained, if it was.

    Raises:
        RunError: the folder holds something else or is being written to.
    """
    config = Run(settings or Settings(), model.shape, classes, data, "", recipe)
    with locked(Path(run), config) as folder:
        folder.finish(weights(model))
    return Path(run)


def read_run(run: str | os.PathLike[str]) -> Run:
    """What a run folder's `config.toml` says.

    Raises:
        RunError: there is none, or it is of another version.
        ConfigError: it says something impossible.
    """
    path = Path(run) / CONFIG
    if not path.is_file():
        got = f"{str(run)!r}, which {'has no ' + CONFIG if Path(run).exists() else 'does not exist'}"
        raise RunError(explain("a run folder", got, "Check the path; `train` with run= makes one."))
    table = _config.read(path)
    require_version(table.get("format_version"), path.parent)
    return _config.from_table(Run, table, KINDS)


class RunFolder:
    """A run folder that this process writes to. Made by `locked`."""

    def __init__(self, path: Path, config: Run) -> None:
        self.path, self.config = path, config
        self._metrics: IO[str] | None = None

    def newest(self) -> Path | None:
        """Where the newest whole checkpoint is, after checking that it is this run's; None at the beginning.

        Raises:
            ConfigError: it was begun with other settings, model or data, or has made more steps.
        """
        place = newest_checkpoint(self.path / "checkpoints")
        if place is None:
            return None
        begun = _config.from_table(Run, read_json(place / "config.json"), KINDS)
        _require_same(begun, self.config, self.path)
        made, steps = read_json(place / "state.json")["step"], self.config.settings.steps
        if made > steps:
            fix = "Ask for as many or more, or use another folder."
            raise ConfigError(explain(f"at least the {made} steps this run has made", f"steps = {steps}", fix))
        return place

    def begin(self, step: int, facts: Mapping[str, Any]) -> None:
        """Write the configuration and the environment, and cut the metrics back to `step`."""
        for name in (MANIFEST, WEIGHTS):
            (self.path / name).unlink(missing_ok=True)
        write_text(self.path / CONFIG, _config.dumps(self.config, KINDS))
        write_json(self.path / "environment.json", facts)
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step_of(line) <= step))
        self._metrics = path.open("a", encoding="utf-8", buffering=1)

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        assert self._metrics is not None, "begin() comes first"
        self._metrics.write(json.dumps(record) + "\n")

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint.

        Raises:
            OSError: it could not be written; the ones before are untouched.
        """
        write_checkpoint(self.path / "checkpoints", checkpoint)

    def finish(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the final weights and seal the folder."""
        write_text(self.path / CONFIG, _config.dumps(self.config, KINDS))
        (self.path / MANIFEST).unlink(missing_ok=True)
        write_tensors(self.path / WEIGHTS, tensors)
        seal(self.path, [CONFIG, WEIGHTS])

    def close(self) -> None:
        """Close the metrics."""
        if self._metrics is not None:
            self._metrics.close()


def claim(path: Path) -> None:
    """Make a folder a run's, before anything is written to it.

    Raises:
        RunError: it is a folder of something else.
    """
    strangers = path.exists() and not (path / "lock").exists() and any(path.iterdir() if path.is_dir() else [path])
    if strangers and not (path / CONFIG).exists():
        fix = "Choose a folder that is new or empty."
        raise RunError(explain("a run folder", f"{str(path)!r}, which holds something else", fix))
    path.mkdir(parents=True, exist_ok=True)
    (path / "lock").touch()


@contextmanager
def locked(path: Path, config: Run) -> Generator[RunFolder]:
    """A run folder for this process alone.

    Raises:
        RunError: another process has it, or it is a folder of something else.
    """
    claim(path)
    with (path / "lock").open("a") as file:
        _lock(file, path)
        folder = RunFolder(path, config)
        try:
            yield folder
        finally:
            folder.close()


def _lock(file: IO[str], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: trust the user
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        fix = "Wait for it, or choose another folder."
        raise RunError(explain("a folder of one's own", f"{str(path)!r}, in use by another run", fix)) from error


def _final_weights(folder: Path) -> dict[str, Tensor]:
    if (folder / MANIFEST).exists():
        verify(folder)
        return read_tensors(folder / WEIGHTS)
    place = newest_checkpoint(folder / "checkpoints")
    if place is None:
        fix = "Train it again with the same folder."
        raise RunError(explain("a trained run", f"{str(folder)!r}, which has no weights yet", fix))
    checkpoint = read_checkpoint(place, check=False)
    warnings.warn(f"{str(folder)!r} is not done: these are the weights of step {checkpoint.step}.", stacklevel=3)
    return checkpoint.averaged


def _require_same(old: Run, new: Run, path: Path) -> None:
    freed = replace(new, settings=replace(new.settings, **{k: getattr(old.settings, k) for k in _FREE}))
    if freed == old:
        return
    before, after = _flat(old), _flat(freed)
    name = next(key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key))
    got = f"{name} = {after.get(name)!r}"
    fix = "Go on with what it was begun with, or use another folder."
    raise ConfigError(explain(f"{name} = {before.get(name)!r}, as {str(path)!r} was begun", got, fix))


def _flat(run: Run) -> dict[str, Any]:
    named = {each.name: getattr(run, each.name) for each in fields(run) if each.name != "settings"}
    return {**asdict(run.settings), **named}


def _step_of(line: str) -> float:
    """The step of a line of metrics; infinity for one that was cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")

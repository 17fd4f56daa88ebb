"""Somebody else's tracker beside metrics.jsonl, which stays the truth.

    train ----queue----> a thread ----> tensorboard | wandb | trackio | mlflow

The packages are extras and are imported when they are asked for. All that may wait for a network happens in the thread,
so a tracker that is slow or hangs costs no step anything; one that fails is left alone after one warning. A
tracker's name for a run is kept in `tracking.json`, so that a resumed run goes on in it. What a resumed run repeats has
the same numbers as before, so a tracker that keeps the first or the last of two shows the same curve.
"""

import importlib
import importlib.util
import math
import queue
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from pushforward._errors import ConfigError, PushforwardError, explain
from pushforward.training.files import read_json, write_json

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]

FILE: Final = "tracking.json"
PROJECT: Final = "pushforward"
PATIENCE: Final = 60.0
"""Seconds that the end of training waits for a tracker."""


class Tracker(Protocol):
    """Where curves go."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add points at a step to the curves of these names."""
        ...

    def close(self, finished: bool) -> None:
        """Send what is left. Not finished means that the run may go on later."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """What a tracker is told of a run.

    Args:
        path: the run folder.
        known: the tracker's own name for the run, from when it was begun.
        step: updates made so far.
        config: what the run is, flat: `settings.lr` and so on.
    """

    path: Path
    known: str | None
    step: int
    config: Mapping[str, str | int | float | bool]


class Tracking:
    """A tracker that cannot harm training.

    Args:
        what: its name, or a tracker of one's own.
        path: the run folder; None is for trackers of one's own.
        step: updates made so far.
        config: what the run is, nested.

    Raises:
        ConfigError: the package is missing, or there is no such tracker.
    """

    def __init__(self, what: TrackerName | Tracker, path: Path | None, step: int, config: Mapping[str, Any]) -> None:
        self._name = what if isinstance(what, str) else type(what).__name__
        self._queue: queue.SimpleQueue[tuple[int, dict[str, float]] | bool] = queue.SimpleQueue()
        self._trouble: str | None = None
        self._told = False
        opening = _opening(what, path, step, config) if isinstance(what, str) else lambda: what
        self._thread = threading.Thread(target=self._run, args=(opening,), name="tracker", daemon=True)
        self._thread.start()

    def log(self, record: Mapping[str, Any]) -> None:
        """Pass a line of metrics on: its finite numbers, at its step."""
        numbers = {name: float(value) for name, value in record.items() if isinstance(value, int | float)}
        step = int(numbers.pop("step"))
        if self._trouble is None:
            self._queue.put((step, {name: value for name, value in numbers.items() if math.isfinite(value)}))
        self._tell()

    def close(self, finished: bool = True) -> None:
        """Wait for what is left, for a while."""
        self._queue.put(finished)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._trouble = f"no answer in {PATIENCE:g} seconds"
        self._tell()

    def _tell(self) -> None:
        if self._trouble is None or self._told:
            return
        self._told = True
        warnings.warn(f"{self._name} failed: {self._trouble}. metrics.jsonl has it all.", stacklevel=3)

    def _run(self, opening: Callable[[], Tracker]) -> None:
        try:
            tracker = opening()
            while not isinstance(item := self._queue.get(), bool):
                tracker.log(*item)
            tracker.close(item)
        except Exception as error:  # whatever it is, it is not training's
            self._trouble = " ".join(f"{type(error).__name__}: {error}".split())[:300]


def require(name: str) -> None:
    """See that a tracker can be had, before anything is computed.

    Raises:
        ConfigError: there is no such tracker, or its package is missing.
    """
    if name not in _TRACKERS:
        raise ConfigError(explain(f"a tracker ({', '.join(_TRACKERS)})", repr(name), "Choose one of these."))
    try:
        found = importlib.util.find_spec(name) is not None
    except ValueError:  # somebody put it into sys.modules by hand
        found = True
    if not found:
        fix = f"Install it: pip install 'pushforward[{name}]'; or leave it out, metrics.jsonl has the same numbers."
        raise ConfigError(explain(f"the package {name} for tracking", "none installed", fix))


def _opening(name: str, path: Path | None, step: int, config: Mapping[str, Any]) -> Callable[[], Tracker]:
    require(name)
    assert path is not None, "the loop sees to it"
    place = Place(path, kept_names(path).get(name), step, _flat(config))

    def opened() -> Tracker:
        tracker, known = _TRACKERS[name](place)
        if known != place.known:
            keep_name(path, name, known)
        return tracker

    return opened


def keep_name(path: Path, tracker: str, known: str) -> None:
    """Write down what a tracker calls the run of this folder."""
    write_json(path / FILE, {**kept_names(path), tracker: known})


def kept_names(path: Path) -> dict[str, str]:
    """What trackers call this run; a damaged file is as good as none."""
    try:
        found = read_json(path / FILE) if (path / FILE).is_file() else {}
    except (PushforwardError, OSError):
        found = {}
    return {name: known for name, known in found.items() if isinstance(known, str)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    flat: dict[str, str | int | float | bool] = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            flat |= _flat(each, f"{prefix}{key}.")
        elif each is not None:
            flat[prefix + key] = each if isinstance(each, str | int | float) else str(each)
    return flat


class _TensorBoard:
    """Event files in the run folder; a resumed run hides what came after its checkpoint."""

    def __init__(self, place: Place) -> None:
        module: Any = importlib.import_module("torch.utils.tensorboard")
        purge = place.step + 1 if place.known else None
        self._writer = module.SummaryWriter(str(place.path / "tensorboard"), purge_step=purge)
        if not place.known:
            text = "\n".join(f"    {name} = {value}" for name, value in place.config.items())
            self._writer.add_text("config", text)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, finished: bool) -> None:
        self._writer.close()


class _Wandb:
    """wandb's run, or trackio's, which is used alike."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, finished: bool) -> None:
        self._run.finish()


class _MLflow:
    """A run by its number, through the client, which keeps no global state. A line is one transaction."""

    def __init__(self, client: Any, number: str) -> None:
        self._client, self._number = client, number
        self._metric: Any = importlib.import_module("mlflow.entities").Metric

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._number, metrics=metrics)

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._number, "FINISHED" if finished else "KILLED")


def _tensorboard(place: Place) -> tuple[Tracker, str]:
    return _TensorBoard(place), "tensorboard"


def _wandb(place: Place) -> tuple[Tracker, str]:
    module: Any = importlib.import_module("wandb")
    known = place.known or secrets.token_hex(4)
    run = module.init(
        project=PROJECT, id=known, name=place.path.resolve().name, dir=str(place.path), config=dict(place.config),
        resume="allow", allow_val_change=True,
    )  # fmt: skip
    return _Wandb(run), known


def _trackio(place: Place) -> tuple[Tracker, str]:
    module: Any = importlib.import_module("trackio")
    known = place.known or f"{place.path.resolve().name}-{secrets.token_hex(4)}"  # its runs go by their names
    return _Wandb(module.init(project=PROJECT, name=known, config=dict(place.config), resume="allow")), known


def _mlflow(place: Place) -> tuple[Tracker, str]:
    client: Any = importlib.import_module("mlflow").MlflowClient()
    if place.known:
        client.update_run(place.known, status="RUNNING")
        return _MLflow(client, place.known), place.known
    experiment = client.get_experiment_by_name(PROJECT)
    number = client.create_experiment(PROJECT) if experiment is None else experiment.experiment_id
    known = str(client.create_run(number, run_name=place.path.resolve().name).info.run_id)
    param: Any = importlib.import_module("mlflow.entities").Param
    client.log_batch(known, params=[param(name, str(value)) for name, value in place.config.items()])
    return _MLflow(client, known), known


_TRACKERS: Final[Mapping[str, Callable[[Place], tuple[Tracker, str]]]] = MappingProxyType(
    {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio, "mlflow": _mlflow}
)

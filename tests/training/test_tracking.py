"""Trackers: asked for, never in the way, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pushforward._errors import ConfigError
from pushforward.training import Interrupted, Settings, train
from pushforward.training import tracking as room
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(steps=40, batch=16, device="cpu", threads=1, log_every=10, checkpoint_every=20)


class Stopped(Circle):
    """A circle that is told to stop at step 25."""

    def batches(self, size, draw, start=0, rank=0, world=1):
        for step, batch in enumerate(super().batches(size, draw, start, rank, world), start):
            if step == 25:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def trained(path, track, data=None):
    return train(Straight(), data or Circle(), flow_matching, settings=SETTINGS, progress=False, run=path, track=track)


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


class Run:
    """What wandb and trackio give."""

    def __init__(self, told, **arguments):
        self.told = told
        told.append(("init", arguments))

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.told.append(("finish", {}))


def like_wandb(name, told):
    module = ModuleType(name)
    module.init = lambda **arguments: Run(told, **arguments)
    return module


class Client:
    """What mlflow's client does, of what is used."""

    def __init__(self, told):
        self.told = told

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def create_run(self, experiment, run_name):
        self.told.append(("init", {"name": run_name, "experiment": experiment}))
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def update_run(self, number, status):
        self.told.append(("init", {"id": number, "status": status}))

    def log_batch(self, number, metrics=(), params=()):
        self.told.extend((each.key, each.value) for each in params)
        self.told.extend((each.step, {each.key: each.value}) for each in metrics)

    def set_terminated(self, number, status):
        self.told.append(("finish", {"status": status}))


def points(told, name="loss"):
    return [(step, values[name]) for step, values in told if isinstance(step, int) and name in values]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_goes_on_in_its_trackers_run(name, tmp_path, monkeypatch):
    told = []
    monkeypatch.setitem(sys.modules, name, like_wandb(name, told))
    with pytest.raises(Interrupted):
        trained(tmp_path, name, Stopped())
    trained(tmp_path, name)
    first, second = [arguments for what, arguments in told if what == "init"]
    key = "id" if name == "wandb" else "name"
    assert first[key] == second[key] == json.loads((tmp_path / "tracking.json").read_text())[name]
    assert second["resume"] == "allow"
    assert first["config"]["settings.lr"] == SETTINGS.lr
    assert points(told) == [(line["step"], line["loss"]) for line in lines(tmp_path)]
    assert [what for what, _ in told].count("finish") == 2


def test_mlflow_keeps_its_run_and_says_how_it_ended(tmp_path, monkeypatch):
    told = []
    module = ModuleType("mlflow")
    module.MlflowClient = lambda: Client(told)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    entities = ModuleType("mlflow.entities")
    entities.Metric = lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step)
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    with pytest.raises(Interrupted):
        trained(tmp_path, "mlflow", Stopped())
    trained(tmp_path, "mlflow")
    assert [each for what, each in told if what == "init"][1] == {"id": "abc", "status": "RUNNING"}
    assert [each["status"] for what, each in told if what == "finish"] == ["KILLED", "FINISHED"]
    assert points(told) == [(line["step"], line["loss"]) for line in lines(tmp_path)]
    assert told.count(("settings.batch", "16")) == 1  # mlflow refuses another value


def test_tensorboard_reads_back_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is an extra: pip install 'pushforward[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Interrupted):
        trained(tmp_path, "tensorboard", Stopped())
    trained(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [(each.step, each.value) for each in events.Scalars("loss")]
    assert found == [(line["step"], pytest.approx(line["loss"])) for line in lines(tmp_path)]


def test_tensorboards_writer_is_told_from_where_on_to_forget(tmp_path, monkeypatch):
    told = []

    class Writer:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def __getattr__(self, name):
            return lambda *arguments: told.append((name, *arguments))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    with pytest.raises(Interrupted):
        trained(tmp_path, "tensorboard", Stopped())
    trained(tmp_path, "tensorboard")
    assert [each for each in told if each[0] == str(tmp_path / "tensorboard")] == [
        (str(tmp_path / "tensorboard"), None),
        (str(tmp_path / "tensorboard"), 27),
    ]
    losses = [(step, value) for what, *rest in told if what == "add_scalar" for name, value, step in [rest]
              if name == "loss"]  # fmt: skip
    assert losses == [(line["step"], line["loss"]) for line in lines(tmp_path)]


@pytest.mark.parametrize("when", ["init", "log", "finish"])
def test_a_tracker_that_is_down_is_one_warning(when, tmp_path, monkeypatch):
    def down(*_, **__):
        raise ConnectionError("no route to host")

    module = like_wandb("wandb", [])
    if when == "init":
        module.init = down
    else:
        monkeypatch.setattr(Run, when, down)
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.warns(UserWarning, match="wandb failed: ConnectionError: no route to host. metrics.jsonl") as caught:
        history = trained(tmp_path, "wandb")
    assert len(caught) == 1
    assert [line["loss"] for line in lines(tmp_path)] == list(history.losses)
    assert history.losses == train(Straight(), Circle(), flow_matching, settings=SETTINGS, progress=False).losses


def test_a_tracker_that_hangs_costs_no_step(tmp_path, monkeypatch):
    answer, steps = threading.Event(), []
    module = like_wandb("wandb", [])
    module.init = lambda **_: answer.wait(60)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(room, "PATIENCE", 0.05)
    with pytest.warns(UserWarning, match=r"no answer in 0\.05 seconds"):
        steps = trained(tmp_path, "wandb").steps
    answer.set()
    assert steps == (10, 20, 30, 40)


def test_ones_own_tracker_needs_no_folder():
    class Mine:
        def __init__(self):
            self.seen, self.ended = [], None

        def log(self, step, values):
            self.seen.append((step, values["loss"]))

        def close(self, finished):
            self.ended = finished

    mine = Mine()
    history = trained(None, mine)
    assert mine.seen == list(zip(history.steps, history.losses))
    assert mine.ended is True


def test_what_is_missing_is_said_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"package wandb for tracking; got none installed. .*pushforward\[wandb\]"):
        trained(tmp_path / "run", "wandb")
    with pytest.raises(ConfigError, match=r"a tracker .*; got 'neptune'"):
        trained(tmp_path / "run", "neptune")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(room.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"a run folder, .*; got track = 'wandb' without one"):
        trained(None, "wandb")


def test_no_tracker_is_imported_that_was_not_asked_for(tmp_path):
    root = Path(__file__).parents[2]
    program = (
        "import sys, pushforward as pf; from training.stand_in import *;"
        "pf.train(Straight(), Circle(), flow_matching, steps=3, batch=4, progress=False, run=sys.argv[1]);"
        "sys.exit(' '.join({'tensorboard', 'wandb', 'trackio', 'mlflow'} & set(sys.modules)) or 0)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run")], env=environment, check=False)
    assert done.returncode == 0
    assert not (tmp_path / "run" / "tracking.json").exists()


def test_lines_wait_for_the_tracker_and_not_the_loop():
    gate, seen = threading.Event(), []

    class Slow:
        def log(self, step, values):
            gate.wait(60)
            seen.append((step, values))

        def close(self, finished):
            pass

    tracking = room.Tracking(Slow(), None, 0, {})
    for step in range(20):
        tracking.log({"step": step, "loss": 1.0, "norm": None, "bad": float("nan")})
    assert seen == []
    gate.set()
    tracking.close()
    assert seen == [(step, {"loss": 1.0}) for step in range(20)]

"""Real trackers, each asked what the command line told it; those that are not installed are skipped."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(name: str, folder: Path) -> tuple[Path, list[tuple[int, float]]]:
    """A run of the command line that tells a tracker, in a process of its own; its folder, and its losses by step."""
    pytest.importorskip(name, reason=f"{name} is an extra: pip install 'pushforward[{name}]'")
    run = folder / "run"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline",
        "WANDB_SILENT": "true", "TRACKIO_DIR": str(folder / "trackio"), "HF_HUB_OFFLINE": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "pushforward", "train", "moons", "--steps", "40", "--batch", "16", "--log-every", "10",
        "--mlp.hidden", "8", "--mlp.layers", "1", "--threads", "1", "--track", name, "--out", str(run),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr, done.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    return run, [(line["step"], line["loss"]) for line in lines]


def close(found, losses) -> bool:
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in found] == losses


@pytest.mark.slow
def test_tensorboard_has_the_curve(tmp_path):
    run, losses = tracked("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert close([(each.step, each.value) for each in events.Scalars("loss")], losses)


def logged(data: bytes) -> Iterator[bytes]:
    """The records of a file as wandb writes it offline: LevelDB's log after 7 bytes, in blocks of 32 KiB."""
    place, held = 7, b""
    while place + 7 <= len(data):
        room = 2**15 - place % 2**15
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        held += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield held
            held = b""


@pytest.mark.slow
def test_wandb_has_the_curve(tmp_path):
    run, losses = tracked("wandb", tmp_path)
    from wandb.proto import wandb_internal_pb2

    found, (file,) = [], run.rglob("*.wandb")
    for data in logged(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        values = {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in record.history.item}
        if "loss" in values:
            found.append((values.get("_step", record.history.step.num), values["loss"]))
    assert close(found, losses)


@pytest.mark.slow
def test_trackio_has_the_curve(tmp_path):
    _, losses = tracked("trackio", tmp_path)
    (file,) = (tmp_path / "trackio").rglob("pushforward.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select step, metrics from metrics order by step").fetchall()
    base.close()
    found = [(step, json.loads(metrics)["loss"]) for step, metrics in rows if "loss" in json.loads(metrics)]
    assert close(found, losses)


@pytest.mark.slow
def test_mlflow_has_the_curve(tmp_path):
    run, losses = tracked("mlflow", tmp_path)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    known = json.loads((run / "tracking.json").read_text())["mlflow"]
    assert client.get_run(known).info.status == "FINISHED"
    assert client.get_run(known).data.params["settings.batch"] == "16"
    assert close([(each.step, each.value) for each in client.get_metric_history(known, "loss")], losses)

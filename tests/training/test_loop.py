"""Training as a function of its arguments: interrupted or not, in pieces or not."""

import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch

from pushforward._errors import ConfigError, DataError, RunError, ShapeError, TrainingError
from pushforward.data.batch import Batch
from pushforward.training import History, Interrupted, Settings, load, run_folder, train
from pushforward.training import loop as room
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(steps=40, batch=16, device="cpu", threads=1, log_every=7, checkpoint_every=10)


def trained(data=None, objective=flow_matching, dropout=0.2, **options) -> tuple[Straight, History]:
    model = Straight(dropout=dropout)
    return model, train(model, data or Circle(), objective, settings=SETTINGS, progress=False, **options)


def same(a: Straight, b: Straight) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))


class Signals(Circle):
    """A circle whose stream sends this process a signal while it makes the batch of step 22."""

    def batches(self, size, draw, start=0, rank=0, world=1):
        for step, batch in enumerate(super().batches(size, draw, start, rank, world), start):
            if step == 22:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_interrupted_is_resumed_to_the_bit_in_mid_epoch_with_dropout(tmp_path):
    whole, history = trained()
    model = Straight(dropout=0.2)
    with pytest.raises(Interrupted, match="Stopped after step 23") as caught:
        train(model, Signals(), flow_matching, settings=SETTINGS, progress=False, run=tmp_path)
    assert (caught.value.step, caught.value.run) == (23, tmp_path)
    assert 23 * 16 % 100 != 0
    resumed, again = trained(run=tmp_path)
    assert same(whole, resumed)
    assert (again.steps, again.losses) == (history.steps, history.losses)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [7, 14, 21, 28, 35, 40]


def test_a_crash_costs_the_steps_since_the_checkpoint_and_no_line_is_doubled(tmp_path):
    def crash(model, batch, draw):
        if draw.step == 37:
            raise KeyboardInterrupt
        return flow_matching(model, batch, draw)

    crash.__qualname__ = flow_matching.__qualname__
    whole, history = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(objective=crash, run=tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    resumed, again = trained(run=tmp_path)
    assert same(whole, resumed)
    assert again.losses == history.losses
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [7, 14, 21, 28, 35, 40]


def test_a_judge_sees_the_averaged_weights_and_changes_nothing(tmp_path):
    def judge(model) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(1)
        return model.leave.bias.sum().item()

    whole, history = trained()
    every = {"judge": judge, "judge_every": 15}
    watched, seen = trained(**every)
    assert same(whole, watched)
    assert seen.losses == history.losses
    assert [step for step, _ in seen.judged] == [15, 30, 40]
    assert seen.judged[-1][1] == whole.leave.bias.sum().item()
    assert history.judged == ()
    with pytest.raises(ConfigError, match="judge_every to be 1 or more"):
        trained(judge=judge, judge_every=0)
    with pytest.raises(Interrupted):
        train(Straight(dropout=0.2), Signals(), flow_matching, settings=SETTINGS, progress=False, run=tmp_path, **every)
    _, resumed = trained(run=tmp_path, **every)
    assert resumed.judged == seen.judged
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["judged"]) for line in lines if "judged" in line] == list(seen.judged)


PROGRAM = """
import sys, time
from training.stand_in import Circle, Straight, flow_matching
from training.test_loop import SETTINGS
from pushforward.training import train
def slowly(model, batch, draw):
    time.sleep(0.01)
    return flow_matching(model, batch, draw)
slowly.__qualname__ = "flow_matching"
train(Straight(dropout=0.2), Circle(), slowly, settings=SETTINGS, run=sys.argv[1])
"""


def test_kill_9_is_survived(tmp_path):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root / 'tests'}", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoints/step-00000020").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "manifest.json").exists()
    assert same(trained()[0], trained(run=tmp_path)[0])


@pytest.mark.parametrize("pieces", [2, 3, 16])
def test_accumulated_gradients_are_those_of_the_whole_batch(pieces):
    whole, history = trained(dropout=0.0)
    parts, again = trained(dropout=0.0, accumulate=pieces)
    assert again.losses == pytest.approx(history.losses, abs=1e-6)
    for a, b in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_callers_random_numbers_neither_matter_nor_change():
    torch.manual_seed(1)
    first, _ = trained()
    second = Straight(dropout=0.2)
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    train(second, Circle(), flow_matching, settings=SETTINGS, progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert same(first, second)
    assert not same(first, trained(seed=1)[0])


def test_dropout_differs_from_step_to_step():
    masks = []

    def watch(model, batch, draw):
        masks.append(torch.nn.functional.dropout(torch.ones(64)))
        return flow_matching(model, batch, draw)

    trained(objective=watch, steps=4)
    assert len({tuple(mask.tolist()) for mask in masks}) == 4


def test_averaged_weights_are_put_in_and_dropout_is_off():
    raw, _ = trained(ema=0.0)
    averaged, _ = trained(ema=0.9)
    assert not same(raw, averaged)
    assert not raw.training
    assert not averaged.training


def test_training_learns():
    _, history = trained(dropout=0.0, steps=200, lr=1e-2, log_every=50)
    assert history.losses[-1] < 0.85 * history.losses[0]
    assert all(b > a for a, b in zip(history.seconds, history.seconds[1:]))


def test_clipping_bounds_the_update_not_the_logged_norm(tmp_path):
    trained(run=tmp_path, clip=1e-3, steps=3, log_every=1)
    assert all(json.loads(line)["norm"] > 0.1 for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_bf16_is_near_fp32():
    _, exact = trained(dropout=0.0)
    model, rough = trained(dropout=0.0, precision="bf16")
    assert rough.losses != exact.losses
    assert rough.losses == pytest.approx(exact.losses, rel=0.03)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_no_reference_cycle_holds_a_tensor(tmp_path):  # nor does anything collect here: see conftest
    trained(steps=2)  # what is imported late
    gc.disable()
    try:
        before = {id(each) for each in gc.get_objects()}
        model, data = Straight(), Circle()
        train(model, data, flow_matching, settings=SETTINGS, progress=False, run=tmp_path)
        watched = [weakref.ref(p) for p in model.parameters()]
        kept = load(tmp_path, model)
        del model, kept
        assert [ref() for ref in watched] == [None] * len(watched)
        new = [each for each in gc.get_objects() if id(each) not in before]
        alive = [each for each in new if type(each) in (room.Loop, room.Engine, torch.Tensor)]
        assert alive == []
    finally:
        gc.enable()


def test_the_heap_is_thawed_afterwards():
    before = gc.get_freeze_count()
    trained(steps=1)
    assert gc.get_freeze_count() == before


def test_a_full_disk_does_not_stop_training_but_is_told(tmp_path, monkeypatch):
    write = run_folder.write_checkpoint

    def full(folder, checkpoint, anchors):
        if checkpoint.step == 10:
            raise OSError("No space left on device")
        return write(folder, checkpoint, anchors)

    monkeypatch.setattr(run_folder, "write_checkpoint", full)
    with pytest.warns(UserWarning, match="No checkpoint at step 10: No space left"):
        model, _ = trained(run=tmp_path)
    assert same(model, trained()[0])
    monkeypatch.setattr(run_folder, "write_checkpoint", lambda *a: (_ for _ in ()).throw(OSError("No space left")))
    with pytest.raises(RunError, match="Make room"):
        trained(run=tmp_path / "other", checkpoint_every=0)


def test_wrong_objectives_data_and_settings_are_explained():
    with pytest.raises(ShapeError, match=r"one loss per sample; got shape \(\) for 16 samples"):
        trained(objective=lambda m, b, d: flow_matching(m, b, d).mean())
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        trained(stpes=3)
    with pytest.raises(ConfigError, match="batch = 0"):
        trained(batch=0)
    with pytest.raises(ConfigError, match="a device of this machine"):
        trained(device="abacus")
    with pytest.raises(ConfigError, match="several processes for shard"):
        trained(shard=True)

    class Short(Circle):
        def batches(self, *_a, **_k):
            yield Batch(torch.zeros(16, 2))

    with pytest.raises(DataError, match="the end at step 1"):
        trained(Short())
    fixed = Straight().requires_grad_(False)
    with pytest.raises(TrainingError, match="weights to train"):
        train(fixed, Circle(), flow_matching, settings=SETTINGS, progress=False)


def test_no_steps_still_make_a_run(tmp_path):
    model, history = trained(run=tmp_path, steps=0)
    assert history.steps == ()
    assert same(model, Straight())
    assert same(load(tmp_path, Straight(seed=3)), model)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_one_line_per_interval_off_a_terminal(terminal, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    model = Straight()
    train(model, Circle(), flow_matching, settings=SETTINGS)
    text = screen.getvalue()
    assert ("\r" in text) is terminal
    assert "loss" in text
    if not terminal:
        lines = text.splitlines()
        assert len(lines) == 6
        assert lines[0].startswith("step 7/40  loss ")
        assert lines[0].endswith("left")

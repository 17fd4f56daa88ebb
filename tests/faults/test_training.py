"""Training under faults: what is promised of signals, numbers that are not finite, broken data, memory, full disks."""

import errno
import json
import os
import signal
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import torch

from pushforward._errors import ConfigError, DataError, TrainingError, out_of_memory
from pushforward.training import Interrupted, Settings, run_folder, train
from pushforward.training.checkpoint import Checkpoint
from pushforward.training.guard import LIMIT, Guard
from pushforward.training.saving import Saving
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(steps=24, batch=16, device="cpu", threads=1, log_every=5, checkpoint_every=4, warmup=2)


@pytest.fixture(autouse=True)
def spared(monkeypatch):
    """What happens to the real disk does not matter here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass(frozen=True)
class Troubled(Circle):
    """A circle that acts before it yields the batch of a step, and whose batches are NaN at some steps."""

    act: object = None
    bad: tuple[int, ...] = ()

    def batches(self, size, draw, start=0, rank=0, world=1):
        for step, batch in enumerate(super().batches(size, draw, start, rank, world), start):
            if self.act is not None:
                self.act(step)
            yield replace(batch, x=torch.full_like(batch.x, torch.nan)) if step in self.bad else batch


def trained(data=None, objective=flow_matching, dropout=0.2, **options):
    model = Straight(dropout=dropout)
    return model, train(model, data or Circle(), objective, settings=SETTINGS, progress=False, **options)


def at(step: int, act):
    """Acts the first time that a step comes."""
    left = [act]

    def when(now: int) -> None:
        if now == step and left:
            left.pop()()

    return when


def same(a: Straight, b: Straight) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))


@contextmanager
def left_out(*steps: int):
    """Within, these steps and no others are said to be left out."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    said = [str(each.message) for each in seen if "of at most" in str(each.message)]
    assert [int(text.split()[1]) for text in said] == list(steps), said


# resume


@pytest.mark.parametrize(("number", "accumulate"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGUSR1, 3)])
def test_a_signal_stops_at_a_steps_edge_and_the_rest_is_the_same_to_the_bit(tmp_path, accumulate, number):
    """Order, noise, dropout, averages: at any step, in mid-epoch, at any accumulation."""
    whole, history = trained(accumulate=accumulate)
    stops = at(6, lambda: os.kill(os.getpid(), number)), at(17, lambda: os.kill(os.getpid(), number))
    for stop, step in zip(stops, (7, 18)):
        with pytest.raises(Interrupted) as caught:
            trained(Troubled(act=stop), run=tmp_path, accumulate=accumulate)
        assert caught.value.step == step
    resumed, again = trained(run=tmp_path, accumulate=accumulate)
    assert same(whole, resumed)
    assert again.losses == history.losses


def test_a_checkpoint_written_meanwhile_is_that_of_its_step(tmp_path, monkeypatch):
    """The writer is slower than ten steps; what it writes is what the weights were."""
    go, write = [], Saving._run

    def slow(self, act):
        go.append(lambda: write(self, act))

    monkeypatch.setattr(Saving, "_run", slow)
    monkeypatch.setattr(Saving, "wait", lambda self: [go.pop(0)() for _ in range(len(go))])
    stop = at(19, lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trained(Troubled(act=stop), run=tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000012", "step-00000016"]
    monkeypatch.undo()
    assert same(trained()[0], trained(run=tmp_path)[0])


def a_checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"w": torch.tensor(float(step))}, {}, {}, {}, {})


def test_one_checkpoint_is_under_way_at_a_time_and_its_error_is_heard():
    saving, seen = Saving(), []
    for i in range(5):
        saving.begin(a_checkpoint(i), lambda copy: seen.append((copy.step, copy.model["w"].item())))
    saving.wait()
    assert seen == [(i, i) for i in range(5)]

    def full(copy: Checkpoint) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    saving.begin(a_checkpoint(5), full)
    saving.wait()
    assert saving.failed
    assert saving.trouble().errno == errno.ENOSPC
    assert saving.trouble() is None


def test_metrics_wait_for_room_on_the_disk(tmp_path, monkeypatch):
    """A full disk for some lines: training goes on, is told of once, and no line is lost or torn."""

    class Full:
        def __init__(self, file):
            self.file, self.calls = file, 0

        def write(self, data):
            self.calls += 1
            if self.calls in (2, 3):
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data[: 10 if self.calls == 5 else None])

        def close(self):
            self.file.close()

    begin = run_folder.RunFolder.begin

    def began(self, *args):
        begin(self, *args)
        self._metrics = Full(self._metrics)

    monkeypatch.setattr(run_folder.RunFolder, "begin", began)
    with pytest.warns(UserWarning, match="Metrics wait for room") as seen:
        trained(run=tmp_path)
    assert len(seen) == 1
    lines = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [5, 10, 15, 20, 24]


# not finite


def test_a_skipped_step_changes_nothing_and_the_next_ones_go_on(tmp_path):
    with left_out(7, 11):
        model, history = trained(Troubled(bad=(7, 11)), on_nan="skip", run=tmp_path / "a")
    assert history.skipped == (7, 11)
    assert all(p.isfinite().all() for p in model.parameters())
    assert not same(model, trained()[0])
    assert all(loss == loss for loss in history.losses)
    text = (tmp_path / "a/metrics.jsonl").read_text()
    assert "NaN" not in text
    stop = at(9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with left_out(7), pytest.raises(Interrupted):
        trained(Troubled(bad=(7, 11), act=stop), on_nan="skip", run=tmp_path / "b")
    with left_out(11):
        resumed, again = trained(Troubled(bad=(7, 11)), on_nan="skip", run=tmp_path / "b")
    assert same(model, resumed)
    assert (again.losses, again.skipped) == (history.losses, history.skipped)


def test_a_skipped_step_is_a_step_with_a_gradient_of_nothing():
    """The optimizer's state and its clock stay too: the weights are those of a run in which only time went on."""

    def stopped(model, batch, draw):
        return flow_matching(model, batch, draw) * (torch.nan if draw.step >= 3 else 1.0)

    stopped.__qualname__ = "flow_matching"
    with left_out(3, 4, 5):
        model, _ = trained(objective=stopped, on_nan="skip", steps=6, ema=0.0, schedule="constant", warmup=0)
    assert same(model, trained(steps=3, ema=0.0, schedule="constant", warmup=0)[0])


def test_skips_on_an_accelerator_are_those_on_a_cpu(monkeypatch):
    with left_out(7, 11):
        eager, history = trained(Troubled(bad=(7, 11)), on_nan="skip")
    begin = Guard.__init__
    monkeypatch.setattr(Guard, "__init__", lambda self, device, lazy=None, skip=False: begin(self, device, True, skip))
    with left_out(7, 11):
        lazy, again = trained(Troubled(bad=(7, 11)), on_nan="skip")
    assert same(eager, lazy)
    assert (history.losses, history.skipped) == (again.losses, again.skipped)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("bad", [(0,), (9, 10, 17), (23,)])
def test_a_rollback_takes_the_newest_checkpoint_and_leaves_the_bad_step_out(tmp_path, monkeypatch, bad, lazy):
    begin = Guard.__init__
    monkeypatch.setattr(Guard, "__init__", lambda self, device, _=None, skip=False: begin(self, device, lazy, skip))
    with left_out(*bad):
        model, history = trained(Troubled(bad=bad), on_nan="rollback", run=tmp_path / "a")
    assert history.skipped == bad
    assert all(p.isfinite().all() for p in model.parameters())
    stop = at(bad[-1] - 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Interrupted):  # not where the first step is bad
            trained(Troubled(bad=bad, act=stop), on_nan="rollback", run=tmp_path / "b")
        resumed, again = trained(Troubled(bad=bad), on_nan="rollback", run=tmp_path / "b")
    assert again.skipped == bad
    assert same(model, resumed)


def test_a_rollback_is_a_run_without_the_steps_between(tmp_path):
    """Checkpoint at 8, bad at 9: the weights of 8 then see steps 10, 11, ..."""
    with left_out(9):
        model, _ = trained(Troubled(bad=(9,)), on_nan="rollback", run=tmp_path, ema=0.0)
    skipping = Straight(dropout=0.2)
    with left_out(8, 9):
        train(skipping, Troubled(bad=(8, 9)), flow_matching, settings=SETTINGS, progress=False, on_nan="skip", ema=0.0)
    assert same(model, skipping)


@pytest.mark.parametrize("how", ["skip", "rollback"])
def test_what_happens_too_often_is_an_error(tmp_path, how):
    warnings.simplefilter("ignore")
    with pytest.raises(TrainingError, match=rf"step {LIMIT + 4}: the batch's x is not finite"):
        trained(Troubled(bad=tuple(range(4, 24))), on_nan=how, run=tmp_path)


def test_a_rollback_needs_a_folder():
    with pytest.raises(ConfigError, match="a run folder for on_nan = 'rollback'; got none"):
        trained(on_nan="rollback")
    with pytest.raises(ConfigError, match="on_nan = 'hope'"):
        trained(on_nan="hope")


# data, memory


def test_data_that_break_are_opened_again_where_they_broke():
    def reset() -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.warns(UserWarning, match=r"The data broke at step 9 and are opened again there. ConnectionResetError"):
        model, _ = trained(Troubled(act=at(9, reset)))
    assert same(model, trained()[0])


def test_data_that_stay_broken_are_an_error_that_names_the_step():
    def broken(step: int) -> None:
        if step == 9:
            raise EOFError("Ran out of input")

    with (
        pytest.warns(UserWarning, match="The data broke at step 9"),
        pytest.raises(DataError, match=r"the batch of step 9; got EOFError: Ran out of input \(3 times\)"),
    ):
        trained(Troubled(act=broken))


def test_no_memory_says_what_to_ask_for_and_a_resumed_run_is_the_same(tmp_path):
    def greedy(model, batch, draw):
        if draw.step == 13:
            torch.empty(2**55)
        return flow_matching(model, batch, draw)

    greedy.__qualname__ = "flow_matching"
    with pytest.raises(TrainingError, match=r"memory for a batch of 16; got none left .* Ask for accumulate = 2"):
        trained(objective=greedy, run=tmp_path)
    assert same(trained()[0], trained(run=tmp_path)[0])


def test_which_errors_say_that_memory_ran_out():
    with pytest.raises(RuntimeError) as cpu:
        torch.empty(2**55)
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert all(map(out_of_memory, [cpu.value, gpu, MemoryError()]))
    assert not any(map(out_of_memory, [RuntimeError("shape"), OSError("out of memory"), ValueError()]))

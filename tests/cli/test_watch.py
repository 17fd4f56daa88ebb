"""`watch`: what it says of a run is what is so, while it trains and afterwards; plots are of what they say."""

import io
import json
import os
import platform
import signal
import sys
import threading
import time

import pytest

from pushforward._errors import ConfigError, RunError, TrainingError
from pushforward.cli import watch as verb
from pushforward.cli.curves import Metrics, column_of, plot
from pushforward.cli.shell import main
from pushforward.cli.watch import Watch, frame, state_of
from pushforward.training import Interrupted, Settings, read_run, train
from pushforward.training.run_folder import locked
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(steps=40, batch=16, device="cpu", threads=1, log_every=10, checkpoint_every=20)


def trained(path, objective=flow_matching, **changes):
    return train(Straight(), Circle(), objective, settings=SETTINGS, progress=False, run=path, **changes)


def test_a_finished_run(tmp_path, capsys):
    history = trained(tmp_path)
    assert main(["watch", str(tmp_path), "--once"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{tmp_path}: finished"
    assert said[1] == "step 40 of 40 (100 %)"
    assert said[2].startswith(f"loss {history.losses[-1]:.4g} at step 40; {history.losses[0]:.4g} at 10")
    assert any("/step, " in line and "left" not in line for line in said)
    assert any(line.startswith("memory ") for line in said)
    assert said[-1] == "last checkpoint at step 40"


def test_a_failed_run_says_with_what_and_a_new_try_clears_it(tmp_path):
    def broken(model, batch, draw):
        return flow_matching(model, batch, draw) / (0 if draw.step == 25 else 1)

    broken.__qualname__ = "flow_matching"
    with pytest.raises(TrainingError):
        trained(tmp_path, broken)
    state, why = state_of(tmp_path)
    assert state == "failed"
    assert why.startswith("TrainingError: Expected a finite loss and gradient; got step 25")
    assert "last checkpoint at step 20" in frame(tmp_path)[1]
    trained(tmp_path)
    assert state_of(tmp_path) == ("finished", "")


def test_an_error_before_anything_was_done_marks_no_run(tmp_path):
    trained(tmp_path)
    with pytest.raises(ConfigError):
        trained(tmp_path, lr=0.5)
    assert state_of(tmp_path)[0] == "finished"


class Told(Circle):
    """A circle that is told to stop at step 25."""

    def batches(self, size, draw, start=0, rank=0, world=1):
        for step, batch in enumerate(super().batches(size, draw, start, rank, world), start):
            if step == 25:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_a_run_is_running_while_it_trains_and_stopped_when_it_was_told_to(tmp_path):
    seen = []

    def look(model) -> float:
        seen.append(frame(tmp_path))
        return 0.0

    with pytest.raises(Interrupted):
        train(Straight(), Told(), flow_matching, settings=SETTINGS, progress=False, run=tmp_path,
              judge=look, judge_every=20)  # fmt: skip
    ((running, lines),) = seen
    assert running
    assert lines[0] == f"{tmp_path}: running (process {os.getpid()} on {platform.node()})"
    assert lines[1] == "step 20 of 40 (50 %)"
    assert any(line.endswith(" left") for line in lines)
    assert state_of(tmp_path) == ("stopped", "give the same command again to go on")
    trained(tmp_path)


def test_looking_never_takes_the_folder_from_a_run_that_begins(tmp_path):
    trained(tmp_path, steps=20)
    done = threading.Event()

    def look():
        while not done.is_set():
            state_of(tmp_path)
            time.sleep(0.002)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for each in watchers:
        each.start()
    try:
        for _ in range(20):
            with locked(tmp_path, read_run(tmp_path)):
                pass
    finally:
        done.set()
        for each in watchers:
            each.join()


def test_it_looks_again_in_a_terminal_until_nobody_writes(tmp_path, monkeypatch):
    trained(tmp_path)
    frames = iter([(True, ["one"]), (True, ["two"]), (False, ["three"])])
    monkeypatch.setattr(verb, "frame", lambda *_: next(frames))
    monkeypatch.setattr(verb.time, "sleep", lambda seconds: None)
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)
    verb.run(Watch(tmp_path))
    assert screen.getvalue().count("\x1b[H\x1b[J") == 3
    assert "three" in screen.getvalue()


def test_control_c_leaves_quietly(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "frame", stop)
    assert main(["watch", str(tmp_path)]) == 0


def test_half_a_line_and_strange_lines_are_left_out(tmp_path):
    trained(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[]\n{"loss": 1}\n{"step": "x"}\n{"step": 50, "lo')
    assert Metrics.of(tmp_path).step == 40
    assert "step 40 of 40 (100 %)" in frame(tmp_path)[1]


def test_a_run_without_metrics_and_what_is_no_run(tmp_path):
    train(Straight(), Circle(), flow_matching, settings=SETTINGS.changed(steps=0), progress=False, run=tmp_path / "a")
    assert "no metrics yet" in frame(tmp_path / "a")[1]
    with pytest.raises(RunError, match="a run folder"):
        frame(tmp_path / "b")
    trained(tmp_path / "c")
    with pytest.raises(ConfigError, match=r"a number of metrics.jsonl \(.*norm.*\); got 'loos'"):
        frame(tmp_path / "c", "loos")


def test_pace_is_that_of_the_last_lines(tmp_path):
    lines = [{"step": 10 * i, "loss": 1.0, "seconds": 100.0 + 2 * i} for i in range(1, 40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Metrics.of(tmp_path).seconds_per_step() == pytest.approx(0.2)
    assert Metrics(()).seconds_per_step() is None


def test_a_plot_is_as_high_as_its_values():
    drawn = plot([1, 2, 3, 4], rows=4, fine=False)
    assert drawn == ["     4    #", "         ##", "        ###", "     1 ####"]
    assert plot([5.0, 5.0], rows=2, fine=True) == ["", "     5 ▁▁"]
    assert plot([float("nan")]) == []
    wide = plot(list(range(1000)), width=10, rows=1, fine=True)
    assert wide[0].split()[1] == "▁▂▃▃▄▅▆▆▇█"
    assert [column_of(i, 1000, 10) for i in (0, 99, 100, 999)] == [0, 0, 1, 9]


@pytest.mark.parametrize("what", ["lr", "batch"])
def test_train_finds_without_writing(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", "moons", "--mlp.hidden", "16", "--mlp.layers", "1", "--threads", "1", "--find", what]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"Use it: --{what} " in said
    assert list(tmp_path.iterdir()) == []


def test_info_says_how_fast_and_how_large(tmp_path, monkeypatch, capsys):
    words = ["train", "moons", "--mlp.hidden", "16", "--steps", "20", "--log-every", "10", "--threads", "1"]
    assert main([*words, "-o", str(tmp_path / "run")]) == 0
    assert main(["info", str(tmp_path / "run")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("20 steps, "))
    assert "/step" in line
    assert "memory" in line


def test_a_missing_tracker_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ["train", "moons", "--steps", "1", "-o", str(tmp_path / "run"), "--track", "wandb"]
    assert main(words) == 2
    assert "pip install 'pushforward[wandb]'" in capsys.readouterr().err

"""Averages of several widths: kept on the way, the same after an interruption, and put together to any other."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pushforward._errors import ConfigError, RunError
from pushforward.cli import main
from pushforward.training import Interrupted, Settings, averaged, load, read_run, train
from pushforward.training.averages import Averages
from training.stand_in import Circle, Straight, flow_matching

WIDTHS = (0.05, 0.1)
SETTINGS = Settings(
    steps=400, batch=16, lr=1e-2, device="cpu", threads=1, log_every=100, checkpoint_every=25, profiles=WIDTHS
)


def files_of(run: Path) -> dict[str, bytes]:
    """Every file of the averages."""
    return {str(each.relative_to(run)): each.read_bytes() for each in sorted(run.glob("averages/*/*"))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, torch.Tensor]]]:
    """A real training that kept averages, and the weights after each of its updates."""
    path, model, history = tmp_path_factory.mktemp("run"), Straight(), list[dict[str, torch.Tensor]]()

    def watching(model, batch, draw):
        history.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return flow_matching(model, batch, draw)

    watching.__qualname__ = flow_matching.__qualname__
    train(model, Circle(), watching, settings=SETTINGS, run=path, progress=False)
    last = Straight()
    train(last, Circle(), flow_matching, settings=replace(SETTINGS, ema=0.0), progress=False)
    return path, [*history[1:], {name: p.detach().clone() for name, p in last.named_parameters()}]


@pytest.mark.parametrize("std", [0.04, 0.05, 0.07, 0.1, 0.13, 0.18])
@pytest.mark.parametrize("step", [None, 240])
def test_any_width_is_within_one_percent_of_one_that_was_followed(run, std: float, step: int | None) -> None:
    path, history = run
    direct = Averages([std], list(history[0].values()))
    for i, weights in enumerate(history[:step]):
        direct.follow(list(weights.values()), i)
    found = averaged(path, std, WIDTHS, step)
    true = torch.cat([each.flatten() for each in direct.tensors[std]])
    near = torch.cat([found[name].flatten() for name in history[0]])
    assert (near - true).norm() < 0.01 * true.norm()
    start = torch.cat([each.flatten() for each in history[(step or 400) - 1].values()])
    assert (near - true).norm() < 0.1 * (start - true).norm()  # and not because all weights are alike


def test_an_interrupted_run_keeps_the_same_averages(tmp_path: Path) -> None:
    class Signals(Circle):
        def batches(self, size, draw, start=0, rank=0, world=1):
            for step, batch in enumerate(super().batches(size, draw, start, rank, world), start):
                if step == 37:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

    short, whole, broken = replace(SETTINGS, steps=60), tmp_path / "whole", tmp_path / "broken"
    train(Straight(), Circle(), flow_matching, settings=short, run=whole, progress=False)
    with pytest.raises(Interrupted):
        train(Straight(), Signals(), flow_matching, settings=short, run=broken, progress=False)
    assert not (broken / "averages" / "step-00000050").exists()
    train(Straight(), Circle(), flow_matching, settings=short, run=broken, progress=False)
    assert files_of(broken) == files_of(whole)
    assert len(files_of(whole)) == 2 * len((25, 50, 60))


def test_what_was_kept_after_the_checkpoint_is_made_again(tmp_path: Path) -> None:
    short = replace(SETTINGS, steps=30)
    train(Straight(), Circle(), flow_matching, settings=short, run=tmp_path, progress=False)
    before = files_of(tmp_path)
    stray = tmp_path / "averages" / "step-00000099"
    stray.mkdir()
    (stray / "manifest.json").write_text("{}")
    for file in (tmp_path / "checkpoints" / "step-00000030").iterdir():
        file.unlink()
    (tmp_path / "averages" / "step-00000030" / "averages.safetensors").write_bytes(b"half")
    train(Straight(), Circle(), flow_matching, settings=short, run=tmp_path, progress=False)
    assert files_of(tmp_path) == before


def test_a_damaged_snapshot_is_told(run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(run[0] / "averages", tmp_path / "averages")
    file = tmp_path / "averages" / "step-00000100" / "averages.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(RunError, match="damaged"):
        averaged(tmp_path, 0.1, WIDTHS)


def test_widths_that_are_none(run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="profiles"):
        Settings(profiles=(0.05, 0.3))
    with pytest.raises(RunError, match="--profiles"):
        averaged(tmp_path, 0.1, WIDTHS)
    with pytest.raises(ConfigError, match="after 500"):
        averaged(run[0], 0.1, WIDTHS, 500)


def test_other_widths_are_another_run(run) -> None:
    with pytest.raises(ConfigError, match="profiles"):
        train(Straight(), Circle(), flow_matching, settings=replace(SETTINGS, profiles=(0.05,)), run=run[0])


def test_the_verb_makes_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    brief = ["--steps", "12", "--batch", "16", "--checkpoint-every", "4", "--mlp.hidden", "8", "--mlp.layers", "1"]
    assert main(["train", "moons", *brief, "--profiles", "0.05", "0.1", "-o", "a"]) == 0
    assert main(["ema", "a", "--std", "0.05", "0.08"]) == 0
    assert main(["ema", "a", "--std", "0.05", "--step", "8", "-o", "b"]) == 0
    assert main(["sample", "a-ema-0.08", "-n", "5", "-o", "x.csv"]) == 0
    runs = [load(name).state_dict() for name in ("a", "a-ema-0.05", "a-ema-0.08", "b-ema-0.05-step-8")]
    flat = [torch.cat([tensor.flatten() for tensor in each.values()]) for each in runs]
    assert len({tuple(each.tolist()) for each in flat}) == 4
    kept = averaged(Path("a"), 0.05, (0.05, 0.1))
    assert all(torch.equal(runs[1][name], each) for name, each in kept.items())
    assert read_run("a-ema-0.05").settings == read_run("a").settings
    assert main(["train", "moons", *brief, "-o", "none"]) == 0
    capsys.readouterr()
    assert main(["ema", "none"]) == 2
    assert "--profiles 0.05 0.1" in capsys.readouterr().err

"""Run folders: what is in them, the way back, and what is refused."""

import fcntl
import json
import tomllib
from contextlib import nullcontext

import pytest
import torch

from pushforward._errors import ConfigError, RunError
from pushforward._recipe import MLP, Diffusion, Run, Settings
from pushforward.training import History, load, read_run, run_folder, save_run, train
from pushforward.training import run as room
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = {
    "steps": 20,
    "batch": 16,
    "progress": False,
    "device": "cpu",
    "threads": 1,
    "log_every": 5,
    "checkpoint_every": 8,
}


def finished(folder, **changes) -> tuple[Straight, History]:
    model = Straight(dropout=0.1)
    return model, train(model, Circle(), flow_matching, run=folder, **{**SETTINGS, **changes})


def same(a: Straight, b: Straight) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_what_a_finished_run_holds(tmp_path):
    _, history = finished(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.toml", "environment.json", "metrics.jsonl", "checkpoints", "model.safetensors",
        "manifest.json", "lock",
    }  # fmt: skip
    config = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert (config["format_version"], config["data"], config["shape"]) == (1, "circle", [2])
    assert (config["settings"]["batch"], config["objective"]) == (16, "flow_matching")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert tuple(line["step"] for line in lines) == history.steps == (5, 10, 15, 20)
    assert tuple(line["loss"] for line in lines) == history.losses
    assert set(lines[0]) == {"step", "loss", "norm", "lr", "seconds", "memory", "memory_peak"}
    assert 10**7 < lines[0]["memory"] <= lines[-1]["memory_peak"]
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__
    assert {path.name for path in (tmp_path / "run/checkpoints").iterdir()} == {
        "step-00000016",
        "step-00000020",
    }


def test_load_gives_the_trained_model(tmp_path):
    model, _ = finished(tmp_path / "run")
    again = load(tmp_path / "run", Straight(dropout=0.1, seed=5))
    assert same(model, again)
    assert not again.training
    assert read_run(tmp_path / "run").settings.steps == 20


def test_load_builds_what_the_recipe_says(tmp_path, monkeypatch):
    recipe, seen = Diffusion(net=MLP(hidden=16)), []
    model = Straight()
    save_run(model, tmp_path / "run", recipe=recipe, classes=3)
    monkeypatch.setattr(room, "build", lambda *a: seen.append(a) or Straight(seed=9))
    assert same(load(tmp_path / "run"), model)
    assert seen == [(recipe, (2,), 3)]


def test_without_a_recipe_load_asks_for_the_model(tmp_path):
    save_run(Straight(), tmp_path / "run")
    with pytest.raises(RunError, match=r"built by hand. Build it as you did then"):
        load(tmp_path / "run")


def test_an_unfinished_run_speaks_through_its_checkpoint(tmp_path):
    model, _ = finished(tmp_path / "run")
    (tmp_path / "run/manifest.json").unlink()
    (tmp_path / "run/model.safetensors").unlink()
    with pytest.warns(UserWarning, match="not done: these are the weights of step 20"):
        assert same(model, load(tmp_path / "run", Straight(dropout=0.1, seed=5)))


def test_damaged_weights_are_refused(tmp_path):
    save_run(Straight(), tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"model.safetensors', damaged"):
        load(tmp_path / "run", Straight())


def test_another_model_is_refused(tmp_path):
    save_run(Straight(hidden=8), tmp_path / "run")
    with pytest.raises(RunError, match=r"shape \(16, 3\); got \(8, 3\) for 'blocks.0.0.weight'"):
        load(tmp_path / "run", Straight())


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = Straight()
    torch.nn.init.constant_(model.leave.bias, torch.nan)
    save_run(model, tmp_path / "run")
    with pytest.raises(RunError, match=r"'leave.bias'"):
        load(tmp_path / "run", Straight())


def test_missing_folders_and_other_versions_are_refused(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        load(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no config.toml"):
        load(tmp_path)
    save_run(Straight(), tmp_path / "run")
    path = tmp_path / "run/config.toml"
    path.write_text(path.read_text().replace("format_version = 1", "format_version = 7"))
    with pytest.raises(RunError, match=r"run format 1; got 7"):
        load(tmp_path / "run", Straight())


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds something else"):
        finished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_one_run_per_folder(tmp_path):
    (tmp_path / "run").mkdir()
    with (tmp_path / "run/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="in use by another run"):
            finished(tmp_path / "run")
    finished(tmp_path / "run")


def test_other_settings_are_refused_and_named(tmp_path):
    finished(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"Expected lr = 0.001, as .* was begun; got lr = 0.01"):
        finished(tmp_path / "run", lr=0.01)
    with pytest.raises(ConfigError, match=r"at least the 20 steps"):
        finished(tmp_path / "run", steps=10)


def test_a_finished_run_is_not_trained_again_but_can_be_prolonged(tmp_path):
    model, history = finished(tmp_path / "run")
    again, once_more = finished(tmp_path / "run")
    assert same(model, again)
    assert once_more == history
    _, longer = finished(tmp_path / "run", steps=25)
    assert longer.steps == (5, 10, 15, 20, 25)
    assert longer.losses[:4] == history.losses


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    def tied() -> Straight:
        model = Straight()
        model.blocks.append(model.blocks[1])
        return model

    model = tied()
    train(model, Circle(), flow_matching, run=tmp_path / "run", **SETTINGS)
    again = load(tmp_path / "run", tied())
    assert same(model, again)
    assert again.blocks[1][0].weight is again.blocks[2][0].weight


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("Distillation(steps=1, c=0.03)", "Distillation(steps=1, c=0.03, features=None)", True),
        ("Regression(spread='x')", "Regression(weighting=None, spread='x')", True),
        ("Dropped(Distillation(steps=1), 0.1)", "Dropped(Distillation(steps=1, features=None), 0.1)", True),
        ("Distillation(steps=1, c=0.03)", "Distillation(steps=1, c=0.03, features=Scales(most=3))", False),
    ],
)
def test_an_argument_that_is_none_may_be_newer_than_the_run(before, now, same, tmp_path):
    old, new = (Run(Settings(), (2,), 0, "moons", objective) for objective in (before, now))
    with nullcontext() if same else pytest.raises(ConfigError, match="objective = "):
        run_folder._require_same(old, new, tmp_path)

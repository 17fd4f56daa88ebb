"""What training verbs are told beyond their settings reaches the training."""

import tomllib
from typing import get_args

import pytest

from house.tree import ROOT
from pushforward.cli import train as train_verb
from pushforward.cli.shell import main, parse
from pushforward.training.tracking import TrackerName


@pytest.mark.parametrize("verb", ["train digits", "reflow runs/a", "distill runs/a"])
def test_verbs_that_train_take_a_tracker_and_a_debugger(verb: str) -> None:
    options = parse([*verb.split(), "--track", "mlflow", "--pdb-on-nan", "--recompute", "--compile"])
    assert options.steering.arguments() == {"track": "mlflow", "pdb_on_nan": True}
    assert (options.settings.recompute, options.settings.compile) == (True, True)


def test_every_tracker_is_an_extra_and_an_option() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(get_args(TrackerName)) <= set(extras)
    for name in get_args(TrackerName):
        assert parse(["train", "digits", "--track", name]).steering.track == name


def test_they_are_passed_on(tmp_path, monkeypatch) -> None:
    told = {}

    def training(*_, **arguments):
        told.update(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(train_verb.pf, "train", training)
    words = ["train", "moons", "-o", str(tmp_path / "run"), "--track", "wandb", "--pdb-on-nan"]
    assert main(words) == 130
    assert (told["track"], told["pdb_on_nan"]) == ("wandb", True)

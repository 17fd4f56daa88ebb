"""Every flow that has a word is explained, trained on the digits by the command line, and comes back."""

import inspect
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest
import torch

import pushforward as pf
from laws.zoo_recipes import FLOWS, UNLABELLED
from pushforward import _config
from pushforward._flows import Line
from pushforward._recipe import KINDS, ResidualFlow, Run, Settings
from pushforward.cli import main
from pushforward.cli.families import FAMILIES, Family, objective_of
from pushforward.cli.shell import parse
from pushforward.cli.train import Train, adopt, recipe_of

SHORT = ["--steps", "2", "--batch", "8", "--warmup", "0", "--threads", "1", "--device", "cpu"]


def flags(name: str, recipe: object) -> list[str]:
    """The words that say a recipe."""
    words = ["--model", name]
    for each in fields(recipe):
        value = getattr(recipe, each.name)
        if value != each.default:
            values = map(str, value) if isinstance(value, tuple) else () if value is True else [str(value)]
            words += [f"--{name}.{each.name}".replace("_", "-"), *values]
    return words


def test_the_words_are_those_of_the_table() -> None:
    assert get_args(Family) == ("auto", *FAMILIES)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_trained_on_the_digits(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run = FLOWS[name], str(tmp_path / "run")
    if isinstance(recipe, Line):
        recipe = replace(recipe, support=(-1.0, 1.0))
    labels = [] if name in UNLABELLED else ["--conditional"]
    assert main(["train", "digits", *flags(name, recipe), *labels, *SHORT, "--out", run]) == 0
    assert pf.training.read_run(run).model == recipe
    assert main(["sample", run, "-n", "2", "-o", str(tmp_path / "grid.png"), "--steps", "2", "--threads", "1"]) == 0
    x, context = pf.load(run).sample(2, torch.tensor([3, 5]) if labels else None, seed=0), capsys.readouterr()
    assert x.shape == (2, 1, 8, 8)
    assert f"{name}" in context.out + context.err
    if isinstance(recipe, Line):
        assert x.abs().max() <= 1.2  # the logit's ends: alpha beyond those of the data


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, list[str]]:
    """The options of each family that a page explains."""
    with pytest.raises(SystemExit):
        parse(["train", *words, "--help"])
    found = dict[str, list[str]]()
    for family, option in re.findall(r"^\W+--([\w-]+)\.([\w-]+)", capsys.readouterr().out, re.MULTILINE):
        found.setdefault(family.replace("-", "_"), []).append(option.replace("-", "_"))
    return found


@pytest.mark.parametrize("name", FLOWS)
def test_the_page_of_a_flow_explains_it_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, "--model", name) == {name: [each.name for each in fields(FLOWS[name])]}


def test_without_a_choice_the_page_explains_the_networks_and_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(explained(capsys)) == ["transformer", "mlp"]
    assert list(explained(capsys, "--model=mlp")) == ["mlp"]
    help_of_model = (Train.__doc__ or "") + inspect.getsource(Train)
    assert all(re.search(rf"[ ,]{name}\b", help_of_model) for name in FAMILIES)


def test_the_page_of_a_runs_configuration_explains_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _config.write(Run(Settings(), (2,), 0, "moons", "", FLOWS["sos"]), tmp_path / "config.toml", KINDS)
    assert list(explained(capsys, "--config", str(tmp_path / "config.toml"))) == ["sos"]


@pytest.mark.parametrize("name", FLOWS)
def test_a_flows_configuration_trains_it_again(name: str) -> None:
    table = _config.loads(_config.dumps(Run(Settings(), (3,), 0, "moons", "", FLOWS[name]), KINDS))
    assert recipe_of(adopt(table, Path("no/folder/config.toml")), "table") == FLOWS[name]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["moons", "--model", "glow"], "images [c, h, w]"),
        (["moons", "--model", "tarflow"], "Take another flow for vectors, maf say"),
        (["hours.csv", "--model", "circular"], "angles, from -pi to below pi"),
        (["digits", "--model", "gaussianization", "--conditional"], "no context"),
        (["digits", "--model", "iaf", "--nsf-couplings.bins", "4"], "options --nsf-couplings.*"),
        (["digits", "--model", "ffjord", "--path", "vp"], "no path and no prediction"),
    ],
)
def test_what_a_flow_cannot_have_is_one_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hours.csv").write_text("a,b\n" + "1,2\n" * 60 + "2,1\n24,23\n" * 2)
    assert main(["train", *words, *SHORT, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_an_ffjord_cannot_be_distilled_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a diffusion model, so it can be straightened; its network has no place for a second time."""
    run = str(tmp_path / "run")
    assert main(["train", "moons", "--model", "ffjord", "--ffjord.hidden", "8", *SHORT, "--out", run]) == 0
    assert main(["distill", run, "--pairs", "16", *SHORT, "--out", str(tmp_path / "student")]) == 2
    assert "told two times" in capsys.readouterr().err


def test_random_terms_are_drawn_anew_at_each_step() -> None:
    redrawn = pf.objectives.Redrawn(pf.objectives.Likelihood())
    assert objective_of(ResidualFlow(log_det="roulette")) == redrawn
    assert objective_of(ResidualFlow()) == pf.objectives.Likelihood()

"""Solvers by name, by file, and fitted to a run: what they do, what is refused, and that what is saved was found."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward._errors import ConfigError
from pushforward.cli import main
from pushforward.cli.options import JUMPS, SOLVERS, Solve, carries_divergence
from pushforward.cli.shell import parse
from pushforward.cli.tune import beside
from pushforward.models import ring
from pushforward.paths import EDM, VE, VP, Cosine, Linear

BRIEF = ["--steps", "20", "--batch", "64", "--checkpoint-every", "0", "--warmup", "1"]
FEW = ["--samples", "32", "--threads", "1"]
NOISY = {"ancestral", "sde"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a run on points, one on classes of digits, and a flow."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "moons", *BRIEF, "--mlp.hidden", "16", "--mlp.layers", "2", "-o", "points"]) == 0
        net = ["--transformer.width", "16", "--transformer.layers", "1", "--transformer.heads", "2"]
        assert main(["train", "digits", "--conditional", *BRIEF, *net, "-o", "digits"]) == 0
        flow = ["--model", "nice", "--nice.hidden", "8", "--nice.layers", "1"]
        assert main(["train", "moons", *flow, *BRIEF, "-o", "flow"]) == 0
        yield folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> Path:
    """The file of a solver of five calls, fitted."""
    assert main(["tune", "points", "--calls", "5", "--rounds", "2", *FEW]) == 0
    return place / "points" / "solvers" / "tuned-5.json"


def samples_of(run: str, *words: str) -> np.ndarray:
    """What `sample` writes, as it is."""
    assert main(["sample", run, "-n", "12", "--seed", "3", "--threads", "1", "-o", "out.npz", *words]) == 0
    with np.load("out.npz") as file:
        return file["samples"]


# What tune does


def test_a_tuned_solver_is_better_than_what_it_is_shown_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "points", "--calls", "6", "--name", "mine", "--rounds", "2", *FEW]) == 0
    shown = capsys.readouterr().out
    errors = {name: float(error) for name, error in re.findall(r"^  ([\w-]+) +6 +(\S+)", shown, re.MULTILINE)}
    assert list(errors) == ["mine", "ddim", "heun", "euler"]
    assert all(errors["mine"] < 0.5 * errors[other] for other in ("ddim", "heun", "euler"))
    assert Path("points/solvers/mine.json").is_file()
    assert "pushforward sample points --solver mine" in shown


def test_a_saved_solver_is_reproduced_bit_for_bit(tuned: Path) -> None:
    torch.set_num_threads(1)
    model = pf.load("points", device="cpu")
    assert isinstance(model, pf.Diffusion)
    found = pf.models.tune(model, 5, samples=32, memory=4, rounds=2).solver
    assert pf.solvers.load(tuned) == found
    x = model.sample(12, solver=found, seed=3)
    expected = pf.data.open_data("moons").scaling.to_values(x.double()).numpy()
    assert np.array_equal(samples_of("points", "--solver", "tuned-5"), expected)
    assert np.array_equal(samples_of("points", "--solver", str(tuned)), expected)
    before = tuned.read_bytes()
    assert main(["tune", "points", "--calls", "5", "--rounds", "2", *FEW]) == 0
    assert tuned.read_bytes() == before


def test_others_are_measured_as_the_found_one_is() -> None:
    model = ring(8, 1.0, 0.1, Cosine())
    choice = pf.models.auto(model, 4, samples=32)
    options = parse(["tune", "x", "--calls", "4", "--samples", "32"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pushforward.cli.tune.SOLVERS", {"euler": lambda *_: choice.solver})
        patch.setattr("pushforward.cli.tune.BESIDE", {"euler": 1})
        row = beside(model, None, options)["euler"]
    assert (row.calls, row.error, row.median) == (choice.calls, choice.error, choice.median)


def test_heun_stands_beside_at_no_more_calls() -> None:
    def calls(budget: int) -> dict[str, int]:
        options = parse(["tune", "x", "--calls", str(budget), "--samples", "8"])
        return {name: row.calls for name, row in beside(ring(8, 1.0, 0.1), None, options).items()}

    assert calls(1) == {"ddim": 1, "euler": 1}
    assert calls(5) == {"ddim": 5, "heun": 4, "euler": 5}


@pytest.mark.parametrize(("label", "name"), [(None, "auto-2"), ("7", "auto-2-7")])
def test_conditional_runs_are_tuned_for_their_classes(
    label: str | None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [] if label is None else ["--label", label]
    assert main(["tune", "digits", "--calls", "2", "--grid-only", *FEW, *chosen]) == 0
    assert ("all classes in turn" if label is None else "class 7") in capsys.readouterr().out
    model = pf.load("digits", device="cpu")
    assert isinstance(model, pf.Diffusion)
    context = torch.arange(32) % 10 if label is None else torch.full((32,), 7)
    found = pf.models.auto(model, 2, context, samples=32).solver
    assert pf.solvers.load(Path("digits/solvers") / f"{name}.json") == found
    assert len(samples_of("digits", "--solver", name)) == 12


def test_info_lists_the_solvers_of_a_run(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "points"]) == 0
    assert re.search(rf"^tuned solvers: .*{tuned.stem}", capsys.readouterr().out, re.MULTILINE)


# Solvers by name


@pytest.mark.parametrize("path", [Linear(), VP(), Cosine(), VE(), EDM()], ids=str)
@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in JUMPS])  # of flow maps: test_few_steps
def test_every_name_solves_every_path(name: str, path: pf.paths.Path) -> None:
    """On a ring of known density: where the flow goes, or, with noise on the way, on the ring."""
    model, solver = ring(8, 1.0, 0.1, path), Solve(name, steps=100).build(Path("none"))
    x = model.sample(256, solver=solver, seed=0)
    assert pf.solvers.adds_noise(solver) == (name in NOISY)
    if name in NOISY:
        assert abs(x.norm(dim=1).mean().item() - 1) < 0.05
        assert 0.08 < x.norm(dim=1).std().item() < 0.13
    else:
        exact = model.sample(256, solver=pf.solvers.Adaptive(1e-6, 1e-6), seed=0)
        assert ((x - exact).square().mean() / exact.square().mean()).sqrt() < 0.06


@pytest.mark.parametrize("name", SOLVERS)
def test_help_names_every_solver(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["sample", "--help"])
    page = capsys.readouterr().out
    assert re.search(rf"\b{name}\b", page[page.index("--solver NAME|FILE") : page.index("--steps INT")])


@pytest.mark.parametrize("name", sorted({*SOLVERS} - {*JUMPS, "euler", "midpoint", "heun", "rk4", "adaptive"}))
def test_a_likelihood_refuses_what_cannot_carry_the_divergence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "points", "--solver", name, "--likelihood", "4"]) == 2
    assert f"got --solver {name}. Choose one of them, or measure the samples alone" in capsys.readouterr().err


def test_a_likelihood_takes_the_others() -> None:
    solvers = {name: Solve(name).build(Path("none")) for name in SOLVERS if name not in JUMPS}
    carrying = {name for name, solver in solvers.items() if carries_divergence(solver)}
    assert carrying == {"euler", "midpoint", "heun", "rk4", "adaptive"}
    model = ring(8, 1.0, 0.1)
    for name in carrying:
        assert model.log_prob(torch.zeros(1, 2), solver=solvers[name]).isfinite()
    with pytest.raises(ConfigError, match="for a likelihood"):
        model.log_prob(torch.zeros(1, 2), solver=solvers["ddim"])


def test_samples_of_any_solver_can_be_evaluated(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "points", "--solver", tuned.stem, "--likelihood", "0", "-n", "40"]) == 0
    shown = capsys.readouterr().out
    assert "energy distance" in shown
    assert "straightness" not in shown


def test_flows_ignore_the_solver() -> None:
    assert main(["evaluate", "flow", "--solver", "ddim", "--likelihood", "4", "-n", "40"]) == 0


def test_a_tuned_solver_teaches(tuned: Path) -> None:
    words = ["--teacher.solver", tuned.stem, "--pairs", "32", "--steps", "2", "--batch", "16", "--warmup", "1"]
    assert main(["reflow", "points", *words, "-o", "straight"]) == 0


# Mistakes

MISTAKES = {
    "no run": (["tune", "no/run"], "'no/run', which does not exist"),
    "no calls": (["tune", "points", "--calls", "0"], "--calls, --memory and --rounds of 1 or more"),
    "too few starts": (["tune", "points", "--samples", "7"], "--samples of 8 or more"),
    "a flow": (["tune", "flow"], "the run of a diffusion model, which has paths; got 'flow', a NormalizingFlow"),
    "a class of a run without": (["tune", "points", "--label", "7"], "a run trained with --conditional"),
    "a class that is none": (["tune", "digits", "--label", "11"], "got --label 11"),
    "a name that is taken": (["tune", "points", "--name", "heun"], "no solver's already"),
    "a name that is a path": (["tune", "points", "--name", "a/b"], "no path"),
    "a solver misspelt": (["sample", "points", "--solver", "huen"], "got 'huen'. Did you mean 'heun'?"),
    "a saved solver misspelt": (["sample", "points", "--solver", "tuned-55"], "Did you mean 'tuned-5'?"),
    "a solver far from any": (["sample", "points", "--solver", "xyz"], "Choose from 'adaptive', 'ancestral'"),
    "a file that is none": (["sample", "points", "--solver", "no.json"], "got 'no.json': it is no file"),
    "a file of something else": (["sample", "points", "--solver", "a.json"], "a kind for 'a.json'; got none"),
    "steps of a saved solver": (["sample", "points", "--solver", "tuned-5", "--steps", "3"], "got --steps 3. Leave it"),
    "a random teacher": (["reflow", "points", "--teacher.solver", "sde"], "which adds noise on the way"),
    "a teacher of one direction": (["reflow", "points", "--real", "--teacher.solver", "dpm"], "from data to noise"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(case: str, place: Path, tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a.json").write_text("{}")
    words, message = MISTAKES[case]
    capsys.readouterr()
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("pushforward: error: ")
    assert shown.count("\n") == 1
    assert message in shown


def test_a_name_is_looked_up_where_it_was_saved(tmp_path: Path) -> None:
    pf.solvers.save(pf.solvers.DDIM(3), tmp_path / "solvers" / "three.json")
    assert Solve("three").build(tmp_path) == pf.solvers.DDIM(3)
    with pytest.raises(ConfigError, match="Choose from"):
        Solve("three").build(tmp_path / "solvers")

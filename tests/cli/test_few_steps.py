"""`distill` by every recipe: runs that jump, on the same data, as every other verb reads them."""

import json
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward._random import Draw
from pushforward._recipe import FlowMap
from pushforward.cli import main
from pushforward.cli.distill import student_of
from pushforward.cli.few_steps import Error, Recipe, chosen, needs_pairs, renoise, stages
from pushforward.cli.options import Solve
from pushforward.cli.units import read_units
from pushforward.models import guided
from pushforward.solvers import Euler, Heun, Jumps
from pushforward.training import Settings, load, read_run


def brief(steps: int = 8, batch: int = 16) -> list[str]:
    """A training of seconds."""
    words = ["--checkpoint-every", "0", "--warmup", "1", "--threads", "1"]
    return ["--steps", str(steps), "--batch", str(batch), *words]


BRIEF = brief()
RECIPES = [each for each in typing.get_args(Recipe) if each != "auto"]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a small run on points."""
    folder = tmp_path_factory.mktemp("work")
    points = pf.data.open_data("moons").values[:500].tolist()
    (folder / "points.csv").write_text("a,b\n" + "".join(f"{a:.4f},{b:.4f}\n" for a, b in points))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "points.csv", "--mlp.hidden", "32", "--mlp.layers", "2", *brief(300, 128),
                     "-o", "flow"]) == 0  # fmt: skip
        yield folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_a_run_that_jumps(recipe: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jumps = "1" if recipe == "pairs-dmd" else "2"
    teacher = ["--pairs", "64", "--teacher.steps", "2"] if needs_pairs(typing.cast(Recipe, recipe)) else []
    assert main(["distill", "flow", "--recipe", recipe, "--jumps", jumps, *teacher, *BRIEF, "-o", recipe]) == 0
    assert capsys.readouterr().out.endswith(f"  pushforward compare flow {recipe}\n")
    assert main(["sample", recipe, "-n", "9", "-o", f"{recipe}.npz"]) == 0
    model, again = load(recipe), read_run(recipe).model
    assert isinstance(model, pf.models.FlowMap)
    assert isinstance(again, FlowMap)
    assert again.critic == (model.critic is not None) == ("dmd" in recipe)
    to_data_alone = recipe in ("consistency", "continuous", "dmd", "pairs-dmd", "consistency-dmd")
    assert model.solver == Jumps(int(jumps), renoise=float(to_data_alone))
    assert torch.isfinite(model.sample(9, seed=0)).all()


def test_a_recipe_of_stages_goes_on_in_the_stage_where_it_was(place: Path) -> None:
    command = ["distill", "flow", "--pairs", "64", "--teacher.steps", "2", *BRIEF, "-o", "staged"]
    assert main(command) == 0
    whole = (place / "staged" / "model.safetensors").read_bytes()
    before = (place / "staged-pairs" / "metrics.jsonl").read_text()
    for file in sorted((place / "staged").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (place / "staged").rmdir()
    assert main(command) == 0
    assert (place / "staged" / "model.safetensors").read_bytes() == whole
    assert (place / "staged-pairs" / "metrics.jsonl").read_text() == before


def test_a_stage_does_not_go_on_when_the_one_before_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor another run's student, whatever the recipe learns from."""
    command = ["distill", "flow", "--pairs", "64", "--teacher.steps", "2", "-o", "early"]
    assert main([*command, *BRIEF]) == 0
    kept = (place / "early" / "model.safetensors").read_bytes()
    assert main([*command, *brief(40)]) != 0
    assert "Expected start = " in capsys.readouterr().err
    assert (place / "early" / "model.safetensors").read_bytes() == kept
    assert main(["train", "points.csv", "--mlp.hidden", "32", "--mlp.layers", "2", *BRIEF, "-o", "rough"]) == 0
    taught = ["--recipe", "shortcut", *BRIEF, "-o", "taught"]
    assert main(["distill", "flow", *taught]) == 0
    assert main(["distill", "rough", *taught]) != 0
    assert "Expected start = " in capsys.readouterr().err


def test_one_call_of_the_student_is_better_than_one_of_the_teacher(place: Path) -> None:
    words = ["--recipe", "pairs", "--pairs", "2048", "--real", *brief(300, 128)]
    assert main(["distill", "flow", *words, "-o", "quick"]) == 0
    held = pf.data.open_data("points.csv").held_out_batch(Draw(0, "test")).x
    teacher, student = load("flow"), load("quick")
    far, near = (
        pf.report.energy_distance(x, held).value
        for x in (teacher.sample(500, solver=Euler(1), seed=0), student.sample(500, seed=0))
    )
    assert near < far / 3


def test_other_verbs_read_a_run_that_jumps(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["train", "points.csv", "--flow-map", "--mlp.hidden", "8", "--mlp.layers", "1", *BRIEF, "-o", "map"]) == 0
    )
    assert main(["train", "--config", "map/config.toml", "-o", "map-again"]) == 0
    assert (place / "map" / "model.safetensors").read_bytes() == (
        place / "map-again" / "model.safetensors"
    ).read_bytes()
    assert main(["evaluate", "map", "-n", "60", "-o", "jumps.json"]) == 0
    assert main(["evaluate", "map", "-n", "60", "--solver", "heun", "--steps", "2", "--likelihood", "20",
                 "-o", "velocity.json"]) == 0  # fmt: skip
    jumps, velocity = (json.loads((place / f"{name}.json").read_text()) for name in ("jumps", "velocity"))
    assert "bits per dimension" not in jumps
    assert velocity["bits per dimension"]["standard_error"] > 0
    assert velocity["energy distance"] != jumps["energy distance"]
    assert main(["report", "map", "-n", "64", "--calls", "1", "2"]) == 0
    capsys.readouterr()
    assert main(["info", "map"]) == 0
    assert "FlowMap" in capsys.readouterr().out
    assert main(["sample", "flow", "--solver", "jump"]) == 2
    assert "a run that jumps, for --solver jump" in capsys.readouterr().err


def test_the_solver_suits_the_run(place: Path) -> None:
    pf.training.save_run(load("flow"), "walks", read_run("flow").model)
    recipe = FlowMap(read_run("flow").model.net, jumps=4, renoise=0.5)
    pf.training.save_run(pf.training.build(recipe, (2,)), "jumps", recipe)
    walks, jumps = Path("walks"), Path("jumps")
    assert (Solve().build(walks), Solve(steps=3).build(walks)) == (Heun(20), Heun(3))
    assert (Solve().build(jumps), Solve(steps=2).build(jumps)) == (Jumps(4, renoise=0.5), Jumps(2, renoise=0.5))
    assert (Solve("jump").build(jumps), Solve("renoise", 2).build(jumps)) == (Jumps(4), Jumps(2, renoise=1.0))
    assert Solve("euler", 5).build(jumps) == Euler(5)


def test_auto_is_a_recipe_for_so_many_jumps(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (chosen("auto", 1), chosen("auto", 4)) == ("pairs-dmd", "trajectory")
    settings = Settings(steps=2_000, lr=1e-3)
    first, second = stages("pairs-dmd", 1, Error("huber", "none"), settings)
    assert (first.settings, second.settings.steps, second.settings.lr) == (settings, 500, 1e-4)
    assert [each.name for each in stages("progressive", 2, Error("huber", "none"), settings)] == ["16", "8", "4", ""]
    assert main(["distill", "flow", "--recipe", "pairs-dmd", "--jumps", "2"]) == 2
    assert "Its pairs know one jump: choose --recipe consistency-dmd" in capsys.readouterr().err


def test_distribution_matching_trains_the_jumps_it_is_asked_for() -> None:
    teacher, jumps = pf.load("flow"), Jumps(3, renoise=1.0)
    for recipe, anchor in (("dmd", 1.0), ("consistency-dmd", 0.0)):
        last = stages(recipe, 3, Error("huber", "none"), Settings(steps=8))[-1]
        objective = last.objective(teacher, teacher)
        assert isinstance(objective, pf.objectives.DistributionMatching)
        assert (objective.steps, objective.anchor, last.jumps, last.critic) == (3, anchor, 3, True)
        assert renoise(objective) == 1.0
        assert student_of(teacher, teacher, True, jumps, 0).solver == jumps


def test_pairs_are_compared_in_features(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["distill", "flow", "--pairs", "64", "--teacher.steps", "2", *BRIEF]
    of_data = ["distill", "flow", *BRIEF]
    for features in ("none", "hidden"):
        assert main([*words, "--recipe", "pairs", "--features", features, "-o", f"seen-{features}"]) == 0
    plain, seen = (load(f"seen-{features}").sample(9, seed=0) for features in ("none", "hidden"))
    assert (plain - seen).abs().max() > 1e-4
    capsys.readouterr()
    assert main([*words, "--recipe", "pairs", "--features", "scales", "-o", "seen-scales"]) == 2
    assert "images or sequences, for --features scales" in capsys.readouterr().err
    assert not Path("seen-scales").exists()
    assert main([*of_data, "--recipe", "shortcut", "--features", "hidden", "-o", "unseen"]) == 2
    assert "--features hidden with --recipe shortcut" in capsys.readouterr().err
    assert not Path("unseen").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    {
        "--recipe shortcut --real --loss square": "--real with --recipe shortcut",
        "--recipe consistency --pairs 5": "--pairs 5 with --recipe consistency",
        "--recipe progressive --pairs-shard 0/2": "--pairs-shard 0/2 with --recipe progressive",
        "--recipe direct --teacher.steps 3": "--teacher.steps 3 with --recipe direct",
        "--recipe lagrangian --loss square": "--loss square with --recipe lagrangian",
        "--recipe dmd --loss square": "regresses on pairs, for --loss; got --loss square with --recipe dmd",
        "--jumps 4 --real": ", which is --recipe auto for --jumps 4",
    }.items(),
)
def test_what_a_recipe_would_ignore_is_refused(
    given: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", "flow", *given.split(), *BRIEF, "-o", "refused"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("refused").exists()


def test_a_teacher_whose_time_has_fast_waves_gets_a_hint(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = ["--mlp.hidden", "8", "--mlp.layers", "1", "--mlp.fastest", "2"]
    assert main(["train", "points.csv", *slow, *BRIEF, "-o", "slow"]) == 0
    for run, recipe, hinted in (("flow", "eulerian", True), ("flow", "shortcut", False), ("slow", "eulerian", False)):
        capsys.readouterr()
        assert main(["distill", run, "--recipe", recipe, *BRIEF, "-o", f"{run}-{recipe}"]) == 0
        assert ("trained with --mlp.fastest 2" in capsys.readouterr().out) == hinted
    assert load("slow-eulerian").net.condition.time.fastest == 2


def test_a_teacher_that_says_eps_gets_a_hint_that_what_is_made_of_it_does_not(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--path", "vp", "--prediction", "eps", "--mlp.hidden", "8", "--mlp.layers", "1", *BRIEF]
    assert main(["train", "points.csv", *words, "-o", "noisy"]) == 0
    assert (
        main(["reflow", "noisy", "--pairs", "16", "--teacher.steps", "1", "--measure", "0", *BRIEF, "-o", "clean"]) == 0
    )
    for run, hinted in (("noisy", True), ("clean", False)):
        capsys.readouterr()
        assert main(["distill", run, "--recipe", "shortcut", *BRIEF, "-o", f"{run}-shortcut"]) == 0
        assert ("Hint: the run says eps" in capsys.readouterr().out) == hinted


def test_real_pairs_are_at_most_one_for_each_event(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--pairs", "450", "--real", "--teacher.steps", "1", *brief(1)]
    assert main(["distill", "flow", "--recipe", "pairs", *words, "-o", "real"]) == 0
    shown = capsys.readouterr().out
    assert "--real: 400 pairs, one for each training event; --pairs is 450" in shown
    assert "850 pairs" in shown


def test_a_folder_named_like_built_in_data_is_not_taken_for_them(place: Path) -> None:
    for _ in range(2):
        assert main(["train", "moons", "--mlp.hidden", "8", "--mlp.layers", "1", *BRIEF, "-o", "moons"]) == 0
    assert read_units(Path("moons")).path == "moons"
    assert main(["evaluate", "moons", "-n", "60", "--likelihood", "0", "--steps", "1"]) == 0


def test_verbs_take_the_folder_they_stand_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` has no name of its own, and stages and averages are named after the run they lie beside."""
    assert main(["train", "points.csv", "--mlp.hidden", "8", *BRIEF, "--profiles", "0.1", "-o", "here/run"]) == 0
    monkeypatch.chdir(place / "here" / "run")
    assert main(["ema", ".", "--std", "0.07"]) == 0
    assert load(place / "here" / "run-ema-0.07").shape == (2,)
    (place / "here" / "jumps").mkdir()
    monkeypatch.chdir(place / "here" / "jumps")
    assert main(["distill", "../run", "--pairs", "16", "--teacher.steps", "1", *BRIEF, "-o", "."]) == 0
    assert (place / "here" / "jumps-pairs" / "model.safetensors").is_file()


def test_runs_are_put_side_by_side(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = FlowMap(read_run("flow").model.net)
    for name in ("one", "two"):
        pf.training.save_run(pf.training.build(recipe, (2,)), name, recipe)
        (place / name / "data.toml").write_text((place / "flow" / "data.toml").read_text())
    words = ["-n", "50", "--likelihood", "20", "--calls", "1", "2", "--threads", "1"]
    capsys.readouterr()
    assert main(["compare", "flow", "one", "two", *words, "-o", "all.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:9]] == ["flow", "flow", "one", "one", "two", "two", "floor:"]
    assert "pushforward compare flow one two --seed 0" in (place / "all.html").read_text()
    assert main(["compare", "one", *words, "-o", "all.png"]) == 0
    assert (place / "all.png").read_bytes().startswith(b"\x89PNG")
    units = (place / "two" / "data.toml").read_text()
    (place / "two" / "data.toml").write_text(units.replace("scale = [", "scale = [9.0, 9.0]\n#"))
    mistakes = {"-o all.gif": ".html or .png", "-n 3": "-n of 40 or more", "": "scaled differently"}
    for given, message in mistakes.items():
        assert main(["compare", "flow", "two", *given.split()]) == 2
        assert message in capsys.readouterr().err


def test_reflow_says_whether_another_round_pays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of runs whose folders have one name."""
    words = ["--pairs", "64", "--teacher.steps", "2", *BRIEF, "--measure"]
    assert main(["reflow", "flow", *words, "40", "-o", "other/flow"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "%" in line][:2] == [
        "flow",
        "other/flow",
    ]
    assert main(["reflow", "flow", *words, "40", "-o", "straight"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "%" in line][:2] == ["flow", "straight"]
    assert "pay" in shown or "Go on from flow" in shown
    assert main(["reflow", "flow", *words, "0", "-o", "silent"]) == 0
    assert "Bend" not in capsys.readouterr().out


@pytest.mark.parametrize(("path", "prediction"), [("vp", "eps"), ("ve", "score"), ("edm", "edm"), ("linear", "x0")])
def test_a_run_on_any_path_is_straightened_on_the_straight_one(path: str, prediction: str, place: Path) -> None:
    """One call of it is as good as many, which its teacher's are not on any path; and it can be straightened again."""
    net = ["--mlp.hidden", "32", "--mlp.layers", "2", *brief(300, 128)]
    name, straight = f"teaches-{path}", f"straight-{path}"
    assert main(["train", "points.csv", *net, "--path", path, "--prediction", prediction,
                 "-o", name]) == 0  # fmt: skip
    words = ["--pairs", "2048", "--measure", "0"]
    assert main(["reflow", name, *words, *brief(300, 128), "--lr", "1e-3", "-o", straight]) == 0
    recipe, student = read_run(straight).model, load(straight)
    assert (recipe.path, recipe.prediction) == ("linear", "velocity")
    held = pf.data.open_data("points.csv").held_out_batch(Draw(0, "test")).x
    one, many = (pf.report.energy_distance(student.sample(500, solver=Euler(n), seed=0), held) for n in (1, 32))
    teacher = load(name).on(pf.paths.Linear(), pf.paths.velocity)
    far = pf.report.energy_distance(teacher.sample(500, solver=Euler(1), seed=0), held)
    assert one.value < min(far.value / 5, many.value + 0.02)
    assert main(["reflow", straight, *words, *brief(2, 128), "--lr", "1e-6", "-o", f"{straight}-2"]) == 0
    again = load(f"{straight}-2").sample(99, solver=Euler(1), seed=0)
    torch.testing.assert_close(again, student.sample(99, solver=Euler(1), seed=0), rtol=0, atol=0.1)


@pytest.fixture(scope="module")
def classes(place: Path) -> Path:
    """A run on two classes of points that has learned to go without them too."""
    x, label = Draw(0).normal(400, (2,)).numpy(), np.arange(400) % 2
    np.savez(place / "two.npz", x=x * 0.5 + 4.0 * label[:, None], y=label)
    words = ["--conditional", "--drop-labels", "0.2", "--mlp.hidden", "16", "--mlp.layers", "1"]
    assert main(["train", "two.npz", *words, *brief(200, 64), "-o", "classes"]) == 0
    return place / "classes"


@pytest.mark.parametrize("recipe", RECIPES)
def test_classes_and_guidance_reach_every_recipe(recipe: str, classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each stage learns from has classes, and who teaches is the guided model; the student itself is plain."""
    teacher, plain, stages = guided(load(classes), 3.0), load(classes), []

    def watched(model, data, objective, **words):  # type: ignore[no-untyped-def]
        stages.append((model, next(data.batches(16, Draw(0))), getattr(objective, "teacher", None), words["recipe"]))
        return pf.training.History([], [], [])

    monkeypatch.setattr(pf, "train", watched)
    pairs = ["--pairs", "64", "--teacher.steps", "4"] if needs_pairs(typing.cast(Recipe, recipe)) else []
    words = ["--guidance", "3", "--recipe", recipe, *pairs, *BRIEF]
    assert main(["distill", "classes", *words, "-o", f"guided-{recipe}"]) == 0
    t = torch.linspace(0.2, 0.9, 16)
    for number, (student, batch, taught, made) in enumerate(stages):
        assert set(batch.context.tolist()) == {0, 1}
        wanted, own = (each.velocity(batch.x, t, batch.context) for each in (teacher, plain))
        assert not torch.allclose(wanted, own, atol=1e-2)
        torch.testing.assert_close(student.velocity(batch.x, t, batch.context), own)
        if batch.eps is not None:
            torch.testing.assert_close(batch.x, teacher.decode(batch.eps, batch.context, Heun(4)), rtol=1e-4, atol=1e-4)
        if isinstance(taught, pf.Diffusion):
            torch.testing.assert_close(taught.velocity(batch.x, t, batch.context), wanted)
        assert taught is not None or batch.eps is not None
        assert isinstance(taught, pf.Diffusion | None) or number > 0  # later stages learn from the one before
        assert isinstance(made, FlowMap)
        assert made.guidance == 3
        assert (student.critic is not None) == made.critic


def test_a_straightened_run_of_classes_can_still_be_guided(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says without a class is learned from its pairs too, or guidance would mix two flows."""
    objectives = []

    def watched(model, data, objective, **words):  # type: ignore[no-untyped-def]
        objectives.append(objective)
        return pf.training.History([], [], [])

    monkeypatch.setattr(pf, "train", watched)
    words = ["--pairs", "64", "--teacher.steps", "4", "--measure", "0", *BRIEF, "-o", "straight-classes"]
    assert main(["reflow", "classes", *words]) == 0
    assert main(["reflow", "classes", *words, "--loss", "huber"]) == 0
    wanted = pf.objectives.Regression(), pf.objectives.Regression(huber=0.07)
    assert objectives == [pf.objectives.Dropped(each, 2, 0.2) for each in wanted]


def test_guidance_on_the_command_line(classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "classes", "-n", "8", "--label", "1", "--guidance", "2.5", "-o", "eight.npz"]) == 0
    made = guided(load(classes), 2.5).sample(8, torch.ones(8, dtype=torch.long), Heun(20), 0)
    known = pf.data.open_data("two.npz")
    torch.testing.assert_close(torch.from_numpy(np.load("eight.npz")["samples"]), known.scaling.to_values(made))
    assert main(["train", "--config", "classes/config.toml", "-o", "classes-again"]) == 0
    assert (classes / "model.safetensors").read_bytes() == Path("classes-again/model.safetensors").read_bytes()
    words = ["--recipe", "pairs", "--pairs", "64", "--teacher.steps", "4", *brief(4)]
    assert main(["distill", "classes", *words, "--guidance", "2", "-o", "one-guidance"]) == 0
    capsys.readouterr()
    mistakes = {
        "distill one-guidance --recipe direct": "It jumps already",
        "distill classes --guidance 4 -o one-guidance " + " ".join(words): "guidance",
        "sample flow --guidance 2": "--drop-labels 0.1",
        "sample one-guidance --guidance 2": "a FlowMap",
        "train points.csv --drop-labels 0.1": "Add --conditional",
        "train two.npz --conditional --drop-labels 2": "a share from 0 to 1",
        "train two.npz --conditional --drop-labels 0.1 --flow-map": "pushforward distill RUN --guidance 2",
        "train two.npz --conditional --drop-labels 0.1 --model nsf": "--model nsf",
    }
    for command, message in mistakes.items():
        assert main(command.split()) == 2, command
        assert message in capsys.readouterr().err

"""Every verb at work on a small table, a small folder and the digits: commands in, files out."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward._random import Draw
from pushforward.cli import main
from pushforward.cli.runs import Remembered, run_folder
from pushforward.cli.units import read_units, units_of
from pushforward.data import digits
from pushforward.report import on_lines, straightness

BRIEF = ["--steps", "4", "--batch", "16", "--checkpoint-every", "0", "--warmup", "1"]
MLP = ["--mlp.hidden", "8", "--mlp.layers", "1"]
TEACHER = ["--pairs", "64", "--teacher.steps", "2"]


def rows_of(path: Path) -> list[list[str]]:
    """The lines of a table, the header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a table and a folder of images in it."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, 300)
    lines = [f"{a:.2f},{1000 * a + e:.1f}" for a, e in zip(age, rng.normal(0, 3000, 300))]
    (folder / "people.csv").write_text("\n".join(["age,income", *lines]) + "\n")
    for name, channel in (("cat", 0), ("dog", 2)):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 100, (8, 8, 3)).astype("uint8")
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def people(place: Path) -> Path:
    """A run on the table."""
    assert main(["train", "people.csv", *BRIEF, *MLP]) == 0
    return place / "runs" / "people"


@pytest.fixture(scope="module")
def photos(place: Path) -> Path:
    """A run on the images, class by class."""
    net = ["--transformer.width", "16", "--transformer.layers", "1", "--transformer.heads", "2"]
    assert main(["train", "photos", "--conditional", *BRIEF, *net, "-o", "pets"]) == 0
    return place / "pets"


def test_students_learn_from_data_that_have_moved(place: Path, capsys) -> None:
    (place / "here.csv").write_text((place / "people.csv").read_text())
    assert main(["train", "here.csv", *BRIEF, *MLP, "-o", "left"]) == 0
    assert main(["sample", "left", "--solver", "jump"]) == 2
    assert "a run that jumps, for --solver jump" in capsys.readouterr().err
    (place / "here.csv").rename(place / "there.csv")
    for words in (
        ["distill", "left", "--recipe", "shortcut"],
        ["reflow", "left", "--real", *TEACHER],
        ["evaluate", "left"],
    ):
        new = [] if words[0] == "evaluate" else [*BRIEF, "-o", f"of-{words[0]}"]
        assert main([*words, *new]) == 2
        assert "Say where they are now by --data" in capsys.readouterr().err
        if new:
            assert main([*words, "--data", "there.csv", *new]) == 0
            assert read_units(place / f"of-{words[0]}").path == str((place / "there.csv").resolve())


def test_a_few_rows_are_judged_as_many_are(place: Path) -> None:
    """Eight of forty held out are fewer than the groups of a jackknife."""
    (place / "few.csv").write_text("\n".join((place / "people.csv").read_text().splitlines()[:41]) + "\n")
    assert main(["train", "few.csv", *BRIEF, *MLP, "-o", "few"]) == 0
    assert main(["evaluate", "few", "--steps", "2"]) == 0
    assert main(["compare", "few", "--calls", "1", "-n", "40"]) == 0
    assert main(["report", "few", "--calls", "1", "-n", "40"]) == 0


def test_training_leaves_a_run(people: Path) -> None:
    assert (people / "config.toml").is_file()
    units = read_units(people)
    assert units.columns == ("age", "income")
    assert Path(units.path) == (people.parent.parent / "people.csv").resolve()


def test_a_run_that_ends_suddenly_still_knows_its_units(tmp_path: Path) -> None:
    data = digits()
    source = Remembered(data, units_of(data, "digits", conditional=True), tmp_path)
    batch = next(source.batches(8, Draw(0, "data")))
    assert torch.equal(batch.x, next(data.batches(8, Draw(0, "data"))).x)
    assert read_units(tmp_path) == source.units
    assert (source.name, source.classes, source.shape) == ("digits", 10, (1, 8, 8))


def test_samples_of_a_table_have_its_units(people: Path) -> None:
    assert main(["sample", str(people), "-n", "50"]) == 0
    header, *rows = rows_of(people / "samples.csv")
    assert header == ["age", "income"]
    incomes = [float(row[1]) for row in rows]
    assert len(rows) == 50
    assert 5_000 < float(np.std(incomes)) < 100_000  # standardised values would have a spread of about 1


def test_a_sample_depends_on_its_index_alone(people: Path, tmp_path: Path) -> None:
    common = ["--solver", "euler", "--steps", "3", "--seed", "7", "--threads", "1"]
    assert main(["sample", str(people), "-n", "9", "-o", str(tmp_path / "a.csv"), *common]) == 0
    split = ["-n", "5", "--first", "4", "--batch", "2"]
    assert main(["sample", str(people), *split, "-o", str(tmp_path / "b.csv"), *common]) == 0
    whole, part = rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "b.csv")
    same = torch.tensor([[float(v) for v in row] for row in whole[5:]])
    torch.testing.assert_close(torch.tensor([[float(v) for v in row] for row in part[1:]]), same, rtol=1e-4, atol=1e-3)


def test_straightness_is_that_of_the_straight_path_and_says_so(
    place: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = ["--likelihood", "0", "-n", "40", "--solver", "euler", "--steps", "8"]
    assert main(["train", "people.csv", *BRIEF, *MLP, "--path", "vp", "--prediction", "eps", "-o", "vp"]) == 0
    assert main(["evaluate", "vp", *brief, "-o", "vp.json"]) == 0
    name = "straightness per dimension, on the straight path"
    assert name in capsys.readouterr().out
    lines = on_lines(pf.load(place / "vp"))
    assert lines.path == pf.paths.Linear()
    found = json.loads((place / "vp.json").read_text())[name]["value"]
    assert found == pytest.approx(straightness(lines, pf.solvers.Euler(8)).per_dimension.value, rel=1e-4)
    assert main(["evaluate", str(people), *brief]) == 0
    assert name not in (shown := capsys.readouterr().out)
    assert "straightness per dimension" in shown


def test_the_same_command_makes_the_same_run(place: Path, people: Path) -> None:
    assert main(["train", "people.csv", *BRIEF, *MLP]) == 0
    again = place / "runs" / "people-2"
    assert (again / "model.safetensors").read_bytes() == (people / "model.safetensors").read_bytes()
    assert main(["train", "people.csv", *BRIEF, *MLP, "--seed", "1", "-o", "other"]) == 0
    assert (place / "other" / "model.safetensors").read_bytes() != (people / "model.safetensors").read_bytes()


def test_a_configuration_makes_the_same_run(place: Path, people: Path) -> None:
    assert main(["train", "--config", str(people / "config.toml"), "-o", "copy"]) == 0
    assert (place / "copy" / "model.safetensors").read_bytes() == (people / "model.safetensors").read_bytes()


def test_classes_are_asked_for_by_name(photos: Path, tmp_path: Path) -> None:
    both, dogs = tmp_path / "both.npz", tmp_path / "dogs.npz"
    assert main(["sample", str(photos), "-n", "4", "--steps", "2", "-o", str(both)]) == 0
    assert main(["sample", str(photos), "-n", "4", "--steps", "2", "--label", "dog", "-o", str(dogs)]) == 0
    with np.load(both) as a, np.load(dogs) as b:
        assert a["samples"].shape == (4, 3, 8, 8)
        assert a["samples"].dtype == np.uint8
        assert (a["labels"].tolist(), b["labels"].tolist()) == ([0, 1, 0, 1], [1, 1, 1, 1])


MISTAKES = {
    "a class that is none": (["sample", "{photos}", "--label", "dgo"], "a class of the run (cat, dog)"),
    "a class of a run without": (["sample", "{people}", "--label", "dog"], "trained with --conditional"),
    "a picture of a table": (["sample", "{people}", "-o", "a.txt"], "end in .png, .npz or .csv"),
    "classes of a table": (["train", "people.csv", "--conditional"], "data with classes for --conditional"),
    "other data": (["evaluate", "{people}", "--data", "digits"], "where the run learned events of shape (2,)"),
    "straightening into itself": (["reflow", "{people}", "-o", "{people}"], "--out to be a new folder"),
    "no pairs": (["reflow", "{people}", "--pairs", "0"], "--pairs of 1 or more"),
    "no jumps": (["distill", "{people}", "--jumps", "0"], "--jumps of 1 or more"),
    "no steps": (["sample", "{people}", "--steps", "0"], "at least 1 step"),
    "another run there": (["train", "digits", "-o", "photos"], "which holds something else"),
    "other settings there": (["train", "people.csv", *BRIEF, *MLP, "--lr", "0.5", "-o", "{people}"], "lr = 0.001"),
    "text": (["train", "notes.txt"], "Token models come later"),
    "a table with a word in it": (["train", "words.csv"], "pass --bad-rows skip"),
    "a column that is none": (["train", "people.csv", "--columns", "age", "size"], "'size'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_before_anything_is_done(
    case: str, place: Path, people: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "notes.txt").write_text("to be or not to be\n" * 40)
    (place / "words.csv").write_text("a,b\n" + "1,2\n" * 20 + "3,many\n")
    words, message = MISTAKES[case]
    capsys.readouterr()
    assert main([word.format(people=people, photos=photos) for word in words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("pushforward: error: ")
    assert shown.count("\n") == 1
    assert message in shown


def test_evaluation_says_and_writes_its_numbers(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = people / "scores.json"
    assert main(["evaluate", str(people), "--steps", "2", "--likelihood", "20", "-o", str(out)]) == 0
    shown, numbers = capsys.readouterr().out, json.loads(out.read_text())
    assert all(name in shown for name in numbers)
    assert numbers["energy distance"]["value"] > numbers["energy distance"]["real_data"]
    assert numbers["bits per dimension"]["standard_error"] > 0
    assert "likelihood: " in shown
    assert "of continuous values; exact divergence; solver " in shown


def test_it_says_what_a_likelihood_is_worth_where_the_network_knows_the_data_alone(people: Path, capsys) -> None:
    assert main(["train", "people.csv", "--prediction", "x0", *BRIEF, *MLP, "-o", "of-x0"]) == 0
    for name in (str(people), "of-x0"):
        assert main(["evaluate", name, "--steps", "2", "-n", "40", "--likelihood", "8"]) == 0
        assert ("for likelihoods train with --prediction velocity" in capsys.readouterr().out) == (name == "of-x0")


def test_straightened_and_distilled_runs_are_runs(people: Path, place: Path) -> None:
    assert main(["reflow", str(people), "--real", *TEACHER, *BRIEF]) == 0
    straight = place / "runs" / "people-reflow"
    assert main(["distill", str(straight), *TEACHER, *BRIEF, "-o", "jump"]) == 0
    assert main(["sample", "jump", "-n", "8"]) == 0
    assert rows_of(place / "jump" / "samples.csv")[0] == ["age", "income"]
    weights = [(run / "model.safetensors").read_bytes() for run in (people, straight, place / "jump")]
    assert len(set(weights)) == 3


def test_classes_survive_straightening(photos: Path, place: Path) -> None:
    assert main(["reflow", str(photos), *TEACHER, *BRIEF, "-o", "straight-pets"]) == 0
    assert main(["sample", "straight-pets", "--label", "cat", "-n", "2", "--steps", "2"]) == 0
    assert (place / "straight-pets" / "samples.png").is_file()


def test_a_flow_has_no_paths_to_straighten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = ["--model", "nice", "--nice.hidden", "8", "--nice.layers", "1"]
    assert main(["train", "people.csv", *flow, *BRIEF, "-o", "flow"]) == 0
    assert main(["sample", "flow", "-n", "3", "-o", "flow.csv"]) == 0
    capsys.readouterr()
    assert main(["reflow", "flow"]) == 2
    assert "NormalizingFlow" in capsys.readouterr().err


def test_the_report_is_one_page(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(people), "--n", "64", "--calls", "1", "2"]) == 0
    page = (people / "report.html").read_text()
    assert "people" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_info_tells_of_runs_data_and_the_installation(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    for what in ([str(people)], ["digits"], ["people.csv"], []):
        assert main(["info", *what]) == 0
        told.append(capsys.readouterr().out)
    assert "parameters, events 2" in told[0]
    assert "1,437 + 360 images" in told[1]
    assert "columns: age, income" in told[2]
    assert f"torch {torch.__version__}".partition("+")[0] in told[3]


def test_a_new_run_never_takes_the_place_of_a_finished_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folder(None, "a") == Path("runs/a")
    (tmp_path / "runs" / "a" / "checkpoints").mkdir(parents=True)
    assert run_folder(None, "a") == Path("runs/a")  # interrupted: goes on
    (tmp_path / "runs" / "a" / "model.safetensors").touch()
    assert run_folder(None, "a") == Path("runs/a-2")
    assert run_folder(Path("there"), "a") == Path("there")

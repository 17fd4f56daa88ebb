"""A table whose columns hold anything, through the verbs: learned, drawn, judged, and gone on with."""

import csv
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pushforward import training
from pushforward.cli import main
from pushforward.data.column_kinds import Bounded, Categorical, Circular, Integer, Positive, Real

BRIEF = ["--steps", "6", "--batch", "32", "--warmup", "1", "--checkpoint-every", "3"]
SMALL = ["--model", "nsf", "--nsf.hidden", "16", "--nsf.transforms", "1", "--nsf.layers", "1"]
KINDS = ["--kinds", "income=positive", "hour=circular:24", "share=bounded:0:1"]
HEADER = ["age", "income", "city", "hour", "share", "kids"]


def rows(n: int) -> list[list[str]]:
    """People with a hole in every tenth row."""
    rng = np.random.default_rng(0)
    made = [
        [f"{a:.2f}", f"{i:.2f}", str(c), f"{h:.2f}", f"{s:.3f}", str(k)]
        for a, i, c, h, s, k in zip(
            rng.normal(40, 10, n), rng.lognormal(7, 0.5, n), rng.choice(["Oslo", "Paris", "Rome"], n),
            rng.uniform(0, 24, n), rng.beta(2, 2, n), rng.poisson(1.5, n), strict=True,
        )
    ]  # fmt: skip
    for place in range(0, n, 10):
        made[place][place // 10 % 6] = ""
    return made


def write(path: Path, table: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(table)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tables")
    write(folder / "people.csv", [HEADER, *rows(300)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    assert main(["train", "people.csv", *BRIEF, *SMALL, *KINDS, "-o", "run"]) == 0
    return place / "run"


def test_columns_of_every_kind_are_learned(run: Path) -> None:
    columns = training.FlowDensity.of_run(run).columns_
    assert columns.names == tuple(HEADER)
    real, positive, city, hour, share, kids = columns.kinds
    assert (real, positive, share, kids) == (Real(), Positive(), Bounded(0.0, 1.0), Integer(0))
    assert isinstance(city, Categorical)
    assert city.values == ("Oslo", "Paris", "Rome")
    assert isinstance(hour, Circular)
    assert hour.period == 24


def test_samples_lie_in_every_support(run: Path) -> None:
    assert main(["sample", str(run), "-n", "200", "-o", "drawn.csv"]) == 0
    drawn = read(Path("drawn.csv"))
    assert len(drawn) == 200
    assert list(drawn[0]) == HEADER
    for row in drawn:
        assert row["city"] in ("Oslo", "Paris", "Rome")
        assert float(row["income"]) > 0
        assert 0 <= float(row["hour"]) <= 24
        assert 0 <= float(row["share"]) <= 1
        assert row["kids"] == str(int(row["kids"]))
        assert int(row["kids"]) >= 0


def test_a_row_depends_on_its_index_alone(run: Path) -> None:
    main(["sample", str(run), "-n", "6", "-o", "all.csv"])
    main(["sample", str(run), "-n", "2", "--first", "4", "-o", "last.csv"])
    assert read(Path("all.csv"))[4:] == read(Path("last.csv"))


def test_columns_can_be_given(run: Path) -> None:
    assert main(["sample", str(run), "-n", "20", "--given", "city=Rome", "kids=2", "-o", "rome.csv"]) == 0
    drawn = read(Path("rome.csv"))
    assert {(row["city"], row["kids"]) for row in drawn} == {("Rome", "2")}
    assert len({row["age"] for row in drawn}) == 20


def test_held_out_rows_are_judged_in_nats_of_their_units(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "-o", "scores.json"]) == 0
    said = capsys.readouterr().out
    assert "nats per row over 60 held-out rows, in the units of the columns" in said
    assert "probabilities of city, kids" in said
    found = json.loads(Path("scores.json").read_text())["nats per row"]
    # the same by hand: the split is a function of the number of rows alone
    estimator = training.FlowDensity.of_run(run)
    from pushforward.cli.tables import open_mixed
    from pushforward.cli.units import read_units

    table = open_mixed("people.csv", read_units(run).reading)
    held = estimator.score_samples(table.rows(table.held_out))
    assert found["value"] == pytest.approx(held.mean())
    assert found["standard_error"] == pytest.approx(held.std(ddof=1) / math.sqrt(60))
    assert set(table.held_out.tolist()).isdisjoint(table.kept.tolist())


def test_nats_follow_the_units(place: Path, run: Path) -> None:
    """Ages in months are the same flow, with log 12 nats less where an age is known."""
    months = [[f"{float(row[0]) * 12:.2f}" if row[0] else "", *row[1:]] for row in rows(300)]
    write(place / "months.csv", [HEADER, *months])
    assert main(["train", "months.csv", *BRIEF, *SMALL, *KINDS, "-o", "months"]) == 0
    for name in ("run", "months"):
        main(["evaluate", name, "-o", f"{name}.json"])
    one, other = (json.loads(Path(f"{name}.json").read_text())["nats per row"] for name in ("run", "months"))
    assert one["value"] - other["value"] == pytest.approx(math.log(12), abs=0.05)


def test_a_run_goes_on_to_the_same_bits(run: Path, place: Path) -> None:
    shutil.copytree(run, place / "again")
    for name in ("manifest.json", "model.safetensors"):
        (place / "again" / name).unlink()
    first, last = sorted(path for path in (place / "again" / "checkpoints").iterdir() if path.is_dir())
    assert first.name < last.name
    shutil.rmtree(last)
    assert main(["train", "people.csv", *BRIEF, *SMALL, *KINDS, "-o", "again"]) == 0
    assert (place / "again" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_a_configuration_makes_the_same_run(run: Path, place: Path) -> None:
    assert main(["train", "--config", "run/config.toml", "-o", "same"]) == 0
    assert (place / "same" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert (place / "same" / "columns.toml").read_bytes() == (run / "columns.toml").read_bytes()


@pytest.mark.parametrize("model", ["maf", "naf"])
def test_the_other_flows(model: str, place: Path) -> None:
    write(place / "numbers.csv", [["x", "y"], *([f"{a:.3f}", f"{b:.3f}"] for a, b in torch.randn(300, 2).tolist())])
    size = [f"--{model}.hidden", "16", f"--{model}.transforms", "1"]
    assert main(["train", "numbers.csv", *BRIEF, "--model", model, *size, "-o", model]) == 0
    assert main(["sample", model, "-n", "5", "-o", f"{model}.csv"]) == 0
    assert all(math.isfinite(float(row["x"])) for row in read(Path(f"{model}.csv")))
    assert main(["evaluate", model, "-n", "40"]) == 0


def test_info_says_what_columns_hold(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(run)]) == 0
    assert "share: Bounded(low=0.0, high=1.0)" in capsys.readouterr().out


MISTAKES = {
    "text among numbers": (["train", "mixed.csv", *SMALL], r"mixed.csv:3 (age is 'old')"),
    "how to keep it": (["train", "mixed.csv", *SMALL], "--bad-rows skip"),
    "an empty file": (["train", "empty.csv", *SMALL], "which is empty"),
    "a missing file": (["train", "none.csv", *SMALL], "which is not one"),
    "a missing column": (["train", "people.csv", *SMALL, "--columns", "age", "height"], "'height', which it does not"),
    "a kind of no column": (["train", "people.csv", *SMALL, "--kinds", "height=real"], "'height'"),
    "no kind": (["train", "people.csv", *SMALL, "--kinds", "age=old"], "--kinds age=old"),
    "values outside": (["train", "people.csv", *SMALL, "--kinds", "age=bounded:0:1"], "Widen its bounds"),
    "kinds for another model": (["train", "people.csv", *KINDS], "Add --model nsf or drop it"),
    "a run of another table": (["train", "other.csv", *SMALL, "-o", "run"], "the table that 'run' was begun with"),
    "an image's option": (["train", "people.csv", *SMALL, "--size", "8"], "got --size"),
    "classes": (["train", "people.csv", *SMALL, "--conditional"], "sample --given"),
    "a picture": (["sample", "run", "-o", "a.png"], "to end in .csv"),
    "no such column given": (["sample", "run", "--given", "height=2"], "one of the columns age, income"),
    "no such category": (["sample", "run", "--given", "city=Bonn"], "(Oslo, Paris, Rome)"),
    "no value": (["sample", "run", "--given", "age=nan"], "a number for 'age'; got --given age=nan"),
    "an impossible value": (["sample", "run", "--given", "share=2"], "within Bounded"),
    "rows to carry over": (["sample", "run", "--source", "people.csv"], "--source for runs of"),
    "a label": (["sample", "run", "--label", "Rome"], "--given"),
    "a page": (["report", "run"], "pushforward evaluate run"),
    "other rows": (["evaluate", "run", "--data", "few.csv"], "'city', which it does not have"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(case: str, run: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mixed.csv").write_text("age,city\n1,a\nold,b\n3,c\n")
    (place / "empty.csv").write_text("")
    write(place / "other.csv", [HEADER, *rows(290)])
    (place / "few.csv").write_text("age,income\n1,2\n3,4\n")
    words, message = MISTAKES[case]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_numbers_are_written_to_their_last_digit(run: Path) -> None:
    """Seconds since 1970 have ten digits before the point."""
    main(["sample", str(run), "-n", "5", "-o", "digits.csv"])
    drawn = training.FlowDensity.of_run(run).sample(5, seed=0)
    assert [float(row["income"]) for row in read(Path("digits.csv"))] == drawn["income"].tolist()


def test_dates_and_texts_are_no_categories(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = [[f"2024-{m:02}-{d:02}", f"{m + d / 7:.3f}"] for m in range(1, 13) for d in (1, 2, 3)]
    write(place / "days.csv", [["day", "x"], *days])
    assert main(["train", "days.csv", *BRIEF, *SMALL, "-o", "days"]) == 2
    said = capsys.readouterr().err
    assert "words that repeat in column 'day', as categories do; got 36 in 36 rows" in said
    assert "(--columns x)" in said
    assert main(["train", "days.csv", *BRIEF, *SMALL, "--kinds", "day=categorical", "-o", "days"]) == 0
    assert main(["train", "days.csv", *BRIEF, *SMALL, "--columns", "x", "-o", "x"]) == 0


def test_a_run_of_no_steps_can_be_drawn_from(place: Path) -> None:
    """What a run must remember of its data was written with the first batch alone."""
    assert main(["train", "people.csv", *SMALL, "--steps", "0", "--warmup", "0", "-o", "none"]) == 0
    assert main(["sample", "none", "-n", "3", "-o", "none.csv"]) == 0
    assert len(read(place / "none.csv")) == 3
    nice = ["--model", "nice", "--nice.hidden", "8"]
    assert main(["train", "moons", *nice, "--steps", "0", "--warmup", "0", "-o", "no"]) == 0
    assert main(["sample", "no", "-n", "3", "-o", "no.csv"]) == 0
    none = ["--steps", "0", "--warmup", "0", "--pairs", "16", "--teacher.steps", "1"]
    assert main(["train", "moons", "--mlp.hidden", "8", "--steps", "0", "--warmup", "0", "-o", "field"]) == 0
    assert main(["reflow", "field", "--measure", "0", *none, "-o", "straight"]) == 0
    assert main(["distill", "field", "--recipe", "pairs", *none, "-o", "jump"]) == 0
    for name in ("straight", "jump"):
        assert main(["sample", name, "-n", "3", "-o", f"{name}.csv"]) == 0


def test_a_constant_column_is_left_out_by_a_flag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place / "constant.csv", [["a", "b"], *([str(k), "1.5"] for k in range(20))])
    assert main(["train", "constant.csv", *SMALL, *BRIEF, "-o", "constant"]) == 2
    assert (
        "column 'b'; got 1.5 alone. A constant has no density: leave the column out, or say --kinds NAME=categorical."
        in capsys.readouterr().err
    )


def test_rows_that_are_named_are_judged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "people.csv", *SMALL, *BRIEF, *KINDS, "--held-out", "0", "-o", "all"]) == 0
    assert main(["evaluate", "all"]) == 2
    assert "Name other rows by --data" in capsys.readouterr().err
    write(place / "others.csv", [HEADER, *rows(40)])
    assert main(["evaluate", "all", "--data", "others.csv"]) == 0
    assert "nats per row over 40 given rows" in capsys.readouterr().out


def test_a_handful_of_rows_is_scored_without_distances(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Distances want three events of either kind; their error told users to draw more samples."""
    rng = np.random.default_rng(0)
    write(place / "few.csv", [["a", "b"], *([f"{a:.3f}", f"{b:.3f}"] for a, b in rng.normal(size=(10, 2)))])
    nice = ["--model", "nice", "--nice.hidden", "8"]
    assert main(["train", "few.csv", *nice, *BRIEF, "-o", "few"]) == 0
    assert main(["evaluate", "few"]) == 0
    said = capsys.readouterr().out
    assert "bits per dimension" in said
    assert "no distances: they compare 3 events or more" in said
    assert "energy" not in said


def test_a_column_is_given_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(run), "--given", "city=Oslo", "city=Rome", "-o", "twice.csv"]) == 2
    assert "--given with each column once; got --given city=Oslo city=Rome" in capsys.readouterr().err


def test_words_point_to_the_models_that_learn_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place / "words.csv", [["a", "w"], *([f"{k / 7}", "xy"[k % 2]] for k in range(30))])
    assert main(["train", "words.csv", "--steps", "2"]) == 2
    assert "--columns a, or take --model nsf, which learns words and holes too." in capsys.readouterr().err


def test_a_table_of_anything_is_described(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "people.csv"]) == 0
    said = capsys.readouterr().out
    assert "  city: categorical\n" in said
    assert "learned by --model nsf or maf" in said

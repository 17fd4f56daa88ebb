"""`--source`: runs that start from other data, as every verb reads them."""

import csv
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from pushforward._recipe import FlowMap
from pushforward.cli import main
from pushforward.cli.train import Train, adopt
from pushforward.models import Rows
from pushforward.solvers import Heun
from pushforward.training import load, read_run

BRIEF = ["--threads", "1", "--checkpoint-every", "50"]
SMALL = ["--mlp.hidden", "32", "--mlp.layers", "2", "--ema", "0.97", "--steps", "250", "--lr", "3e-3", *BRIEF]


def table(file: Path, mean: float, rows: int = 600, names: str = "a,b") -> None:
    """Two columns around a mean, with an order that can be told: the first column rises."""
    x = mean + np.random.default_rng(0).normal(size=(rows, 2)) * [1.0, 0.5]
    x[:, 0].sort()
    np.savetxt(file, x, fmt="%.5f", delimiter=",", header=names, comments="")


def pictures(place: Path, classes: str, each: int = 4) -> None:
    """A folder of 6x6 images, those of "b" brighter."""
    for i in range(each):
        for name in classes:
            (place / name).mkdir(parents=True, exist_ok=True)
            grey = np.random.default_rng(i).integers(0, 100, (6, 6)) + 100 * (name == "b")
            Image.fromarray(grey.astype(np.uint8)).save(place / name / f"{i}.png")


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a run from one table to another."""
    folder = tmp_path_factory.mktemp("work")
    table(folder / "old.csv", 10.0)
    table(folder / "new.csv", 13.0)
    table(folder / "strange.csv", 13.0, names="a,c")
    (folder / "same.csv").write_text("a,b\n" + "1,2\n" * 9)
    np.save(folder / "old.npy", np.random.default_rng(0).normal(size=(50, 2)))
    pictures(folder / "ab", "ab")
    pictures(folder / "b", "b", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "new.csv", "--source", "old.csv", *SMALL, "-o", "moved"]) == 0
        yield folder


def read(file: str) -> np.ndarray:
    """The numbers of a table."""
    with open(file, newline="", encoding="utf-8") as lines:
        return np.array([list(map(float, row)) for row in list(csv.reader(lines))[1:]])


def test_a_run_from_data_to_data_keeps_its_rows(place: Path) -> None:
    model, recipe = load("moved"), read_run("moved").model
    assert isinstance(model.base, Rows)
    assert len(model.base.rows) == 480 == recipe.source  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]
    data, old = pf.data.open_data("new.csv"), pf.data.open_data("old.csv")
    torch.testing.assert_close(model.base.rows.data, data.scaling.to_model(old.values).float())
    assert read_run("moved").data == "new from old"


def test_samples_are_like_the_data_and_rows_are_carried_over_in_order(place: Path, capsys) -> None:
    assert main(["sample", "moved", "-n", "400", "-o", "drawn.csv"]) == 0
    assert abs(read("drawn.csv").mean(0) - 13).max() < 0.3
    assert main(["sample", "moved", "--source", "old.csv", "-o", "all.csv"]) == 0
    assert "600 samples of new from old in all.csv" in capsys.readouterr().out
    old, moved = read("old.csv"), read("all.csv")
    assert abs(moved.mean(0) - 13).max() < 0.3
    assert np.corrcoef(old[:, 0], moved[:, 0])[0, 1] > 0.9  # one to one and the same order
    assert main(["sample", "moved", "--source", "old.csv", "--first", "7", "-n", "5", "-o", "some.csv"]) == 0
    np.testing.assert_allclose(read("some.csv"), moved[7:12], atol=1e-4)
    model, data = load("moved"), pf.data.open_data("new.csv")
    x = model.decode(data.scaling.to_model(torch.from_numpy(old)).float(), solver=Heun(steps=20)).detach()
    np.testing.assert_allclose(data.scaling.to_values(x.double()).numpy(), moved, atol=1e-4)


def test_every_verb_takes_the_run(place: Path, capsys) -> None:
    brief = ["--steps", "30", *BRIEF]
    assert main(["reflow", "moved", "--pairs", "256", *brief, "-o", "straight"]) == 0
    said = capsys.readouterr().out
    assert "Bend" in said
    assert "Bits" not in said
    for recipe, jumps in (("auto", "1"), ("auto", "2"), ("shortcut", "2"), ("mean-flow", "1"), ("progressive", "1")):
        pairs = ["--pairs", "64"] if (recipe, jumps) == ("auto", "1") else []
        made = f"{recipe}-{jumps}"
        assert main(["distill", "moved", "--recipe", recipe, "--jumps", jumps, *pairs, *brief, "-o", made]) == 0
        assert isinstance(read_run(made).model, FlowMap)
        assert torch.equal(load(made).noise(5, seed=0), load("moved").noise(5, seed=0))
        assert main(["sample", made, "--source", "old.csv", "-n", "4", "-o", "four.csv"]) == 0
    assert main(["evaluate", "moved", "-n", "100", "-o", "scores.json"]) == 0
    assert "no likelihood: samples start from rows of data" in capsys.readouterr().out
    assert {"energy distance", "straightness per dimension"} < json.loads(Path("scores.json").read_text()).keys()
    assert main(["compare", "moved", "straight", "auto-1", "-n", "100", "--calls", "1", "4", "-o", "page.html"]) == 0
    assert main(["report", "moved", "--calls", "4", "-n", "100"]) == 0
    page = Path("moved/report.html").read_text(encoding="utf-8")
    assert "Energy distance" in page
    assert "Bits per dimension" not in page
    assert main(["tune", "moved", "--calls", "2", "--samples", "16", "--grid-only"]) == 0


def test_an_interrupted_run_goes_on_from_the_same_rows_alone(place: Path, capsys) -> None:
    words = [
        "train",
        "new.csv",
        "--source",
        "old.csv",
        "--mlp.hidden",
        "8",
        "--mlp.layers",
        "1",
        "--warmup",
        "1",
        *BRIEF,
    ]
    assert main([*words, "--steps", "50", "--schedule", "constant", "-o", "half"]) == 0
    (place / "half" / "model.safetensors").unlink()
    (place / "half" / "manifest.json").unlink()
    kept = Path("old.csv").read_text()
    table(place / "old.csv", 9.0)
    assert main([*words, "--steps", "100", "--schedule", "constant", "-o", "half"]) == 2
    assert "other rows to start from" in capsys.readouterr().err
    Path("old.csv").write_text(kept)
    assert main([*words, "--steps", "100", "--schedule", "constant", "-o", "half"]) == 0
    assert main([*words, "--steps", "100", "--schedule", "constant", "-o", "at-once"]) == 0
    assert (place / "half" / "model.safetensors").read_bytes() == (place / "at-once" / "model.safetensors").read_bytes()


def test_a_run_says_how_to_make_it_again(place: Path) -> None:
    from pushforward import _config

    options = adopt(_config.read(Path("moved/config.toml")), Path("moved/config.toml"))
    assert (options.source, Path(options.data).name) == (str(place.resolve() / "old.csv"), "new.csv")
    assert Train(data="x").source is None


def test_classes_start_from_their_own(place: Path) -> None:
    small = ["--transformer.width", "32", "--transformer.layers", "1", "--steps", "3", *BRIEF]
    words = ["train", "digits", "--source", "digits", "--conditional", "--drop-labels", "0.2", *small]
    assert main([*words, "-o", "digits"]) == 0
    base, data = load("digits").base, pf.data.digits()
    assert torch.equal(base.label, data.context)  # pyright: ignore[reportAttributeAccessIssue]
    assert main(["sample", "digits", "--source", "digits", "-n", "6", "--guidance", "2", "-o", "six.npz"]) == 0
    assert np.load("six.npz")["labels"].tolist() == data.whole()[1][:6].tolist()  # pyright: ignore[reportOptionalSubscript]
    assert main(["sample", "digits", "--source", "digits", "-n", "6", "--label", "3", "-o", "threes.npz"]) == 0
    assert set(np.load("threes.npz")["labels"].tolist()) == {3}


def test_columns_of_a_source_go_by_name_and_a_row_may_come_alone(place: Path) -> None:
    """What is carried over is not learned from: it need not be many, nor vary; what else it has does not matter."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = read("old.csv")[:3]
    rows[:, 1] = 9.0
    np.savetxt("plain.csv", rows, fmt="%.5f", delimiter=",", header="a,b", comments="")
    other = np.column_stack([[7, 8, 9], rows[:, ::-1]])
    np.savetxt("other.csv", other, fmt="%.5f", delimiter=",", header="id,b,a", comments="")
    np.savetxt("one.csv", rows[1:2], fmt="%.5f", delimiter=",", header="a,b", comments="")
    moved = []
    for name in ("plain", "other", "one"):
        assert main(["sample", "moved", "--source", f"{name}.csv", "-o", "moved.csv"]) == 0
        moved.append(read("moved.csv"))
    np.testing.assert_array_equal(moved[0], moved[1])
    Path("shards").mkdir()
    some = read("old.csv")[:9]
    parquet.write_table(pyarrow.table({"b": some[:, 1], "a": some[:, 0]}), "shards/0.parquet")
    for source, file in (("shards", "one.csv"), ("old.csv", "two.csv")):
        assert main(["sample", "moved", "--source", source, "-n", "9", "-o", file]) == 0
    np.testing.assert_allclose(read("one.csv"), read("two.csv"), atol=1e-4)
    np.testing.assert_allclose(moved[0][1:2], moved[2], atol=1e-4)
    assert main(["train", "new.csv", "--source", "other.csv", "--steps", "2", *BRIEF, "-o", "named"]) == 0
    assert set(load("named").base.rows[:, 1].tolist()) == {load("named").base.rows[0, 1].item()}  # pyright: ignore[reportAttributeAccessIssue]


def test_rows_of_a_source_that_are_left_out_are_told(place: Path, capsys) -> None:
    Path("bad.csv").write_text(Path("old.csv").read_text() + "x,1\n")
    words = ["train", "new.csv", "--source", "bad.csv", "--bad-rows", "skip", "--steps", "2", *BRIEF, "-o", "skipping"]
    assert main(words) == 0
    assert "bad.csv:602" in Path("skipping/bad_rows.jsonl").read_text()
    assert main(["sample", "skipping", "--source", "bad.csv", "-o", "left.csv"]) == 0
    assert "1 row of bad left out, so that later ones move up: bad.csv:602 (a is 'x')." in capsys.readouterr().out
    assert len(read("left.csv")) == 600


def test_a_source_of_some_classes_or_in_a_tar_is_carried_over(place: Path) -> None:
    small = ["--transformer.width", "32", "--transformer.layers", "1", "--steps", "2", *BRIEF]
    assert main(["train", "ab", "--source", "ab", "--conditional", *small, "-o", "pictures"]) == 0
    assert main(["sample", "pictures", "--source", "b", "-o", "two.npz"]) == 0
    assert np.load("two.npz")["labels"].tolist() == [1, 1]
    with tarfile.open("b.tar", "w") as shard:
        for i in range(8):
            shard.add(f"ab/b/{i % 4}.png", f"{i}.png")
    for label in ("a", "b"):
        assert main(["sample", "pictures", "--source", "b.tar", "--label", label, "-o", "tar.npz"]) == 0
    assert len(np.load("tar.npz")["samples"]) == 8
    np.testing.assert_array_equal(np.load("tar.npz")["samples"][:2], np.load("two.npz")["samples"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "new.csv", "--source", "strange.csv"], "'b', which it does not have"),
        (["train", "new.csv", "--source", "same.csv"], "rows of --source that differ"),
        (["train", "new.csv", "--source", "old.npy"], "the columns ('a', 'b') of --source"),
        (["train", "digits", "--source", "ab", "--size", "8"], "options of this kind of source"),
        (["train", "ab", "--source", "digits"], "train takes --size"),
        (["train", "ab", "--source", "b", "--conditional"], "Leave --conditional out, or give both the same"),
        (["train", "new.csv", "--source", "digits"], "events of shape (2,) of --source"),
        (["train", "new.csv", "--source", "no.csv"], "'no.csv', which does not exist"),
        (["train", "new.csv", "--source", "old.csv", "--model", "nice"], "got --model nice"),
        (["train", "new.csv", "--source", "old.csv", "--path", "vp"], "got --path vp"),
        (["train", "digits", "--source", "digits", "--conditional", "--find", "lr", "--model", "maf"], "--model maf"),
        (["sample", "moved", "--solver", "ancestral"], "Ancestral, which adds N(0, 1) on the way"),
        (["sample", "moved", "--source", "strange.csv"], "'b', which it does not have"),
        (["sample", "moved", "--source", "old.csv", "--first", "600"], "rows among the 600 of old"),
        (["sample", "moved", "--source", "old.csv", "-o", "many"], "-o FOLDER"),
        (["distill", "moved", "--recipe", "dmd"], "a run that starts from noise, for --recipe dmd"),
        (["distill", "moved", "--recipe", "continuous"], "a run that starts from noise"),
        (["evaluate", "moved", "--shard", "0/2"], "a run with likelihoods"),
        (["sample", "plain", "--source", "old.csv"], "a run that starts from other data"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(place: Path, words: list[str], message: str, capsys) -> None:
    if "plain" in words and not Path("plain").exists():
        assert main(["train", "new.csv", "--steps", "2", "-o", "plain", *BRIEF]) == 0
    assert main(words) != 0
    assert message in capsys.readouterr().err


def test_rows_beyond_what_a_run_keeps_are_left_out_aloud(place: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("pushforward.cli.sources._MOST", 200)
    assert main(["train", "new.csv", "--source", "old.csv", "--steps", "2", *BRIEF, "-o", "few"]) == 0
    assert "Of 480 rows of old 100 are used" in capsys.readouterr().out
    assert len(load("few").base.rows) == 100  # pyright: ignore[reportArgumentType,reportAttributeAccessIssue]
    sorted_rows = np.arange(1000.0).reshape(500, 2)
    np.savez("whole.npz", x_train=sorted_rows, x_test=sorted_rows[:20])
    assert main(["train", "whole.npz", "--source", "whole.npz", "--steps", "2", *BRIEF, "-o", "even"]) == 0
    rows = load("even").base.rows  # pyright: ignore[reportAttributeAccessIssue]
    assert len(rows) == 100
    assert abs(rows.mean().item()) < 0.02  # and not the first hundred

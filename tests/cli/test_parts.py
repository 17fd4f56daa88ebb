"""Shares of the work: any mix of workers gives the bytes that one gives, and nothing is made twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pushforward.cli import main
from pushforward.training import Shards, StoredPairs

SRC = Path(__file__).parents[2] / "src"
BRIEF = ["--steps", "4", "--batch", "16", "--checkpoint-every", "0", "--warmup", "1", "--threads", "1"]
MLP = ["--mlp.hidden", "8", "--mlp.layers", "1"]
NET = ["--transformer.width", "16", "--transformer.layers", "1", "--transformer.heads", "2"]
MANY = ["-n", "23", "--batch", "5", "--steps", "2", "--seed", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, class by class."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--conditional", *BRIEF, *NET, "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on points."""
    path = tmp_path_factory.mktemp("runs") / "moons"
    assert main(["train", "moons", *BRIEF, *MLP, "-o", str(path)]) == 0
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_any_mix_of_shares_makes_the_same_samples(run: Path, tmp_path: Path) -> None:
    for i in (2, 0):
        assert main(["sample", str(run), *MANY, "-o", str(tmp_path / "some"), "--shard", f"{i}/3"]) == 0
    assert Shards.open(tmp_path / "some").missing() == [1, 4]
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "some").iterdir()}
    for folder in ("some", "one"):
        assert main(["sample", str(run), *MANY, "-o", str(tmp_path / folder)]) == 0
    assert bytes_of(tmp_path / "some") == bytes_of(tmp_path / "one")
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())


def test_a_file_in_the_folder_is_what_one_process_writes(run: Path, tmp_path: Path) -> None:
    assert main(["sample", str(run), *MANY, "-o", str(tmp_path / "many"), "--shard", "1/2"]) == 0
    for name in ("all.npz", "all.csv", "all.png"):
        assert main(["sample", str(run), *MANY, "-o", str(tmp_path / "many" / name)]) == 0
        assert main(["sample", str(run), *MANY, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / name).read_bytes()
    with np.load(tmp_path / "many" / "all.npz") as found:
        assert found["samples"].dtype == np.uint8
        assert found["labels"].tolist() == [i % 10 for i in range(23)]


def test_damage_is_made_good(run: Path, tmp_path: Path) -> None:
    words = ["sample", str(run), *MANY, "-o", str(tmp_path / "many")]
    assert main(words) == 0
    whole, part = bytes_of(tmp_path / "many"), tmp_path / "many" / "part-000002.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    (tmp_path / "many" / "part-000004.json").unlink()
    assert main(words) == 0
    assert bytes_of(tmp_path / "many") == whole


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "{}/a.npz", "--shard", "0/2"], "-o FOLDER with --shard"),
        (["--shard", "0/2"], "-o FOLDER with --shard"),
        (["-o", "{}/many", "--shard", "2/2"], "3/16"),
        (["-o", "{}/many", "--shard", "all"], "3/16"),
        (["-o", "{}"], "new or empty"),
        (["-o", "{}/begun", "--seed=4"], "seed = 3"),
        (["-o", "{}/begun", "-n=24"], "total = 23"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(
    run: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(run), *MANY, "-o", str(tmp_path / "begun"), "--shard", "0/9"]) == 0
    given = {MANY[i]: f"{MANY[i]}={MANY[i + 1]}" for i in range(0, len(MANY), 2)}
    changed = given | {word.partition("=")[0]: word for word in words if "=" in word}
    others = [word.format(tmp_path) for word in words if "=" not in word]
    assert main(["sample", str(run), *changed.values(), *others]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "plan.json").exists()


def test_shares_of_the_likelihoods_add_up_to_the_result(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushforward.cli.parts._EVENTS", 8)
    words = ["evaluate", str(run), "--likelihood", "20", "-n", "40", "--solver", "euler", "--steps", "1"]
    assert main([*words, "-o", str(run / "one.json")]) == 0
    for i in (1, 0):
        assert main([*words, "--shard", f"{i}/2"]) == 0
    assert "1 of 3 files" in capsys.readouterr().out
    monkeypatch.setattr("pushforward.training.Shards.write", None)  # nothing is left to make
    assert main([*words, "-o", str(run / "many.json")]) == 0
    assert "likelihood: " in capsys.readouterr().out
    assert (run / "many.json").read_text() == (run / "one.json").read_text()


TEACH = ["--pairs", "2500", "--teacher.steps", "2", *BRIEF]


def test_pairs_come_in_shares_and_are_kept(points: Path, tmp_path: Path) -> None:
    for i in (1, 0):
        assert (
            main(["reflow", str(points), "--real", *TEACH, "-o", str(tmp_path / "a"), "--pairs-shard", f"{i}/2"]) == 0
        )
    assert not (tmp_path / "a" / "model.safetensors").exists()
    kept = {name: bytes_of(tmp_path / "a" / name) for name in ("pairs", "real-pairs")}
    for name in ("a", "b"):
        assert main(["reflow", str(points), "--real", *TEACH, "-o", str(tmp_path / name)]) == 0
        assert {each: bytes_of(tmp_path / name / each) for each in kept} == kept
    assert len({(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")}) == 1
    assert main(["distill", str(points), *TEACH, "-o", str(tmp_path / "jump"), "--pairs-shard", "2/3"]) == 0
    assert len(Shards.open(tmp_path / "jump" / "pairs").missing()) == 2


def test_other_pairs_than_it_was_begun_with_are_refused(
    points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["distill", str(points), *TEACH, "-o", str(tmp_path / "jump")]
    assert main([*words, "--pairs-shard", "0/3"]) == 0
    more = ["2600" if before == "--pairs" else word for before, word in zip(["", *words], words)]
    assert main(more) == 2
    assert "total = 2500" in capsys.readouterr().err
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    assert main([*words[:-1], str(tmp_path / "photos")]) == 2
    assert "holds something else" in capsys.readouterr().err


def test_a_killed_maker_of_pairs_loses_and_doubles_none(points: Path, tmp_path: Path) -> None:
    """SIGKILL at two moments; what was whole stays as it is, and in the end every pair is there once."""
    words = ["reflow", str(points), "--pairs", "30000", "--teacher.steps", "8", *BRIEF, "-o"]
    command = [sys.executable, "-W", "ignore", "-m", "pushforward", *words, str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    folder, kills = tmp_path / "killed" / "pairs", 0
    for enough in (2, 9):
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while worker.poll() is None and len(list(folder.glob("part-*.json"))) < enough:
            time.sleep(0.001)
        worker.send_signal(signal.SIGKILL)
        kills += worker.wait() == -signal.SIGKILL
    missing = Shards.open(folder).missing()
    assert kills == 2
    assert 0 < len(missing) < 30
    before = {p: p.stat().st_mtime_ns for p in folder.glob("part-*") if int(p.stem.partition("-")[2]) not in missing}
    for name in ("killed", "whole"):
        assert main([*words, str(tmp_path / name)]) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    whole = bytes_of(tmp_path / "whole" / "pairs")
    assert {name: data for name, data in bytes_of(folder).items() if not name.startswith(".")} == whole
    assert len(StoredPairs.open(folder)) == 30000
    eps = np.concatenate([load_file(path)["eps"] for path in sorted(folder.glob("part-*.safetensors"))])
    assert len(np.unique(eps, axis=0)) == 30000
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


def test_being_told_to_stop_ends_with_75_and_goes_on(points: Path, tmp_path: Path) -> None:
    words = ["reflow", str(points), "--pairs", "60000", "--teacher.steps", "8", *BRIEF, "-o", str(tmp_path / "told")]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "pushforward", *words]
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "told" / "pairs"
    while worker.poll() is None and not list(folder.glob("part-*.json")):
        time.sleep(0.001)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate()
    assert worker.returncode == 75, said
    assert "of 59 files" in said
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

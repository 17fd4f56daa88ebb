"""`pushforward positions`: a comparison that goes on where it was, puzzles, and audits of folders."""

import json
from pathlib import Path

import pytest

from pushforward.cli import main

SIZES = {"steps": 4, "length": 8, "batch": 2, "width": 16, "layers": 1, "heads": 2, "judge": 64}


def small(**changes: int) -> list[str]:
    """A comparison of seconds."""
    return [word for name, size in (SIZES | changes).items() for word in (f"--{name}", str(size))]


SMALL = small()


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text("床前明月光，疑是地上霜。" * 80, encoding="utf-8")
    return path


def compare(*words: object) -> int:
    """Run the verb with small sizes."""
    return main(["positions", "compare", *map(str, words), *SMALL])


def test_a_comparison_prints_its_table_and_goes_on_where_it_was(poem, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(poem, "--encodings", "rope,none", "--seeds", 1, "--out", out) == 0
    first = capsys.readouterr()
    lines = [line.split("  ")[0].strip() for line in first.out.splitlines()[2:-1]]
    assert sorted(lines) == ["none", "rope", "rope + NTK", "rope + YaRN", "rope + interpolation"]
    assert first.out.splitlines()[1].split() == ["encoding", "8", "16", "32", "64"]
    assert "2/2 none, seed 0: " in first.err
    assert {path.name for path in out.iterdir()} == {"results.json", "table.md", "lengths.png"}
    before = json.loads((out / "results.json").read_text())["cells"]

    assert compare(poem, "--encodings", "alibi", "rope", "none", "--seeds", 2, "--out", out) == 0
    second = capsys.readouterr()
    assert "2 of 6 trainings done before" in second.err
    assert "4/4" in second.err
    assert "±" in second.out
    after = json.loads((out / "results.json").read_text())["cells"]
    assert set(after) == {f"{name}/{seed}" for name in ("rope", "none", "alibi") for seed in (0, 1)}
    assert all(after[cell] == value for cell, value in before.items())

    assert compare(poem, "--encodings", "rope,none", "--seeds", 1, "--out", out) == 0
    assert capsys.readouterr().out == first.out

    assert main(["positions", "compare", str(poem), "--out", str(out), *SMALL[2:], "--steps", "5"]) == 2
    assert "was begun with (steps = 4); got 5. Give the same, or another folder" in capsys.readouterr().err


def test_a_training_that_fails_leaves_the_finished_ones(poem, tmp_path, monkeypatch, capsys):
    from pushforward.report import courses

    out, trial = tmp_path / "out", courses.trial

    def stopped(course, name, *rest):
        if name == "alibi":
            raise KeyboardInterrupt
        return trial(course, name, *rest)

    monkeypatch.setattr(courses, "trial", stopped)
    assert compare(poem, "--encodings", "none,alibi", "--seeds", 1, "--out", out) == 130
    assert list(json.loads((out / "results.json").read_text())["cells"]) == ["none/0"]


def test_puzzles_are_judged_by_exact_answers(tmp_path, capsys):
    words = ["--task", "sort", "--encodings", "learned,kerple", "--seeds", "1", "--out", str(tmp_path)]
    assert main(["positions", "compare", *words, *small(length=3), "--test-lengths", "6"]) == 0
    shown = capsys.readouterr().out
    assert "sort: 4 steps at length 3, 1 seed; exact answers (more is better)" in shown
    assert shown.splitlines()[1].split() == ["encoding", "3", "6"]


MISTAKES = {
    "no text": ([], "Expected a TEXT, or a --task with puzzles; got neither"),
    "no file": (["no.txt"], "'no.txt', which is not one"),
    "an empty text": (["EMPTY"], "which is empty"),
    "a text shorter than a window": (["SHORT"], "Expected a window of 1 to 9 tokens; got length=65 for short"),
    "a text shorter than the longest": (["POEM", "--length", "16"], "a held-out text longer than a window of 128"),
    "an encoding": (["POEM", "--encodings", "rope,albi"], "an encoding (none, learned, hierarchical"),
    "no encodings": (["POEM", "--encodings", ","], "Expected an encoding; got none. Choose from none, learned"),
    "lengths": (["POEM", "--test-lengths", "100"], "multiples of --length 64 and divide the longest; got 100"),
    "seeds": (["POEM", "--seeds", "0"], "--layers and --judge of 1 or more; got 0, 2000, 64"),
    "heads": (["POEM", "--length", "8", "--heads", "3"], "a width divisible by heads; got width=64, heads=3"),
    "both": (["POEM", "--task", "copy"], "no TEXT with --task copy"),
    "too many keys": (["--task", "recall", "--length", "32"], "a size of recall of 1 to 128; got 256"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(case, poem, tmp_path, capsys):
    words, message = MISTAKES[case]
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("0123456789")
    places = {"POEM": poem, "EMPTY": tmp_path / "empty.txt", "SHORT": tmp_path / "short.txt"}
    given = [str(places.get(word, word)) for word in words]
    assert main(["positions", "compare", *given, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert message in shown
    assert "Did you mean 'alibi'" in shown or case != "an encoding"


# Audits


def test_an_audit_of_a_roformer_says_what_it_is_and_what_goes_wrong_elsewhere(tmp_path, capsys):
    import pushforward as pf

    net = pf.nets.RoFormer(pf.nets.RoFormerConfig(vocabulary=30, width=16, layers=1, heads=2, hidden=16))
    pf.interop.save_roformer(net, tmp_path / "model", length=64)
    assert main(["positions", "audit", str(tmp_path / "model"), "--lengths", "64", "1000000"]) == 0
    shown = capsys.readouterr().out
    assert "interleaved layout (feature 2c with 2c + 1)" in shown
    assert "64 tokens" in shown
    assert "a common shift is not seen               yes    yes" in shown
    assert "fails beyond 64 tokens" in " ".join(shown.split())
    assert "warning" not in shown


def test_an_audit_of_a_run_of_ours(tmp_path, capsys):
    words = ["--transformer.width", "16", "--transformer.layers", "1", "--transformer.position", "alibi"]
    assert main(["train", "digits", "--steps", "1", "--batch", "4", *words, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["positions", "audit", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "ALiBi(heads=4)" in shown
    assert "a bias of the distance alone             yes    yes" in shown


def test_an_audit_of_something_else_is_one_sentence(tmp_path, capsys):
    assert main(["positions", "audit", str(tmp_path)]) == 2
    assert "Expected a model's folder with config.json; got" in capsys.readouterr().err
    assert main(["positions", "audit", str(tmp_path), "--lengths", "0"]) == 2
    assert "--lengths of 1 or more" in capsys.readouterr().err

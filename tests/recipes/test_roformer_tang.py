"""The recipe runs on a handful of poems, goes on where it was, and its poems are what they should be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "roformer_tang.py"


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    lines = ["床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"]
    blocks = ["\n".join([f"靜夜思 {i}", "李白", *lines[:: 1 if i % 2 else -1]]) for i in range(60)]
    path = tmp_path / "poems.txt"
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def run(*words: object) -> str:
    """What the recipe prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(RECIPE), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_it_trains_both_and_goes_on_with_another_seed(poems, tmp_path):
    shown = run(poems, "--steps", 3, "--seeds", 1, "--out", tmp_path / "out")
    assert "rotary, seed 0" in shown
    assert "learned, seed 0" in shown
    curves = json.loads((tmp_path / "out" / "curves-3.json").read_text())
    assert set(curves) == {"rotary/0", "learned/0"}
    assert curves["rotary/0"]["step"] == [0, 3]
    first, last = curves["rotary/0"]["loss"]
    assert last < first < 4.5
    again = run(poems, "--steps", 3, "--seeds", 2, "--out", tmp_path / "out")
    assert "seed 0:" not in again
    assert "rotary, seed 1" in again
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000

"""`distill` killed in each of its stages: the same command goes on, and ends with the bits of one never stopped."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pushforward.cli import main

SRC = Path(__file__).parents[2] / "src"
BRIEF = ["--batch", "16", "--warmup", "1", "--threads", "1", "--device", "cpu"]
PAIRS = 4096

RECIPES = {
    "pairs-dmd": (
        ["--steps", "400", "--pairs", str(PAIRS), "--teacher.steps", "100"],
        ["killed/pairs/part-*.json", "killed-pairs/checkpoints/step-*", "killed/checkpoints/step-*"],
    ),
    "progressive": (["--steps", "60"], ["killed-4/checkpoints/step-*"]),
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on points."""
    path = tmp_path_factory.mktemp("runs") / "moons"
    net = ["--mlp.hidden", "8", "--mlp.layers", "1", "--steps", "20", "--checkpoint-every", "0"]
    assert main(["train", "moons", *net, *BRIEF, "-o", str(path)]) == 0
    return path


def killed_where(sign: str, place: Path, command: list[str], wait: float) -> None:
    """Begin or go on, and end it without a warning soon after such a file is there."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list(place.glob(sign)):
        time.sleep(0.001)
    time.sleep(wait)
    child.kill()
    assert child.wait() == -signal.SIGKILL, f"it was not at {sign} any more"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_distillation_killed_in_each_stage_ends_as_one_that_was_not(
    recipe: str, teacher: Path, tmp_path: Path
) -> None:
    given, signs = RECIPES[recipe]
    words = ["distill", str(teacher), "--recipe", recipe, *given, *BRIEF, "--checkpoint-every", "10", "-o"]
    rng = random.Random(0)
    for sign in signs:
        command = [sys.executable, "-W", "ignore", "-m", "pushforward", *words, str(tmp_path / "killed")]
        killed_where(sign, tmp_path, command, rng.uniform(0, 0.02))
        assert not (tmp_path / "killed" / "model.safetensors").exists()
    for name in ("killed", "whole"):
        assert main([*words, str(tmp_path / name)]) == 0
    stages = sorted(each.name.removeprefix("whole") for each in tmp_path.glob("whole*"))
    assert len(stages) == {"pairs-dmd": 2, "progressive": 4}[recipe]
    for stage in stages:
        one, other = ((tmp_path / f"{name}{stage}" / "model.safetensors").read_bytes() for name in ("killed", "whole"))
        assert one == other, stage
    parts = sorted((tmp_path / "killed").glob("pairs/part-*.safetensors"))
    if parts:
        assert len(np.unique(np.concatenate([load_file(path)["eps"] for path in parts]), axis=0)) == PAIRS

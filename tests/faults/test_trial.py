"""The trial: a real run on digits, killed twenty times at random and told to stop as often as it likes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pushforward.training.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
STEPS = 600
COMMAND = [
    sys.executable, "-m", "pushforward", "train", "digits", "--steps", str(STEPS), "--batch", "64", "--threads", "1",
    "--device", "cpu", "--transformer.width", "32", "--transformer.layers", "2", "--accumulate", "2",
    "--log-every", "10", "--checkpoint-every", "5", "--out",
]  # fmt: skip


def begun(folder: Path) -> subprocess.Popen[str]:
    """The command line at work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, str(folder)], env=environment, stderr=subprocess.PIPE, text=True)


def newest(folder: Path) -> str:
    return max((path.name for path in folder.glob("checkpoints/step-*")), default="")


def killed(folder: Path, number: int, rng: random.Random) -> tuple[int, str]:
    """Begin or go on, and send a signal at a random moment; a fifth of the kills come before a step."""
    child, old, deadline = begun(folder), newest(folder), time.monotonic() + 120
    if rng.random() < 0.2 and number == signal.SIGKILL:
        time.sleep(rng.uniform(0, 5))
    else:
        while newest(folder) == old and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.expovariate(4))
    child.send_signal(number)
    said = child.communicate()[1]
    return child.returncode, said


def whole(folder: Path, steps: int = STEPS) -> dict[str, bytes]:
    """The final weights, the average and the optimizer's state, as bytes."""
    found = read_checkpoint(folder / f"checkpoints/step-{steps:08d}")
    parts = {"model": found.model, "ema": found.ema, "optim": found.optim}
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    return {"final": (folder / "model.safetensors").read_bytes()} | {k: v.numpy().tobytes() for k, v in tensors.items()}


@pytest.mark.slow
def test_twenty_kills_and_six_signals_change_no_bit(tmp_path):
    rng, kills, stops, places = random.Random(0), 0, 0, set()
    numbers = [signal.SIGKILL] * 20 + [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1] * 2
    rng.shuffle(numbers)
    for number in numbers:
        status, said = killed(tmp_path / "killed", number, rng)
        assert "Traceback" not in said, said
        if number == signal.SIGKILL:
            assert status == -signal.SIGKILL, said
            kills += 1
        else:
            assert status == 75, said
            stops += 1
        places.add(newest(tmp_path / "killed"))
        assert not (tmp_path / "killed/manifest.json").exists(), "it ended before the trial did: raise STEPS"
    for folder in ("killed", "whole"):
        child = begun(tmp_path / folder)
        said = child.communicate()[1]
        assert child.returncode == 0, said
    assert whole(tmp_path / "killed") == whole(tmp_path / "whole")
    same = len(whole(tmp_path / "whole"))
    print(f"{kills} kills and {stops} signals at {len(places)} places; {same} tensors and files are identical")

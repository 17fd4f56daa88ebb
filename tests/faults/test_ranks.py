"""Two processes under torchrun, one of them killed three times: the command goes on to the bits of a run left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.test_trial import ROOT, newest, whole

KILLS = 3
STEPS = 300
COMMAND = [
    "-m", "pushforward", "train", "digits", "--steps", str(STEPS), "--batch", "64", "--threads", "1",
    "--device", "cpu", "--transformer.width", "32", "--transformer.layers", "2", "--accumulate", "2",
    "--log-every", "10", "--checkpoint-every", "5", "--out",
]  # fmt: skip


def begun(folder: Path, restarts: int) -> subprocess.Popen[str]:
    """Two processes, and torchrun that watches over them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    watched = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, "-m", "torch.distributed.run", *watched, "--max-restarts", str(restarts)]
    return subprocess.Popen([*command, *COMMAND, str(folder)], env=environment, stderr=subprocess.PIPE, text=True)


def ranks(parent: int) -> list[int]:
    """The processes that torchrun has begun, in the order of their ranks."""
    found = [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    named = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in found}
    return sorted(pid for pid in found if any(each.startswith(b"RANK=") for each in named[pid]))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="children are found through /proc")
@pytest.mark.parametrize("restarts", [0, 3 * KILLS], ids=["the command is given again", "torchrun restarts"])
def test_a_rank_killed_three_times_changes_no_bit(tmp_path, restarts):
    """Of the two either, between two checkpoints or while one is written: whenever it comes."""
    rng, places, victims = random.Random(restarts), [], []
    child = begun(tmp_path / "killed", restarts)
    for _ in range(KILLS):
        ahead = f"step-{int(newest(tmp_path / 'killed')[5:] or 0) + 5 * rng.randint(1, 12):08d}"
        deadline = time.monotonic() + 180
        while newest(tmp_path / "killed") < ahead and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.expovariate(4))
        victim = rng.randrange(2)
        os.kill(ranks(child.pid)[victim], signal.SIGKILL)
        places.append(newest(tmp_path / "killed"))
        victims.append(victim)
        if not restarts:
            said = child.communicate(timeout=180)[1]
            assert child.returncode == 1  # torchrun's
            assert said.count("Traceback") == 1, said  # torchrun's; it may end the other rank before that one speaks
            assert not (tmp_path / "killed/manifest.json").exists(), "it ended before the trial did: raise STEPS"
            child = begun(tmp_path / "killed", restarts)
    for process in (child, begun(tmp_path / "whole", 0)):
        said = process.communicate(timeout=400)[1]
        assert process.returncode == 0, said
    found, expected = (whole(tmp_path / name, STEPS) for name in ("killed", "whole"))
    assert found == expected
    print(f"ranks {victims} killed at {places}; {len(expected)} tensors and files are identical")

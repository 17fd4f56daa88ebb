"""`docs/cluster.md` does what it says: its blocks are run, and so is what they ask of `pushforward`."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pushforward.cli import main
from pushforward.cli.shell import parse
from pushforward.training import Shards, load

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
SMALLER = {"1000000": "40", "10000": "4", "4096": "9"}
QUICK = {"reflow": ["--steps", "2", "--batch", "8", "--teacher.steps", "2"]}
QUICK |= {"sample": ["--steps", "2"], "evaluate": ["--solver", "euler", "--steps", "1", "-n", "40"]}
VARIABLES = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_JOB_ID": "7", "SLURM_NNODES": "4", "SLURM_JOB_NODELIST": "n[1-4]"}
STAND_INS = {
    "pushforward": 'echo "$@" >> commands; exit ${STATUS:-0}',
    "torchrun": 'echo torchrun "$@" >> commands',
    "srun": 'exec "$@"',
    "sbatch": 'echo sbatch "$@" >> commands; echo 12',
    "scontrol": 'echo scontrol "$@" >> commands; echo n1; echo n2',
}


def blocks(title: str) -> list[tuple[str, str]]:
    """The blocks of a section: language and text."""
    section = re.split(r"^## ", PAGE, flags=re.M)
    found = next(part for part in section if part.startswith(title + "\n"))
    return re.findall(r"^```(\w+)\n(.*?)^```", found, flags=re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the run that the page speaks of, and stand-ins for what is not installed."""
    folder = tmp_path_factory.mktemp("cluster")
    for name, line in STAND_INS.items():
        script = folder / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for i in range(250):
        Image.fromarray(rng.integers(0, 256, (4, 4), "uint8")).save(folder / "photos" / f"{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        net = ["--transformer.width", "8", "--transformer.layers", "1", "--transformer.heads", "1"]
        assert main(["train", "photos", "--steps", "2", "--batch", "8", "-o", "runs/photos", *net]) == 0
        words = ["-n", "40", "--batch", "9", "--steps", "2"]
        assert main(["sample", "runs/photos", *words, "-o", "one.npz"]) == 0
        yield folder


@pytest.fixture
def shell(place: Path, tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Run a block and give back the commands it asked for."""

    def run(text: str, status: int = 0, **variables: str) -> list[list[str]]:
        commands = place / "commands"
        commands.unlink(missing_ok=True)
        done = subprocess.run(["bash", "-c", text], env={**os.environ, **VARIABLES, **variables})
        assert done.returncode == status
        return [shlex.split(line) for line in commands.read_text().splitlines()]

    return run


def execute(words: list[str], **changes: str) -> None:
    """Run a command of the page with smaller numbers, and another folder if asked."""
    smaller = SMALLER | changes
    words = [smaller.get(word, word) for word in words]
    assert main([*words, *QUICK[words[0]]]) == 0


def same(path: str) -> bool:
    """Whether a file of samples is what one process wrote."""
    return Path(path).read_bytes() == Path("one.npz").read_bytes()


def test_shares_on_one_machine(shell: Any) -> None:
    (_, text), *_ = blocks("One machine")
    found = shell(text)
    assert sorted(words[-1] for words in found[:-1]) == ["0/4", "1/4", "2/4", "3/4"]
    for words in found:
        execute(words)
    assert same("many/all.npz")


def test_a_slurm_array_and_what_gathers_it(shell: Any) -> None:
    (_, array), (_, submit), (_, training) = blocks("SLURM")
    for i in (1, 0):
        (words,) = shell(array, SLURM_ARRAY_TASK_ID=str(i))
        assert words[-1] == f"{i}/2"
        execute(words, many="slurm")
    assert Shards.open(Path("slurm")).missing() == []
    asked = shell(array, 75, SLURM_ARRAY_TASK_ID="1", STATUS="75")
    assert asked[-1] == ["scontrol", "requeue", "7"]
    _, gather = shell(submit)
    assert gather[:3] == ["sbatch", "--dependency=afterok:12", "--wrap"]
    assert gather[3] == "pushforward"
    execute(gather[4:], **{"many/all.npz": "slurm/all.npz"})
    assert same("slurm/all.npz")
    check_torchrun([words for words in shell(training) if words[0] == "torchrun"], ["n1:29500"])


def test_torchrun_is_given_what_both_understand(shell: Any) -> None:
    (_, text), *_ = blocks("torchrun")
    found = shell(text)
    assert len(found) == 3
    check_torchrun(found, ["head:29500"])


def check_torchrun(found: list[list[str]], ends: list[str]) -> None:
    """torchrun's own parser and ours take the words."""
    from torch.distributed.run import parse_args

    assert found
    met = [parse_args(words[1:]) for words in found]
    assert {each.rdzv_endpoint for each in met} - {""} == set(ends)
    for each in met:
        assert each.training_script == "pushforward"
        parse(each.training_script_args)


def test_shares_by_ray(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((language, text),) = blocks("Ray")
    assert language == "python"
    ray = ModuleType("ray")
    ray.remote = lambda **_: lambda function: SimpleNamespace(remote=function)  # pyright: ignore[reportAttributeAccessIssue]
    ray.init, ray.get = lambda: None, list  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ray", ray)
    (place / "commands").unlink(missing_ok=True)
    exec(compile(text.replace("n = 16", "n = 2"), "cluster.md", "exec"), {})
    for line in (place / "commands").read_text().splitlines():
        execute(line.split(), many="ray")
    assert Shards.open(Path("ray")).missing() == []


def test_shares_by_skypilot(shell: Any) -> None:
    ((language, text),) = blocks("SkyPilot")
    assert language == "yaml"
    script = text.partition("run: |\n")[2]
    for rank in ("1", "0"):
        (words,) = shell(script, SKYPILOT_NODE_RANK=rank, SKYPILOT_NUM_NODES="2")
        execute(words, many="sky")
    assert Shards.open(Path("sky")).missing() == []


def test_shares_of_likelihoods_and_pairs(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (_, text), *_ = blocks("Likelihoods and pairs")
    for words in shell(text):
        execute(words)
    assert "likelihood: " in capsys.readouterr().out
    assert load("runs/straight").shape == (1, 4, 4)


@pytest.mark.slow
def test_torchrun_trains_and_goes_on_after_a_signal(tmp_path: Path) -> None:
    """Two processes told to stop by way of torchrun, and begun again: the bits of two that were never stopped."""
    import signal
    import time

    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    net = ["--mlp.hidden", "8", "--mlp.layers", "1", "--steps", "150", "--batch", "16", "--log-every", "10", "--shard"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [*torchrun, "-m", "pushforward", "train", "moons", *net, "-o", str(tmp_path / name)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    stopped, metrics = start("stopped"), tmp_path / "stopped" / "metrics.jsonl"
    while stopped.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait() != 0
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    assert list((tmp_path / "stopped" / "checkpoints").iterdir())
    assert start("stopped").wait() == start("whole").wait() == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("stopped", "whole")]
    assert weights[0] == weights[1]

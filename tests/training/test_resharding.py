"""Weights split over processes (FSDP2): the same run whoever goes on with it, and every configuration on 64."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.resharding_worker import KINDS, begun, outcome

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{HERE.parents[1] / 'src'}:{HERE.parent}", "OMP_NUM_THREADS": "1"}


def start(script: str, *words: object) -> subprocess.Popen:
    """A Python process of one of the scripts here."""
    command = [sys.executable, "-W", "ignore", str(HERE / script), *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def finish(*workers: subprocess.Popen) -> None:
    """Wait for processes, and fail with what they said."""
    for worker in workers:
        _, errors = worker.communicate(timeout=600)
        assert worker.returncode == 0, errors


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """What each of two processes found, and what one of its own before them."""
    folder = tmp_path_factory.mktemp("two")
    alone = {kind: outcome(kind, folder / f"{kind} alone") for kind in KINDS}
    for kind in KINDS:
        begun(folder / f"{kind} alone", folder / f"{kind} of one")
    finish(*(start("resharding_worker.py", folder, rank, 2) for rank in (0, 1)))
    return folder, [alone, *(json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1))]


def close(a: dict, b: dict, bound: float) -> None:
    """Losses and weights agree."""
    assert a["losses"] == pytest.approx(b["losses"], abs=1e-6)
    for p, q in zip(a["weights"], b["weights"], strict=True):
        torch.testing.assert_close(torch.tensor(p), torch.tensor(q), rtol=0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
def test_two_go_on_with_the_bits_of_two(two: tuple[Path, list[dict]], kind: str) -> None:
    first, second = two[1][1:]
    assert first[kind] == second[kind] == first[f"{kind} resumed"] == second[f"{kind} resumed"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_find_what_one_finds(two: tuple[Path, list[dict]], kind: str) -> None:
    close(two[1][1][kind], two[1][0][kind], 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_goes_on_with_what_two_began(two: tuple[Path, list[dict]], kind: str) -> None:
    close(outcome(kind, begun(two[0] / kind, two[0] / f"{kind} by one")), two[1][1][kind], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_go_on_with_what_one_began(two: tuple[Path, list[dict]], kind: str) -> None:
    close(two[1][1][f"{kind} of one"], two[1][0][kind], 1e-6)


@pytest.mark.parametrize(
    ("rank", "which", "count"),
    [(63, "few", 18), *(pytest.param(rank, "all", 84, marks=pytest.mark.slow) for rank in (0, 63))],
)
def test_a_world_of_64_takes_every_configuration(rank: int, which: str, count: int, tmp_path: Path) -> None:
    """Recipes, position encodings and settings, copied and sharded; rank 0 with a run folder, the last without."""
    finish(start("fake_world.py", rank, tmp_path, which))
    found = json.loads((tmp_path / f"fake-{rank}.json").read_text())
    assert len(found) == count
    assert not {name: said for name, said in found.items() if said}

"""One process is two processes: the same losses and weights, copied or sharded, resumed or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pushforward._errors import ConfigError
from pushforward.training import load
from pushforward.training.distributed import World, choose
from training.stand_in import Straight
from training.worker import outcome

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, list[dict]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    path = f"{HERE.parents[1] / 'src'}:{HERE.parent}"
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(HERE / "worker.py"), str(folder)]
    workers = [
        subprocess.Popen([*command, str(rank), "2"], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=180)
        assert worker.returncode == 0, errors
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one() -> dict:
    """What a single process finds."""
    return outcome(None)


@pytest.mark.parametrize("kind", ["copied", "sharded", "resumed", "resumed sharded"])
def test_two_processes_find_what_one_finds(one, two, kind):
    for found in two[1]:
        assert "error" not in found[kind], found[kind]
        assert found[kind]["losses"] == pytest.approx(one["losses"], abs=1e-6)
        for a, b in zip(found[kind]["weights"], one["weights"]):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean flow", "mean flow sharded"])
def test_two_processes_train_a_flow_map_as_one_does(two, kind):
    """MeanFlow's derivative is taken inside the wrapped forward pass, so that no gradient misses the others'."""
    alone = outcome(None, mean_flow=True)
    for found in two[1]:
        assert "error" not in found[kind], found[kind]
        assert found[kind]["losses"] == pytest.approx(alone["losses"], abs=1e-6)
        for a, b in zip(found[kind]["weights"], alone["weights"]):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-5)
    assert two[1][0][kind] == two[1][1][kind]


@pytest.mark.parametrize("kind", ["copied", "resumed", "sharded", "resumed sharded"])
def test_both_processes_end_with_the_same_bits(two, kind):
    assert two[1][0][kind] == two[1][1][kind]


@pytest.mark.parametrize(("kind", "whole"), [("resumed", "copied"), ("resumed sharded", "sharded")])
def test_resumed_is_never_stopped(two, kind, whole):
    assert two[1][0][kind] == two[1][0][whole]


@pytest.mark.parametrize(("kind", "plain"), [("recomputed", "copied"), ("recomputed sharded", "sharded")])
def test_recomputed_blocks_have_the_same_bits_on_two_processes(two, kind, plain):
    assert "error" not in two[1][0][kind], two[1][0][kind]
    assert two[1][0][kind] == two[1][0][plain]


def test_both_stop_at_a_bad_step_and_one_names_the_sample(two):
    first, second = (found["poisoned"]["error"] for found in two[1])
    assert "step 3: the batch's x is not finite (sample 1 of the batch)" in first
    assert "step 3: it did not happen again here" in second


@pytest.mark.parametrize("kind", ["copied", "sharded"])
def test_one_process_goes_on_where_two_stopped(two, kind, one):
    folder, _ = two
    longer = outcome(folder / kind, steps=14)
    assert longer["losses"][:12] == pytest.approx(one["losses"], abs=1e-6)
    assert len(longer["losses"]) == 14
    assert [p.tolist() for p in load(folder / kind, Straight()).parameters()] == longer["weights"]


def test_slices_cover_the_batch_in_order():
    for batch in (1, 7, 64):
        for size in (1, 3, 5):
            cuts = [World(torch.device("cpu"), rank, size).slice(batch) for rank in range(size)]
            assert [i for low, high in cuts for i in range(low, high)] == list(range(batch))


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="a device of this machine"):
        choose("cuda:99", 0)

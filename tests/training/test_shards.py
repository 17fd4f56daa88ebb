"""Shards: made once by anyone, the same bytes whoever makes them, and nothing damaged is taken for whole."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pushforward._errors import ConfigError, RunError, ShapeError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion
from pushforward.objectives import Objective, Online, Regression, pairs
from pushforward.solvers import Euler
from pushforward.training import Shards, StoredPairs, store_pairs, store_real_pairs


class Field(nn.Module):
    shape = (2,)

    def __init__(self, slope=-0.7):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x, t, context=None):
        return self.slope * x if context is None else self.slope * x + context


MODEL, SOLVER = Diffusion(Field(), shape=(2,)), Euler(steps=4)


def bytes_of(folder: Path):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_any_mix_of_workers_makes_the_same_bytes(tmp_path):
    store_pairs(MODEL, tmp_path / "one", 23, SOLVER, seed=3, size=5)
    for worker in (2, 0, 1):
        store_pairs(MODEL, tmp_path / "three", 23, SOLVER, seed=3, size=5, worker=worker, workers=3)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "three")
    assert len(bytes_of(tmp_path / "one")) == 1 + 2 * 5


def test_they_are_the_pairs_that_memory_would_hold(tmp_path):
    context = torch.randn(11, 2)
    store_pairs(MODEL, tmp_path / "s", 11, SOLVER, seed=1, context=context, size=4)
    stored, known = StoredPairs.open(tmp_path / "s"), pairs(MODEL, 11, SOLVER, seed=1, context=context, batch=4)
    assert (len(stored), stored.shape) == (11, (2,))
    for a, b, _ in zip(stored.batches(8, Draw(0, "data")), known.batches(8, Draw(0, "data")), range(5)):
        for name in ("x", "eps", "context"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)
    later = next(stored.batches(8, Draw(0, "data"), start=3, rank=1, world=2))
    torch.testing.assert_close(later.x, next(known.batches(8, Draw(0, "data"), start=3, rank=1, world=2)).x)


def test_what_is_whole_is_left_alone_and_what_is_not_is_made_again(tmp_path):
    store_pairs(MODEL, tmp_path, 20, SOLVER, size=5)
    before, times = bytes_of(tmp_path), {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    (tmp_path / "part-000001.safetensors").unlink()
    (tmp_path / "part-000002.json").unlink()
    assert Shards.open(tmp_path).missing() == [1, 2]
    with pytest.raises(RunError, match="2 of 4 files"):
        StoredPairs.open(tmp_path)
    store_pairs(MODEL, tmp_path, 20, SOLVER, size=5)
    assert bytes_of(tmp_path) == before
    assert (tmp_path / "part-000000.safetensors").stat().st_mtime_ns == times["part-000000.safetensors"]


def test_no_flip_or_cut_passes(tmp_path):
    store_pairs(MODEL, tmp_path, 6, SOLVER, size=3)
    shards, choose, whole = Shards.open(tmp_path), random.Random(0), bytes_of(tmp_path)
    for _ in range(300):
        name = choose.choice(["part-000001.safetensors", "part-000001.json"])
        data = bytearray(whole[name])
        if choose.random() < 0.3:
            data = data[: choose.randrange(len(data))]
        else:
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        (tmp_path / name).write_bytes(data)
        assert 1 in shards.missing() or _says_the_same(name, data, whole[name])
        (tmp_path / name).write_bytes(whole[name])
    assert shards.missing() == []


def _says_the_same(name, data, whole):
    """A seal may be spelled otherwise: other white space is the same JSON."""
    return name.endswith(".json") and data.split() == whole.split()


def test_a_folder_keeps_to_its_plan(tmp_path):
    store_pairs(MODEL, tmp_path, 6, SOLVER, size=3)
    for change, name in (
        (lambda: store_pairs(MODEL, tmp_path, 6, SOLVER, seed=1, size=3), "seed"),
        (lambda: store_pairs(MODEL, tmp_path, 7, SOLVER, size=3), "total"),
        (lambda: store_pairs(MODEL, tmp_path, 6, Euler(steps=5), size=3), "solver"),
        (lambda: store_pairs(Diffusion(Field(-0.8), shape=(2,)), tmp_path, 6, SOLVER, size=3), "weights"),
    ):
        with pytest.raises(ConfigError, match=name):
            change()
    with pytest.raises(ConfigError, match="worker"):
        Shards.open(tmp_path).missing(3, 3)
    with pytest.raises(RunError):
        Shards.open(tmp_path / "elsewhere")


def test_real_pairs_end_in_the_data_and_mix(tmp_path):
    x = Draw(0, "x").normal(9, (2,))
    store_pairs(MODEL, tmp_path / "made", 12, SOLVER, size=5)
    store_real_pairs(MODEL, tmp_path / "real", x, SOLVER, size=4)
    both = StoredPairs.open(tmp_path / "made", tmp_path / "real")
    assert len(both) == 21
    batch = next(both.batches(21, Draw(0, "data")))
    found = (batch.x[:, None] == x).all(2).any(0)
    assert found.all()
    store_pairs(MODEL, tmp_path / "told", 12, SOLVER, context=torch.zeros(12, 2), size=5)
    with pytest.raises(ShapeError, match="one shape"):
        StoredPairs.open(tmp_path / "made", tmp_path / "told")


def test_online_pairs_are_the_teachers(tmp_path):
    """Each sample's pair is a trajectory's two ends, whichever end it was begun from, however a batch is split."""
    seen = []

    class Spy(Objective):
        def __call__(self, model, batch, draw):
            seen.append(batch)
            return torch.zeros(len(batch))

    x = Draw(0, "x").normal(64, (2,))
    draw = Draw(5, "train", step=2)
    Online(Spy(), MODEL, SOLVER, real=0.5)(MODEL, Batch(x), draw)
    batch = seen[0]
    kept = (batch.x == x).all(1)
    assert 16 < kept.sum() < 48
    torch.testing.assert_close(batch.eps[kept], MODEL.encode(x[kept], None, SOLVER))
    torch.testing.assert_close(batch.x[~kept], MODEL.decode(batch.eps[~kept], None, SOLVER))
    Online(Spy(), MODEL, SOLVER, real=0.5)(MODEL, Batch(x[40:]), replace(draw, first=40))
    torch.testing.assert_close(seen[1].x, batch.x[40:])
    with pytest.raises(ConfigError, match="share"):
        Online(Regression(), MODEL, SOLVER, real=1.5)

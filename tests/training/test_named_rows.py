"""An error about a step names the rows of the data that it was about: by file and row, wherever they came from."""

import re
from itertools import islice

import numpy as np
import pytest
import torch

from data.test_stream import npy, png, tar
from pushforward._errors import TrainingError
from pushforward._random import Draw
from pushforward.data import open_data
from pushforward.training import Settings, Shards, StoredPairs, train
from training.stand_in import Straight, flow_matching

DRAW = Draw(3, "data")


def table(folder):
    rows = [f"{i}.5,{100 + i}" for i in range(30)]
    rows[7:7] = ["nan,1", "", "x,2"]
    (folder / "a.csv").write_text("\n".join(["a,b", *rows]))
    lines = (folder / "a.csv").read_text().split("\n")
    return folder / "a.csv", {"bad_rows": "skip"}, lambda name: float(lines[int(name[6:]) - 1].split(",")[0])


def array(folder):
    values = np.arange(60.0).reshape(30, 2)
    values[4] = np.nan
    np.save(folder / "a.npy", values)
    return folder / "a.npy", {"bad_rows": "skip"}, lambda name: values[int(name[6:]) - 1, 0]


def pictures(folder):
    for i in range(20):
        (folder / "many").mkdir(exist_ok=True)
        (folder / f"many/{i:02d}.png").write_bytes(png(10 * i))
    return folder / "many", {}, lambda name: 10 * int(re.fullmatch(r"many/(\d\d)\.png", name)[1])


def tars(folder):
    (folder / "many").mkdir()
    for shard in range(3):
        tar(folder / f"many/{shard}.tar", {f"{i}.npy": npy(np.array([10.0 * shard + i, 1 + i % 3])) for i in range(8)})
    found = re.compile(r"(\d)\.tar:(\d+)")
    return folder / "many", {}, lambda name: 10.0 * int(found.fullmatch(name)[1]) + int(found.fullmatch(name)[2]) - 1


@pytest.mark.parametrize("source", [table, array, pictures, tars])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_the_names_of_a_step_are_those_of_its_rows(tmp_path, source, rank, world):
    path, options, value = source(tmp_path)
    data = open_data(str(path), held_out=0.2, **({} if source in (pictures, tars) else options))
    for step, batch in enumerate(islice(data.batches(7, DRAW, 0, rank, world), 6)):
        names = data.named(7, DRAW, step, rank, world)
        raw = data.scaling.to_values(batch.x).flatten(1)[:, 0]
        assert [value(name) for name in names] == pytest.approx(raw.tolist(), rel=1e-3, abs=1e-3)


def test_pairs_are_named_by_their_number(tmp_path):
    def make(first, n):
        return {"x": torch.arange(first, first + n)[:, None], "eps": torch.zeros(n, 1)}

    Shards.begin(tmp_path / "p", 9, 4, {}).fill(make)
    pairs = StoredPairs.open(tmp_path / "p")
    batch = next(pairs.batches(5, DRAW, 1))
    assert pairs.named(5, DRAW, 1) == [f"pair {int(x) + 1}" for x in batch.x]


def test_what_is_not_finite_is_said_with_step_row_and_module(tmp_path):
    """The row whose first number is 12.5 divides by 0."""
    path, options, _ = table(tmp_path)
    data = open_data(str(path), **options)
    bad = data.scaling.to_model(torch.tensor([[12.5, 112.0]]), None)[0, 0].float()

    class Fragile(torch.nn.Module):
        def forward(self, h):
            return torch.where((h[:, :1] - bad).abs() < 1e-6, torch.inf, h)

    model = Straight()
    model.blocks[0].insert(0, Fragile())
    settings = Settings(steps=20, batch=6, seed=3, device="cpu", threads=1)
    line = (tmp_path / "a.csv").read_text().split("\n").index("12.5,112") + 1

    def objective(model, batch, draw):
        model.velocity(batch.x, torch.zeros(len(batch)))
        return flow_matching(model, batch, draw) + 0 * model.velocity(batch.x, torch.zeros(len(batch))).sum(1)

    with pytest.raises(TrainingError) as caught:
        train(model, data, objective, settings=settings, progress=False)
    words = r"step (\d+): 'blocks.0.0' is the first module .* \(sample (\d+) of the batch: a.csv:(\d+)\)"
    said = re.search(words, str(caught.value))
    assert said, caught.value
    assert int(said[3]) == line
    assert data.named(6, Draw(3, "data"), int(said[1]))[int(said[2])] == f"a.csv:{line}"

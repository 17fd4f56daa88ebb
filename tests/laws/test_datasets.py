"""Laws that hold for every data set: purity in (address, step), scaling, held-out rows."""

from dataclasses import FrozenInstanceError
from itertools import islice

import pytest
import torch
from torch.testing import assert_close

from laws.zoo_datasets import DATASETS
from pushforward._random import Draw
from pushforward.data import Batch, Dataset

DRAW = Draw(3, "law")


@pytest.fixture(params=DATASETS)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return DATASETS[request.param]()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(a: Batch, b: Batch) -> bool:
    contexts = (a.context is None and b.context is None) or torch.equal(a.context, b.context)
    return torch.equal(a.x, b.x) and contexts


def test_a_stream_may_start_at_any_step(dataset: Dataset):
    size = max(1, len(dataset) // 3)  # so that steps straddle epochs
    whole = list(islice(dataset.batches(size, DRAW), 9))
    for start in (1, 4, 8):
        assert same(whole[start], next(dataset.batches(size, DRAW, start)))


def test_another_seed_purpose_or_step_gives_another_batch(dataset: Dataset):
    first, second = islice(dataset.batches(10, DRAW), 2)
    for other in (second, next(dataset.batches(10, Draw(4, "law"))), next(dataset.batches(10, DRAW.of("x")))):
        assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_the_same_global_batch(dataset: Dataset, world: int):
    size, start = 11, 5
    whole = next(dataset.batches(size, DRAW, start))
    parts = [next(dataset.batches(size, DRAW, start, rank, world)) for rank in range(world)]
    joined = None if whole.context is None else torch.cat([part.context for part in parts])
    assert same(whole, Batch(torch.cat([part.x for part in parts]), joined))


def test_one_epoch_is_the_training_part_with_its_context(dataset: Dataset):
    batch = next(dataset.batches(len(dataset), DRAW))
    rows = dataset.scaling.to_values(batch.x).flatten(1).double()
    values = dataset.values.flatten(1).double()
    found = torch.cdist(rows, values).argmin(1)
    assert sorted(found.tolist()) == list(range(len(dataset)))
    assert_close(rows, values[found], rtol=1e-5, atol=1e-5)
    if dataset.context is None:
        assert batch.context is None
    else:
        assert torch.equal(batch.context, dataset.context[found])


@pytest.mark.usefixtures("float64")
def test_values_come_back_from_model_units(dataset: Dataset):
    u = DRAW.uniform(len(dataset), dataset.shape) if dataset.scaling.levels else None
    for noise in (u, None):
        back = dataset.scaling.to_values(dataset.scaling.to_model(dataset.values, noise))
        assert_close(back, dataset.values.to(back.dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_log_abs_det_is_that_of_the_jacobian(dataset: Dataset):
    value = dataset.values[0].double()
    u = torch.full(dataset.shape, 0.25) if dataset.scaling.levels else None
    jacobian = torch.autograd.functional.jacobian(lambda v: dataset.scaling.to_model(v, u), value)
    size = value.numel()
    expected = torch.linalg.slogdet(jacobian.reshape(size, size))[1].item()
    assert dataset.scaling.log_abs_det(dataset.shape) == pytest.approx(expected, rel=1e-6)


def test_held_out_batches_are_fixed_and_begin_alike(dataset: Dataset):
    every = dataset.held_out_batch(DRAW)
    assert len(every) == len(dataset.held_out)
    assert same(every, dataset.held_out_batch(DRAW))
    few = dataset.held_out_batch(DRAW, 5)
    assert torch.equal(few.x, every.x[:5])
    assert torch.equal(dataset.train_batch(DRAW, 5).x, dataset.train_batch(DRAW).x[:5])
    assert not torch.equal(dataset.train_batch(DRAW, 5).x, few.x)


def test_batches_are_in_the_default_dtype_and_of_about_unit_size(dataset: Dataset):
    x = next(dataset.batches(64, DRAW)).x
    assert x.dtype == torch.get_default_dtype()
    assert 0.3 < x.square().mean().sqrt() < 2.2


def test_data_sets_cannot_be_changed(dataset: Dataset):
    with pytest.raises(FrozenInstanceError):
        dataset.name = "other"  # type: ignore[misc]


def test_described_in_one_line(dataset: Dataset):
    line = dataset.describe()
    assert line.startswith(f"{dataset.name}: {len(dataset.values):,} + {len(dataset.held_out):,} ")
    assert "\n" not in line
    assert line in repr(dataset)

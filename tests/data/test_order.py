from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data.order import order

DRAW = Draw(0, "order")


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_row_comes_once_per_epoch_whatever_the_split(n: int, size: int, world: int, seed: int):
    size = max(size, world)
    steps = -(-3 * n // size)
    streams = [order(n, size, Draw(seed), 0, rank, world) for rank in range(world)]
    rows = torch.cat([next(stream)[1] for _ in range(steps) for stream in streams])
    for epoch in range(3):
        assert sorted(rows[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


def test_epochs_differ_in_order():
    rows = torch.cat([rows for _, rows in islice(order(100, 100, DRAW), 2)])
    assert not torch.equal(rows[:100], rows[100:])


def test_the_draw_names_the_step_and_the_first_sample_of_the_slice():
    draw, rows = next(order(100, 10, DRAW, start=6, rank=1, world=3))
    assert (draw.step, draw.first, len(rows)) == (6, 3, 3)


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 1, "world": 2}, {"rank": 2, "world": 2}, {"start": -1}])
def test_impossible_splits_are_refused_before_the_first_step(bad: dict):
    with pytest.raises(ConfigError, match="at least one sample per process"):
        order(**{"n": 10, "size": 4, "draw": DRAW, **bad})

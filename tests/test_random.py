"""Draws are functions of their address."""

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pushforward._random import Draw


@given(first=st.integers(0, 3000), n=st.integers(1, 700), size=st.sampled_from([(), (2,), (3, 40), (5000,)]))
def test_any_split_sees_the_same_numbers(first, n, size):
    n = min(n, 5) if size == (5000,) else n
    draw = Draw(1, "law", first=first)
    whole = draw.normal(n, size)
    cut = n // 2
    parts = [draw.normal(cut, size), replace(draw, first=first + cut).normal(n - cut, size)]
    assert torch.equal(torch.cat(parts), whole)


def test_addresses_are_independent():
    draw = Draw(0, "a")
    streams = [draw, draw.of("b"), draw.at(1), Draw(1, "a"), Draw(0, "b")]
    values = torch.stack([s.normal(4096) for s in streams])
    correlation = torch.corrcoef(values) - torch.eye(len(streams))
    assert correlation.abs().max() < 0.08


def test_global_generator_is_untouched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Draw(0, "x").normal(10, (3,))
    assert torch.equal(torch.get_rng_state(), before)


def test_moments():
    assert Draw(0, "u").uniform(20000).mean().item() == pytest.approx(0.5, abs=0.01)
    assert set(Draw(0, "s").signs(1000).tolist()) == {-1.0, 1.0}
    assert sorted(Draw(0, "p").permutation(50).tolist()) == list(range(50))
    assert set(Draw(0, "i").integers(1000, 3).tolist()) == {0, 1, 2}


def test_threads_agree():
    expected = Draw(7, "t").normal(300, (3,))
    results = [None] * 8

    def work(i):
        results[i] = Draw(7, "t").normal(300, (3,))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(result, expected) for result in results)

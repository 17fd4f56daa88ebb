"""The learning rate's corners."""

import itertools

import pytest

from pushforward._recipe import Settings
from pushforward.training.schedule import rate


def test_rises_to_the_top_without_a_jump_and_ends_near_zero():
    settings = Settings(steps=1000, warmup=100, lr=0.5)
    rates = [rate(s, settings) for s in range(1000)]
    assert rates[0] == pytest.approx(0.005)
    assert rates[99] == rates[100] == max(rates) == 0.5
    assert rates[550] == pytest.approx(0.25)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) <= 0.0051
    assert rates[-1] < 1e-5


def test_constant_stays():
    settings = Settings(steps=100, warmup=10, schedule="constant", lr=0.5)
    assert {rate(s, settings) for s in range(10, 100)} == {0.5}


def test_a_short_run_still_reaches_the_top():
    assert max(rate(s, Settings(steps=5, warmup=50, lr=1.0)) for s in range(5)) == 1.0


def test_one_step_moves():
    assert rate(0, Settings(steps=1)) > 0

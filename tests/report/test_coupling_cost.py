"""What pairs pay, against brute force, closed forms and theorems."""

import importlib.util
import itertools

import pytest
import torch

from pushforward._errors import ConfigError, ShapeError
from pushforward._random import Draw
from pushforward.models import gaussian, mixture
from pushforward.objectives import Pairs, matched, pairs
from pushforward.paths import Independent, OptimalTransport
from pushforward.report import coupling_cost
from pushforward.solvers import RK4

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ot") is None, reason="POT is not installed (extra 'ot')")
POWERS = pytest.mark.parametrize("power", [1.0, 2.0, 4.0])


def drawn(n, size=2, std=0.5, seed=0):
    draw = Draw(seed)
    return Pairs(std * draw.of("x").normal(n, (size,)), draw.of("eps").normal(n, (size,)))


@POWERS
def test_the_least_is_that_of_all_permutations(power):
    ends = drawn(10)
    halves = Draw(0, "blocks").permutation(10).tensor_split(2)
    blocks = [(ends.x[rows].double(), ends.eps[rows].double()) for rows in halves]
    best = [
        min(((eps[list(p)] - x).norm(dim=1) ** power).mean().item() for p in itertools.permutations(range(5)))
        for x, eps in blocks
    ]
    found = coupling_cost(ends, power, blocks=2)
    assert found.least.value == pytest.approx(sum(best) / 2)
    paid = ((ends.eps - ends.x).double().norm(dim=1) ** power).mean().item()
    assert found.paid.value == pytest.approx(paid)
    assert found.ratio.value == pytest.approx(paid / found.least.value)


def test_of_independent_normals_it_is_five():
    """On a line: E (eps - x)**2 = 1 + 1/4, and W2**2 = (1 - 1/2)**2."""
    found = coupling_cost(drawn(8 * 512, size=1))
    assert found.paid.value == pytest.approx(1.25, abs=4 * found.paid.error)
    assert found.least.value == pytest.approx(0.25, abs=0.02)
    assert found.ratio.value == pytest.approx(5.0, abs=4 * found.ratio.error + 0.1)


def test_the_error_is_how_far_other_pairs_are():
    each = [coupling_cost(drawn(400, size=1, seed=seed), blocks=10).ratio for seed in range(30)]
    spread = torch.tensor([one.value for one in each]).std().item()
    assert spread == pytest.approx(sum(one.error for one in each) / 30, rel=0.35)


@POWERS
def test_the_quantile_map_of_a_line_is_optimal_for_every_cost(power):
    eps = Draw(1).normal(256, (1,))
    found = coupling_cost(Pairs(0.3 * eps + 0.1 * eps**3 + 2, eps), power, blocks=4)
    assert found.ratio.value == pytest.approx(1.0, abs=1e-6)
    assert found.ratio.error < 1e-6


def test_of_optimal_pairs_it_is_one_and_of_others_more():
    x = 0.5 * Draw(2).normal(512, (2,))
    best, chance = (matched(x, coupling, 3) for coupling in (OptimalTransport(), Independent()))
    assert coupling_cost(best).ratio.value == pytest.approx(1.0, abs=1e-6)
    found = coupling_cost(chance)
    assert found.ratio.value - 4 * found.ratio.error > 2


@POWERS
def test_reflow_pays_less_than_chance_for_every_convex_cost(power):
    model = mixture([0.5, 0.5], [[-1.5, 0.0], [1.5, 0.5]], 0.3)
    made = pairs(model, 512, RK4(steps=20))
    apart = Pairs(made.x, made.eps.roll(1, 0))
    straight, chance = (coupling_cost(each, power) for each in (made, apart))
    assert 1 <= straight.ratio.value < chance.ratio.value - 4 * chance.ratio.error
    assert straight.ratio.value < 1.1


def test_contexts_are_matched_apart():
    """Each class has all of the noise; matched together they would share it."""
    label = torch.arange(256) % 2
    eps = Draw(4).normal(256, (2,))
    x = 0.5 * eps + 4.0 * (2 * label[:, None] - 1)
    kept, mixed = coupling_cost(Pairs(x, eps, label)), coupling_cost(Pairs(x, eps))
    assert kept.ratio.value == pytest.approx(1.0, abs=1e-6)
    assert mixed.ratio.value > 1.05


def test_it_reads_as_a_sentence():
    line = str(coupling_cost(pairs(gaussian(std=0.5, shape=(2,)), 64, RK4(steps=20)), blocks=2))
    assert line.startswith("E|eps - x0|**2 = 0.")
    assert line.endswith(" times")


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="a power of 1 or more"):
        coupling_cost(drawn(64), 0.5)
    with pytest.raises(ConfigError, match="two blocks or more"):
        coupling_cost(drawn(64), blocks=1)
    with pytest.raises(ShapeError, match="two pairs or more to a block"):
        coupling_cost(drawn(15))

"""What every base promises, held against the whole zoo."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from laws.zoo_bases import BASES, Kind
from pushforward._random import Draw

every = pytest.mark.parametrize("kind", BASES.values(), ids=BASES.keys())


@every
def test_the_mass_is_one(kind: Kind):
    """The midpoint rule on a grid of its own for each count of numbers."""
    base = kind.base()
    d = base.shape[0]
    side = 400_000 if d == 1 else 600
    low, high = max(base.low, -kind.reach), min(base.high, kind.reach)
    line = low + (high - low) * (torch.arange(side, dtype=torch.float64) + 0.5) / side
    grid = line[:, None] if d == 1 else torch.cartesian_prod(line, line)
    with torch.no_grad():
        density = base.log_prob(grid, kind.contexts(len(grid))).exp().nan_to_num(0.0)
    assert density.sum().item() * ((high - low) / side) ** d == pytest.approx(1, abs=kind.thick)


@every
def test_samples_fall_where_the_density_says(kind: Kind):
    """The share of samples below some points is the mass there, to within five standard errors."""
    base, n, side = kind.base(), 20_000, 200_000
    x = base.sample(n, Draw(0, "law"), kind.contexts(n)).detach().double()
    if base.shape[0] > 1:  # the second number, given nothing: add up the first on a grid
        x = x[:, 1]
        low, high, count = max(base.low, -kind.reach), min(base.high, kind.reach), 500
        line = low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        with torch.no_grad():
            density = base.log_prob(torch.cartesian_prod(line, line), kind.contexts(count**2)).exp()
        mass = density.reshape(count, count).sum(0) * ((high - low) / count) ** 2
    else:
        x = x[:, 0]
        low, high = max(base.low, -kind.reach), min(base.high, kind.reach)
        line = low + (high - low) * (torch.arange(side, dtype=torch.float64) + 0.5) / side
        mass = base.log_prob(line[:, None]).exp().nan_to_num(0.0) * (high - low) / side
    below = mass.cumsum(0)
    half = 0.5 * (line[1] - line[0])
    for q in (0.1, 0.35, 0.5, 0.8, 0.95):
        point = line[torch.searchsorted(below, q)]
        share, wanted = (x < point + half).double().mean().item(), below[torch.searchsorted(below, q)].item()
        assert abs(share - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / n) + 2 * kind.thick


@every
def test_a_draw_is_a_function_of_its_address(kind: Kind):
    base, draw = kind.base(), Draw(3, "law")
    context = kind.contexts(8)
    whole = base.sample(8, draw, context)
    part = base.sample(3, replace(draw, first=5), None if context is None else context[5:])
    assert torch.equal(part, whole[5:])
    assert torch.equal(whole, base.sample(8, draw, context))
    assert not torch.equal(whole, base.sample(8, draw.at(1), context))


@every
def test_samples_lie_within_the_bounds(kind: Kind):
    base = kind.base()
    x = base.sample(5000, Draw(1), kind.contexts(5000))
    assert x.isfinite().all()
    assert (x >= base.low).all()
    assert (x <= base.high).all()
    assert base.log_prob(x.double(), kind.contexts(5000)).isfinite().all()


@every
def test_rows_do_not_see_each_other(kind: Kind):
    base = kind.base()
    x, context = base.sample(6, Draw(2), kind.contexts(6)).double(), kind.contexts(6)
    alone = base.log_prob(x[2:3], None if context is None else context[2:3])
    assert_close(alone, base.log_prob(x, context)[2:3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["normal", "normal-wide", "logistic", "student-light", "uniform", "von-mises", "laplace"]
)
def test_std_is_the_deviation_of_samples(name: str):
    base = BASES[name].base()
    x = base.sample(40_000, Draw(5))
    assert (x - x.mean()).square().mean().sqrt().item() == pytest.approx(base.std, rel=0.03)

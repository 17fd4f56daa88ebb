"""Inpainting by replacement on normal data, where the free part given the known one is a formula."""

from itertools import pairwise

import pytest
import torch

from pushforward import data, models, paths
from pushforward._random import Draw
from pushforward.models import repaint, replacement
from pushforward.solvers import Ancestral, Euler, Heun, drain

KNOWN = torch.tensor([True, False])
WAYS = {
    "replacement": lambda model, n, **rest: replacement(model, KNOWN, torch.tensor([1.5, 7.0]), n, **rest),
    "repaint": lambda model, n, **rest: repaint(model, KNOWN, torch.tensor([1.5, 7.0]), n, steps=10, walks=3, **rest),
}


def correlated(path=None):
    """Two standard normals of correlation 0.8: given 1.5, the other is N(1.2, 0.36)."""
    return models.gaussian(0.0, path=path, shape=(2,), covariance=torch.tensor([[1.0, 0.8], [0.8, 1.0]]))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_known_part_is_where_it_should_be_at_every_time(way):
    model = correlated(paths.Cosine())
    walk, states = way(model, 5, seed=0), []
    try:
        while True:
            states.append(next(walk))
    except StopIteration as stop:
        end = stop.value
    assert (end[:, 0] == 1.5).all()
    assert states[-1].t.max() == 0
    assert torch.allclose(states[-1].x, end, atol=1e-5)
    for state in states:
        c = model.path.coefficients(state.t)
        assert ((state.x[:, 0] - c.alpha * 1.5).abs() <= 4 * c.sigma).all()
    assert all(later.nfe > sooner.nfe for sooner, later in pairwise(states))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_samples_do_not_depend_on_the_split(way):
    model = correlated()
    whole = drain(way(model, 9, seed=4))
    parts = [drain(way(model, n, seed=4, first=first)) for n, first in ((4, 0), (5, 4))]
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_edit_is_walked_on_from(way):
    model = correlated()
    walk, plain = way(model, 3, seed=0), way(model, 3, seed=0)
    next(walk)
    first = next(plain)
    assert torch.equal(walk.send(first.x).x, next(plain).x)
    moved = walk.send(torch.zeros(3, 2))
    assert not torch.equal(moved.x, next(plain).x)


def test_noise_on_the_way_is_new_in_each_walk_and_the_same_in_each_split():
    values, solver = torch.tensor([1.5, 0.0]), Ancestral(steps=1, clean=False)

    def way(n, first=0):
        walk = repaint(correlated(), KNOWN, values, n, steps=40, walks=10, solver=solver, seed=0, first=first)
        return drain(walk)[:, 1]

    free = way(1000)
    assert free.mean().item() == pytest.approx(1.2, abs=0.15)
    assert free.std().item() == pytest.approx(0.6, abs=0.12)
    torch.testing.assert_close(torch.cat([way(3), way(4, 3)]), free[:7])


def test_walking_again_mends_what_replacement_gets_wrong():
    """The free coordinate given the known one, against N(1.2, 0.36): more walks, nearer."""
    off = {}
    for walks in (1, 3, 12):
        x = drain(repaint(correlated(), KNOWN, torch.tensor([1.5, 0.0]), 4000, steps=15, walks=walks, seed=0))[:, 1]
        off[walks] = abs(x.mean().item() - 1.2) + abs(x.std().item() - 0.6)
    assert off[12] < off[3] < off[1]
    assert off[12] < 0.15


def test_digits_are_completed_by_digits():
    digits = data.digits().train_batch(Draw(0))
    model = models.empirical(digits.x, labels=digits.context)
    upper = torch.zeros(1, 8, 8, dtype=torch.bool)
    upper[:, :4] = True
    x = drain(repaint(model, upper, digits.x[7], 8, steps=20, walks=10, solver=Euler(steps=1), seed=0))
    assert torch.equal(x[:, upper], digits.x[7][upper].expand(8, -1))
    lower = x[:, ~upper]
    near = torch.cdist(lower, digits.x[:, ~upper]).min(1)
    assert near.values.max() < 0.1  # each lower half is that of a training event
    seen = (digits.x[near.indices] - digits.x[7])[:, upper].square().mean(1).sqrt()
    anyone = (digits.x - digits.x[7])[:, upper].square().mean(1).sqrt()
    assert seen.median() < anyone.quantile(0.05)  # whose upper half is like the known one


def test_what_makes_no_walk_is_refused():
    with pytest.raises(ValueError, match="at least one step and one walk"):
        next(repaint(correlated(), KNOWN, torch.zeros(2), 1, walks=0))


def test_the_model_is_asked_without_gradients():
    walk = replacement(correlated(), KNOWN, torch.zeros(2), 2, seed=0, solver=Heun(steps=2))
    assert not next(walk).x.requires_grad
    assert torch.is_grad_enabled()

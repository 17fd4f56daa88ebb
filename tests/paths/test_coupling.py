"""Couplings: marginals are kept, contexts are never mixed, chance is the draw's alone."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from pushforward._errors import ConfigError, ShapeError
from pushforward._random import Draw
from pushforward.data import toys
from pushforward.data.batch import Batch
from pushforward.models import Diffusion
from pushforward.objectives import Regression
from pushforward.paths import Independent, OptimalTransport, Source
from pushforward.solvers import Euler

needs_pot = pytest.mark.skipif(importlib.util.find_spec("ot") is None, reason="POT is not installed (extra 'ot')")
DRAW = Draw(0, "eps")


def moons(n):
    """Points on the two moons, in alternation, in the frame of the eight gaussians."""
    x = toys.moons(n).values
    return (x - x.mean(0)) * 3, (x[:, 1] < 0.25).long()


def gaussians(n, draw):
    """Eight blobs on a circle of radius 4."""
    angle = draw.of("blob").integers(n, 8) * (torch.pi / 4)
    return 4 * torch.stack([angle.cos(), angle.sin()], 1) + 0.3 * draw.of("in").normal(n, (2,))


def octant(eps):
    """The share of each of the eight blobs."""
    blob = (torch.atan2(eps[:, 1], eps[:, 0]) / (torch.pi / 4)).round() % 8
    return torch.bincount(blob.long(), minlength=8) / len(eps)


def cost(x, eps):
    return (x - eps).square().sum(1).mean().item()


@needs_pot
def test_exact_pairs_are_the_cheapest_permutation():
    """The same as the Hungarian method's, for events of any shape."""
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not installed")
    x = Draw(1).normal(60, (2, 3))
    free, matched = Independent().pair(x, None, DRAW), OptimalTransport().pair(x, None, DRAW)
    assert torch.equal(matched.flatten(1).sort(0).values, free.flatten(1).sort(0).values)
    distance = torch.cdist(x.flatten(1), free.flatten(1)).square()
    _, best = optimize.linear_sum_assignment(distance.numpy())
    assert torch.equal(matched, free[torch.as_tensor(best)])


@needs_pot
def test_in_one_dimension_the_pairs_are_sorted():
    x = Draw(1).normal(200, (1,))
    eps = OptimalTransport().pair(x, None, DRAW)
    assert torch.equal(eps[x.flatten().argsort()].flatten(), eps.flatten().sort().values)


@needs_pot
def test_the_mean_squared_distance_is_that_of_the_gaussians_closed_form():
    """W2**2 of N(m, s**2) and N(0, 1) in the plane is |m|**2 + 2 (s - 1)**2; independent pairs cost more."""
    x = 0.5 * Draw(2).normal(1000, (2,)) + 3.0
    truth = 18 + 2 * 0.25
    assert cost(x, OptimalTransport().pair(x, None, DRAW)) == pytest.approx(truth, rel=0.03)
    assert cost(x, OptimalTransport(0.02).pair(x, None, DRAW)) == pytest.approx(truth, rel=0.04)
    assert cost(x, Independent().pair(x, None, DRAW)) == pytest.approx(18 + 2 * 1.25, rel=0.03)


@needs_pot
@pytest.mark.parametrize("regularisation", [0.02, 0.1, 1.0])
def test_sinkhorn_lies_between_optimal_and_independent_and_keeps_the_marginal(regularisation):
    x, _ = moons(256)
    source = Source(gaussians)
    free, best = (each.pair(x, None, DRAW) for each in (source, OptimalTransport(source=source)))
    eps = OptimalTransport(regularisation, source).pair(x, None, DRAW)
    assert cost(x, best) <= cost(x, eps) <= cost(x, free) * 1.02
    torch.testing.assert_close(eps.mean(0), free.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(eps.std(0), free.std(0), rtol=0.1, atol=0)


@needs_pot
@pytest.mark.parametrize("regularisation", [0.0, 0.05])
def test_chance_is_the_draws_alone(regularisation):
    """Not numpy's or torch's global state: torchcfm draws its pairs with np.random.choice."""
    x = Draw(1).normal(64, (2,))
    coupling = OptimalTransport(regularisation)
    pairs = []
    for seed in (0, 1):
        np.random.seed(seed)
        torch.manual_seed(seed)
        pairs.append(coupling.pair(x, None, DRAW))
    assert torch.equal(*pairs)
    assert not torch.equal(coupling.pair(x, None, Draw(5, "eps")), pairs[0])


@needs_pot
@pytest.mark.parametrize("regularisation", [0.0, 0.05])
def test_contexts_are_not_mixed(regularisation):
    """Eight gaussians to moons, each moon a class (torchcfm #117, #120): a class's noise stays the whole source."""
    x, label = moons(400)
    source = Source(gaussians)
    ours = OptimalTransport(regularisation, source).pair(x, label, DRAW)
    careless = OptimalTransport(regularisation, source).pair(x, None, DRAW)
    free = source.pair(x, label, DRAW)
    for moon in (0, 1):
        mine = label == moon
        whole = octant(free[mine])
        if regularisation == 0:
            assert torch.equal(ours[mine].sort(0).values, free[mine].sort(0).values)
        assert (octant(ours[mine]) - whole).abs().sum() < 0.25
        # without care each moon gets its own side of the circle
        assert (octant(careless[mine]) - whole).abs().sum() > 0.6
        assert cost(x[mine], ours[mine]) < 0.8 * cost(x[mine], free[mine])
    assert cost(x, careless) < cost(x, ours)


@needs_pot
def test_contexts_of_vectors_and_of_one_event_each():
    x = Draw(1).normal(40, (2,))
    vector = torch.arange(40)[:, None] % 2 * torch.ones(40, 3)
    same = OptimalTransport().pair(x, torch.arange(40) % 2, DRAW)
    assert torch.equal(OptimalTransport().pair(x, vector, DRAW), same)
    alone = OptimalTransport().pair(x, torch.rand(40, 3), DRAW)
    assert torch.equal(alone, Independent().pair(x, None, DRAW))


@needs_pot
def test_a_large_batch_is_matched():
    x = Draw(1).normal(1024, (8,))
    eps = OptimalTransport().pair(x, None, DRAW)
    assert torch.equal(eps.sort(0).values, Independent().pair(x, None, DRAW).sort(0).values)


@needs_pot
def test_the_regression_uses_it():
    model = Diffusion(lambda x, t, context: 0 * x, shape=(2,))
    batch = Batch(*moons(256))
    plan = OptimalTransport(source=Source(gaussians))
    loss = Regression(coupling=plan)(model, batch, Draw(0, "train"))
    eps = plan.pair(batch.x, batch.context, Draw(0, "train").of("eps"))
    torch.testing.assert_close(loss, (eps - batch.x).square().mean(1))


def test_without_pot_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ConfigError, match=r"pip install 'pushforward\[ot\]'"):
        OptimalTransport().pair(torch.zeros(2, 2), None, DRAW)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_impossible_regularisations_are_refused(bad):
    with pytest.raises(ConfigError, match="0 is exact"):
        OptimalTransport(bad)


def test_independent_noise_is_standard_and_keyed_by_sample():
    x = torch.zeros(5000, 2)
    eps = Independent().pair(x, None, DRAW)
    assert eps.mean().abs() < 0.03
    assert eps.std().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(Independent().pair(x[:10], None, Draw(0, "eps", first=40)), eps[40:50])


@pytest.mark.parametrize("kind", ["table", "sampler"])
def test_a_source_is_drawn_by_sample(kind):
    source = Source(torch.arange(100.0)[:, None] if kind == "table" else lambda n, draw: draw.uniform(n, (1,)) * 100)
    eps = source.pair(torch.zeros(2000, 1), None, DRAW)
    assert eps.mean().item() == pytest.approx(50, abs=3)
    assert torch.equal(source.pair(torch.zeros(10, 1), None, Draw(0, "eps", first=40)), eps[40:50])


def test_a_source_with_contexts_gives_each_pair_its_own():
    events, label = torch.arange(100.0)[:, None], torch.arange(100) % 3
    eps = Source(events, label).pair(torch.zeros(300, 1), torch.arange(300) % 3, DRAW)
    assert torch.equal(eps.flatten().long() % 3, torch.arange(300) % 3)
    assert len(eps.unique()) > 80
    with pytest.raises(ShapeError, match="none with context 3"):
        Source(events, label).pair(torch.zeros(2, 1), torch.tensor([0, 3]), DRAW)


def test_sources_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"events \(4, 2\) of the source; got \(4, 3\)"):
        Source(torch.zeros(9, 3)).pair(torch.zeros(4, 2), None, DRAW)


def test_any_source_is_carried_to_the_data():
    """torchcfm #126, #156: a source that is not normal was silently replaced by one that is. Here eps is the source.

    Between two shifted cubes the velocity is the same for all; a linear network finds it, and samples that start from
    the source end on the data.
    """
    x = Draw(1).uniform(512, (2,)) + 3.0
    source = Source(lambda n, draw: draw.uniform(n, (2,)) - 5.0)
    net = torch.nn.Linear(3, 2)
    model = Diffusion(lambda x, t, context: net(torch.cat([x, t[:, None]], 1)), shape=(2,))
    optimizer = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", max_iter=15)

    def closure():
        optimizer.zero_grad()
        loss = Regression(coupling=source)(model, Batch(x), Draw(0)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    start = source.pair(torch.zeros(512, 2), None, Draw(9))
    end = model.decode(start, solver=Euler(steps=50))
    torch.testing.assert_close(end.mean(0), x.mean(0), rtol=0, atol=0.1)
    assert ((end > 2.3) & (end < 4.7)).all()
    whole = model.path.mix(x, start, torch.ones(512))
    assert torch.equal(whole, start)

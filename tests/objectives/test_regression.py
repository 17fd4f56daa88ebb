"""Regression: its minimum is the posterior mean, on every path and prediction."""

import pytest
import torch
from torch import nn

from gaussian import PerfectNetwork
from laws.zoo_paths import PATHS, PREDICTIONS
from pushforward import paths
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap, LearnedNormal, Mixture, Model, Normal, Rows, StudentT
from pushforward.objectives import (
    Distillation,
    FlowMapMatching,
    Likelihood,
    Pairs,
    Regression,
    pairs,
    pairs_from,
    weightings,
)
from pushforward.solvers import Euler, Heun


def data(n=4096):
    return 0.3 + 0.5 * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Shifted(torch.nn.Module):
    def __init__(self, net, by):
        super().__init__()
        self.net, self.by, self.shape = net, by, net.shape

    def forward(self, x, t, context=None):
        return self.net(x, t, context) * (1 + self.by) + self.by


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_perfect_network_is_the_minimum(path, prediction):
    path, prediction = PATHS[path], PREDICTIONS[prediction]
    perfect = PerfectNetwork(path, prediction, 0.3, 0.5, (2,))
    batch, draw = Batch(data()), Draw(0, "train")
    losses = {
        by: Regression()(Diffusion(Shifted(perfect, by), path, prediction), batch, draw).mean().item()
        for by in (-0.1, 0.0, 0.1)
    }
    assert losses[0.0] < min(losses[-0.1], losses[0.1])


def test_loss_is_what_the_equation_says():
    path = paths.Linear()
    model = Diffusion(lambda x, t, context: torch.zeros_like(x), path, shape=(2,))
    x0, eps = data(64), data(64).flip(0)
    loss = Regression()(model, Batch(x0, eps=eps), Draw(0))
    torch.testing.assert_close(loss, (eps - x0).square().mean(1))
    same = Regression(weighting=weightings.In(paths.velocity))(model, Batch(x0, eps=eps), Draw(0))
    torch.testing.assert_close(same, loss)


def test_losses_split_by_sample():
    model = Diffusion(lambda x, t, context: x * t[:, None], shape=(2,))
    x = data(64)
    whole = Regression()(model, Batch(x), Draw(0, "train", step=3))
    part = Regression()(model, Batch(x[20:50]), Draw(0, "train", step=3, first=20))
    torch.testing.assert_close(part, whole[20:50])


def test_context_reaches_the_network():
    seen = []

    def net(x, t, context):
        seen.append(context)
        return x

    context = torch.arange(8)
    Regression()(Diffusion(net, shape=(2,)), Batch(data(8), context), Draw(0))
    assert torch.equal(seen[0], context)


def test_distillation_is_zero_exactly_for_a_perfect_jump():
    eps = data(32)
    x0 = 0.3 + 0.5 * eps
    straight = Diffusion(lambda x, t, context: eps - x0, shape=(2,))
    batch = Batch(x0, eps=eps)
    for steps in (1, 4):
        assert Distillation(steps)(straight, batch, Draw(0)).abs().max() < 1e-12
    off = Diffusion(lambda x, t, context: eps - x0 + 0.2, shape=(2,))
    torch.testing.assert_close(Distillation(1)(off, batch, Draw(0)), torch.full((32,), 0.04, dtype=torch.float64))
    huber = Distillation(1, loss="huber", c=0.1)(off, batch, Draw(0))
    torch.testing.assert_close(huber, torch.full((32,), 0.05**0.5 - 0.1, dtype=torch.float64))


def test_huber_is_what_the_equation_says_and_for_pairs_alone():
    model = Diffusion(lambda x, t, context: torch.zeros_like(x), shape=(2,))
    x0, eps = data(64), data(64).flip(0)
    square = (eps - x0).square().mean(1)
    torch.testing.assert_close(Regression(huber=0.1)(model, Batch(x0, eps=eps), Draw(0)), (square + 0.01).sqrt() - 0.1)
    small = Batch(x0, eps=x0 + 1e-4 * eps)  # where it is the square over 2 c
    torch.testing.assert_close(0.2 * Regression(huber=0.1)(model, small, Draw(0)), Regression()(model, small, Draw(0)))
    with pytest.raises(ConfigError, match="pairs of noise and data, for huber; got data alone"):
        Regression(huber=0.1)(model, Batch(x0), Draw(0))
    for c in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="huber above 0"):
            Regression(huber=c)


@pytest.mark.parametrize(("huber", "off"), [(None, 1.0), (0.01, 0.0)])
def test_huber_follows_what_most_pairs_say(huber, off):
    """A fifth of the pairs is torn to the other side, 5 away: the mean is 1 off, the loss's own minimum hardly."""
    eps = data(1000)[:, :1]
    x0 = eps - 2 + 5 * (torch.arange(1000) % 5 == 0)[:, None]
    by = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    model = Diffusion(lambda x, t, context: by + 0 * x, shape=(1,))
    adam = torch.optim.Adam([by], lr=0.05)
    for step in range(300):
        adam.zero_grad()
        Regression(huber=huber)(model, Batch(x0, eps=eps), Draw(0, "train", step)).mean().backward()
        adam.step()
    assert abs(2 - by.item() - off) < 0.02


def test_distillation_needs_pairs_and_a_diffusion():
    model = Diffusion(lambda x, t, context: x, shape=(2,))
    with pytest.raises(ValueError, match="got data alone"):
        Distillation()(model, Batch(data(4)), Draw(0))


def test_pairs_are_the_ends_of_the_models_trajectories_however_batched():
    net = PerfectNetwork(paths.Linear(), paths.velocity, 0.3, 0.5, (2,)).double()
    model = Diffusion(net)
    made = pairs(model, 100, Heun(steps=30), seed=4, batch=33)
    torch.testing.assert_close(made.x, 0.3 + 0.5 * made.eps, rtol=2e-3, atol=2e-3)
    assert torch.equal(made.eps, model.noise(100, seed=4))
    torch.testing.assert_close(pairs(model, 100, Heun(steps=30), seed=4, batch=100).x, made.x)
    real = pairs_from(model, data(10), Heun(steps=30))
    torch.testing.assert_close(real.eps, (data(10) - 0.3) / 0.5, rtol=5e-3, atol=5e-3)
    assert len(made + real) == 110


def test_pairs_serve_every_pair_once_an_epoch_and_split_by_rank():
    made = Pairs(torch.arange(10.0)[:, None], torch.arange(10.0)[:, None])
    stream = made.batches(4, Draw(0, "train"))
    batches = [next(stream) for _ in range(5)]
    assert sorted(torch.cat([b.x for b in batches[:3]]).flatten().tolist()[:10]) == list(range(10))
    assert all(torch.equal(b.x, b.eps) for b in batches)
    later = made.batches(4, Draw(0, "train"), start=3)
    assert torch.equal(next(later).x, batches[3].x)
    halves = [next(made.batches(4, Draw(0, "train"), start=2, rank=r, world=2)).x for r in (0, 1)]
    assert torch.equal(torch.cat(halves), batches[2].x)


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="as many data as noise ends"):
        Pairs(torch.zeros(3, 2), torch.zeros(4, 2))


def test_reflow_straightens_a_crossing_flow():
    """Two modes swapped by chance couplings: one regression on the model's own pairs, and one step suffices."""
    x = torch.sign(data(512)[:, :1] - 0.3) * 3
    torch.manual_seed(0)

    def fit(source, steps=300):
        net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(),
                                  torch.nn.Linear(64, 1)).double()  # fmt: skip
        model = Diffusion(lambda x, t, context: net(torch.cat([x, t[:, None]], 1)), shape=(1,))
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for step in range(steps):
            optimizer.zero_grad()
            Regression()(model, source(step), Draw(0, "train", step)).mean().backward()
            optimizer.step()
        return model

    first = fit(lambda step: Batch(x))
    noise = Draw(0, "law").normal(1024, (1,), torch.float64)
    made = Pairs(first.decode(noise, solver=Heun(steps=40)).detach(), noise)
    second = fit(lambda step: Batch(made.x, eps=made.eps))

    def bend(model):
        one, many = (model.decode(noise, solver=solver) for solver in (Euler(steps=1), Heun(steps=40)))
        return (one - many).square().mean().item()

    assert bend(second) < bend(first) / 5


def test_likelihood_is_minus_log_prob_per_dimension():
    net = PerfectNetwork(paths.Linear(), paths.velocity, 0.3, 0.5, (2,))
    model: Model = Diffusion(net)
    x = data(16)
    torch.testing.assert_close(Likelihood()(model, Batch(x), Draw(0)), -model.log_prob(x) / 2)


@pytest.mark.parametrize("coupling", [paths.Independent(), paths.OptimalTransport()])
@pytest.mark.parametrize("path", [paths.Linear(), paths.Cosine()])
@pytest.mark.parametrize(
    "own",
    [
        StudentT((2,), 3.0),
        Normal((2,), 2.0),
        Normal((2,), 1.0, torch.tensor([0.0, 5.0])),
        Rows.of(torch.tensor([[3.0, 1.0], [5.0, 2.0]])),
        LearnedNormal((2,)),
        Mixture((2,), 3),
    ],
)
def test_noise_is_drawn_from_where_samples_start(coupling, path, own):
    """A flow from another source must not be trained from N(0, 1): its samples start from what it never saw."""
    net, batch = torch.nn.Linear(2, 2), Batch(data(8).float())
    models = [(Diffusion(lambda x, t, context: net(x), path, shape=(2,), base=own), Regression)]
    if path == paths.Linear():
        models += [(FlowMap(lambda x, t, context, leap=None: net(x), shape=(2,), base=own), FlowMapMatching)]
    for model, objective in models:
        drawn, source = objective(coupling=coupling), paths.Source(torch.no_grad()(own.sample))
        if isinstance(coupling, paths.OptimalTransport):
            source = paths.OptimalTransport(source=source)
        assert torch.equal(drawn(model, batch, Draw(0)), objective(coupling=source)(model, batch, Draw(0)))
        drawn(model, batch, Draw(0)).sum().backward()  # which would shrink a base with weights to one point
        assert all(weight.grad is None for weight in model.base.parameters()) if isinstance(own, nn.Module) else True
        pairs = Batch(batch.x, eps=batch.x + 5)
        assert torch.equal(drawn(model, pairs, Draw(0)), objective(coupling=source)(model, pairs, Draw(0)))


@pytest.mark.parametrize("name", PATHS)
def test_noise_that_a_path_leaves_of_the_data_is_noise(name):
    """Whatever deviation its last time has, with the data's moments or without, and moved to other paths."""
    moments = {"data_mean": torch.tensor([1.0, -2.0]), "data_var": 4.0}
    for prediction in (paths.velocity, paths.eps):
        for told in ({}, moments):
            model = Diffusion(lambda x, t, context: x, PATHS[name], prediction, shape=(2,), **told)
            for each in (model, model.on(paths.Linear()), model.on(paths.VE()), model.matched(0.5, 2.0)):
                assert Regression()(each, Batch(data(8)), Draw(0)).isfinite().all()
            jumps = FlowMap.of(model)
            assert FlowMapMatching()(jumps, Batch(data(8)), Draw(0)).isfinite().all()


@pytest.mark.parametrize("own", [Normal((2,), 2.0), Normal((2,), 1.0, 5.0)])
def test_a_base_of_ones_own_on_a_path_that_leaves_some_of_the_data_is_refused(own):
    for path in (paths.VP(), paths.VE()):
        with pytest.raises(ConfigError, match=r"a path that ends at eps alone.*start from a Normal of deviation"):
            Regression()(Diffusion(lambda x, t, c: x, path, shape=(2,), base=own), Batch(data(8)), Draw(0))

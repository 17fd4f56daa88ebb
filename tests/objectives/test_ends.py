"""Pairs are in units of eps on every path: what is learned from them is the teacher's own map."""

import json
import math

import pytest
import torch

from gaussian import ExactMap
from laws.zoo_paths import PATHS
from pushforward import paths
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FlowMap, Normal, NormalizingFlow, gaussian
from pushforward.objectives import (
    Distillation,
    DistributionMatching,
    Ends,
    Imitation,
    Online,
    Pairs,
    Regression,
    pairs,
    pairs_from,
)
from pushforward.objectives.objective import Objective
from pushforward.solvers import DDIM, RK4
from pushforward.training import StoredPairs, store_pairs, store_real_pairs
from pushforward.transforms import Chain, DiagonalScale, Shift

MEAN, STD, N, SOLVER = 0.3, 0.5, 64, RK4(steps=100)


def teacher_on(path):
    return gaussian(MEAN, STD, path, shape=(2,))


def ends_of(path):
    """Alpha, sigma, mean and deviation of x_t at the first and the last time of the teacher on this path."""
    times = torch.tensor(teacher_on(path).span, dtype=torch.float64)
    c = path.coefficients(times)
    sd = (c.alpha.square() * STD**2 + c.sigma.square()).sqrt()
    return [tuple(each.item() for each in ends) for ends in zip(c.alpha, c.sigma, c.alpha * MEAN, sd)]


def map_of(path):
    """(A, B) of the teacher's exact map as x0 = A + B eps."""
    (_, _, first, sd_first), (alpha, sigma, last, sd_last) = ends_of(path)
    r = sd_first / sd_last
    return (first - r * last) / (1 - r * alpha), r * sigma / (1 - r * alpha)


class Kept(Objective):
    """Keeps the batches it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, batch, draw):
        self.seen.append(batch)
        return batch.x.flatten(1).mean(1)


def online(model, batch, real):
    kept = Kept()
    Online(kept, model, SOLVER, real)(model, batch, Draw(0, "train"))
    return kept.seen[0]


def stored(folder):
    found = next(StoredPairs.open(folder).batches(N, Draw(0)))
    return Pairs(found.x, found.eps)


def made(model, x, folder):
    """Pairs by each of the makers."""
    store_pairs(model, folder / "made", N, SOLVER, size=N)
    store_real_pairs(model, folder / "real", x, SOLVER, size=N)
    return {
        "pairs": pairs(model, N, SOLVER),
        "pairs_from": pairs_from(model, x, SOLVER),
        "store_pairs": stored(folder / "made"),
        "store_real_pairs": stored(folder / "real"),
        "online": online(model, Batch(x), 0.0),
        "online, real": online(model, Batch(x), 1.0),
    }


@pytest.mark.parametrize("name", PATHS)
def test_every_maker_of_pairs_gives_the_noise_end_in_units_of_eps(name, tmp_path):
    a, b = map_of(PATHS[name])
    x = MEAN + STD * Draw(2).normal(N, (2,), torch.float64)
    for maker, found in made(teacher_on(PATHS[name]), x, tmp_path).items():
        gap = (found.x - (a + b * found.eps)).abs().max().item()
        assert gap < 5e-3, maker
        assert found.eps.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.25), maker


class Reflowed(torch.nn.Module):
    """The velocity of a path between the ends of an affine map, as its v."""

    shape = (2,)

    def __init__(self, path):
        super().__init__()
        self.path, (self.a, self.b) = path, map_of(path)

    def forward(self, x, t, context=None):
        c = self.path.coefficients(t)
        x_t = x / paths.v.input_scale(c)[:, None]
        alpha, sigma = c.alpha[:, None], c.sigma[:, None]
        eps = (x_t - alpha * self.a) / (alpha * self.b + sigma)
        row = paths.v.row(c)
        return row.target(self.a + self.b * eps, eps) / row.scale[:, None]


@pytest.mark.parametrize("name", PATHS)
def test_a_reflowed_model_carries_noise_where_its_teacher_does(name):
    path = PATHS[name]
    teacher, student = teacher_on(path), Diffusion(Reflowed(path), path, paths.v)
    found = pairs(teacher, N, SOLVER)
    batch = Batch(found.x.double(), eps=found.eps.double())
    sigma_first = ends_of(path)[0][1]
    loss = Regression()(student, batch, Draw(0))
    assert loss.max() < 1e-6 * max(1.0, ends_of(path)[1][1] ** 2)
    again = student.sample(N, solver=SOLVER, seed=0)
    torch.testing.assert_close(again.double(), batch.x, rtol=0, atol=3e-3 + 4 * sigma_first)
    once = student.sample(N, solver=DDIM(steps=1), seed=0)
    torch.testing.assert_close(once.double(), batch.x, rtol=0, atol=3e-3 + 4 * sigma_first)
    jump = Distillation()(student, batch, Draw(0))
    assert jump.max() < 1e-6


@pytest.mark.parametrize("name", PATHS)
def test_a_flow_map_starts_where_its_teacher_does(name):
    """Made of the teacher, its noise is the straight line's through each pair; and its one jump is held there."""
    path = PATHS[name]
    teacher, found = teacher_on(path), pairs(teacher_on(path), N, SOLVER)
    student = FlowMap.of(teacher)
    starts = paths.Linear().mix(found.x, found.eps, torch.full((N,), student.span[1]))
    torch.testing.assert_close(starts, student.noise(N, seed=0), rtol=0, atol=1e-5)
    exact = FlowMap(ExactMap(MEAN, STD, (2,)), span=student.span, base=student.base, critic=teacher)
    free, held = (DistributionMatching(teacher, anchor=weight) for weight in (0.0, 1.0))
    batch = Batch(found.x.double(), eps=found.eps.double())
    missed = held(exact, batch, Draw(0, step=0)) - free(exact, batch, Draw(0, step=0))
    assert missed.abs().max() < 1e-3


@pytest.mark.parametrize("name", ["linear", "vp", "ve", "edm"])
def test_a_flow_imitates_the_teachers_map_of_standard_noise(name):
    path = PATHS[name]
    teacher, found = teacher_on(path), pairs(teacher_on(path), 256, SOLVER)
    (_, _, first, sd_first), (_, sigma, last, sd_last) = ends_of(path)
    flow = NormalizingFlow(Chain(Shift((2,)), DiagonalScale((2,))), Normal((2,))).double()
    with torch.no_grad():
        flow.chain[0].shift.fill_(sd_first / sd_last * last - first)
        flow.chain[1].log_scale.fill_(-math.log(sd_first / sd_last * sigma))
    batch = Batch(found.x.double(), eps=found.eps.double())
    for encode, decode in ((1.0, 0.0), (0.0, 1.0)):
        losses = Imitation(encode, decode, start=Ends.of(teacher))(flow, batch, Draw(0))
        assert losses.max() < 1e-5
    plain = Imitation()(flow, batch, Draw(0)).max()
    assert plain < 1e-5 if name == "linear" else plain > 1e-5


def test_noise_of_ones_own_on_the_straight_path_is_left_alone():
    model = gaussian(MEAN, STD, shape=(2,))
    model.base = Normal((2,), 0.1, 5.0)
    assert torch.equal(pairs(model, N, SOLVER).eps, model.noise(N, seed=0))
    flow = NormalizingFlow(Chain(Shift((2,))), Normal((2,), 0.1, 5.0))
    assert torch.equal(pairs(flow, N).eps, flow.noise(N, seed=0))


@pytest.mark.parametrize("name", ["vp", "ve", "edm"])
def test_pairs_of_an_earlier_release_are_not_mixed_with_new_ones(name, tmp_path):
    """Their plan says nothing of the ends."""
    model, x = teacher_on(PATHS[name]), torch.zeros(8, 2)
    for place in ("old", "new"):
        store_pairs(model, tmp_path / place, 8, SOLVER, size=8)
    plan = tmp_path / "old" / "plan.json"
    before = json.loads(plan.read_text())
    assert before.pop("ends") == list(Ends.of(model))
    plan.write_text(json.dumps(before))
    with pytest.raises(ConfigError, match=r"units of eps; got .* of an earlier release.*failures\.md"):
        store_pairs(model, tmp_path / "old", 8, SOLVER, size=8)
    with pytest.raises(ConfigError, match=r"in the same units; got .*ends = None.*Make them all again"):
        StoredPairs.open(tmp_path / "old", tmp_path / "new")
    store_real_pairs(model, tmp_path / "real", x, SOLVER, size=8)
    assert len(StoredPairs.open(tmp_path / "new", tmp_path / "real")) == 16


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_pairs_of_an_earlier_release_go_on_where_their_units_were_right(name, tmp_path):
    store_pairs(teacher_on(PATHS[name]), tmp_path, 8, SOLVER, size=4)
    assert "ends" not in json.loads((tmp_path / "plan.json").read_text())

"""Rows of data as a base: drawn fairly, of the class asked for, kept and not trained; where flows from them lead."""

import pytest
import torch
from torch.testing import assert_close

from pushforward._errors import ConfigError, ShapeError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import (
    Diffusion,
    FlowMap,
    ModelBase,
    Normal,
    Rows,
    StudentT,
    guided,
    likelihood,
    tempered,
    truncated,
)
from pushforward.nets import MLP
from pushforward.objectives import Pairs, Regression
from pushforward.paths import VE, Linear, Source
from pushforward.solvers import RK4, Ancestral, DPMSolver, PredictorCorrector
from pushforward.training import train

FIVE = torch.arange(10.0).reshape(5, 2)


def test_every_row_is_as_likely_as_any_other():
    x = Rows.of(FIVE).sample(20_000, Draw(0))
    count = torch.stack([(x == row).all(1).sum() for row in FIVE])
    assert count.sum() == 20_000
    assert (count - 4_000).abs().max() < 5 * (20_000 * 0.2 * 0.8) ** 0.5


def test_a_class_draws_its_own_rows_and_none_draws_any():
    label = torch.tensor([2, 0, 1, 0, 2])
    base = Rows.of(FIVE, label, classes=3)
    asked = torch.arange(3).repeat_interleave(2_000)
    x = base.sample(len(asked), Draw(0), asked)
    found = {c: {tuple(row) for row in x[asked == c].tolist()} for c in range(3)}
    assert found == {c: {tuple(row) for row in FIVE[label == c].tolist()} for c in range(3)}
    whole = base.sample(1_000, Draw(0))
    assert len({tuple(row) for row in whole.tolist()}) == 5
    assert torch.equal(base.sample(1_000, Draw(0), torch.full((1_000,), 3)), whole)  # index 3 of 3 is "no class"


def test_a_draw_is_a_function_of_its_index():
    base = Rows.of(FIVE)
    assert torch.equal(base.sample(9, Draw(4))[5:], base.sample(4, Draw(4, first=5)))
    field = Diffusion(lambda x, t, c: 0 * x, shape=(2,), base=base)
    assert torch.equal(field.sample(3, seed=1), base.sample(3, Draw(1, "sample")))


def test_rows_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="one row or more"):
        Rows((2,), 0)
    with pytest.raises(ConfigError, match=r"a row of each of 3 classes.*none of \[1\]"):
        Rows.of(FIVE, torch.tensor([0, 0, 2, 2, 0]), classes=3)
    with pytest.raises(ConfigError, match="a row of each of 2 classes"):
        Rows.of(FIVE, classes=2)


def test_rows_that_would_be_drawn_wrongly_are_refused_at_once():
    for rows in (torch.arange(4).reshape(2, 2), torch.tensor([[0.0, float("nan")]]), FIVE.numpy()):
        with pytest.raises(ConfigError, match="rows of finite floats"):
            Rows.of(rows)
    for strange in (-1, 2):
        with pytest.raises(ConfigError, match=rf"and \[{strange}\] beyond"):
            Rows.of(FIVE, torch.tensor([0, 1, 0, 1, strange]), 2)
    with pytest.raises(ShapeError, match=r"a base of events \(3,\)"):
        Diffusion(MLP((3,), hidden=4, layers=1), base=Rows.of(FIVE))


def test_what_needs_a_density_or_noise_is_refused():
    model = Diffusion(lambda x, t, c: 0 * x, shape=(2,), base=Rows.of(FIVE))
    assert not model.base.has_density
    assert not ModelBase(model).has_density
    for call in (model.log_prob, lambda x: model.as_flow().log_prob(x), lambda x: likelihood(model, x)):
        with pytest.raises(ConfigError, match="a base with a density"):
            call(torch.zeros(1, 2))
    for change in (tempered, truncated):
        with pytest.raises(ConfigError, match="starts from normal noise; got a Rows"):
            change(model, 0.5)


def test_noise_on_the_way_is_refused_where_samples_start_from_something_else():
    """The reverse SDE is that of noise; from other starts it ends elsewhere than the ODE, and nobody would know."""
    for base in (Rows.of(torch.ones(2, 1)), StudentT((1,)), Normal((1,), 2.0)):
        model = Diffusion(lambda x, t, c: 0 * x, shape=(1,), base=base)
        for solver in (Ancestral(3), DPMSolver(3, eta=1.0), PredictorCorrector(3)):
            with pytest.raises(ConfigError, match="adds N"):
                model.sample(2, solver=solver, seed=0)
        model.sample(2, solver=DPMSolver(3), seed=0)
    noise = Diffusion(lambda x, t, c: 0 * x, shape=(1,))
    told = Diffusion(lambda x, t, c: 0 * x, VE(), shape=(1,), data_mean=3.0, data_var=2.0)
    for fine in (noise, truncated(noise, 2.0), told, guided(told, 2.0)):
        assert fine.sample(2, solver=Ancestral(3), seed=0).isfinite().all()


def test_rows_are_saved_and_not_trained():
    torch.manual_seed(0)
    model = Diffusion(MLP((2,), hidden=8, layers=1), base=Rows.of(FIVE))
    train(
        model, Pairs(torch.randn(64, 2), FIVE.repeat(13, 1)[:64]), Regression(), steps=20, progress=False, device="cpu"
    )
    assert torch.equal(model.base.rows, FIVE)
    again = Diffusion(MLP((2,), hidden=8, layers=1), base=Rows((2,), 5))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.sample(6, seed=0), model.sample(6, seed=0))


class Between(torch.nn.Module):
    """E[eps - x0 | x_t] of independent normals x0 ~ N(0.3, 0.5**2) and eps ~ N(2, 0.8**2), made wrong by `off`."""

    shape = (1,)

    def __init__(self) -> None:
        super().__init__()
        self.off = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x, t, context=None):
        t = t[:, None]
        mean, var = (1 - t) * 0.3 + t * 2, (1 - t) ** 2 * 0.25 + t**2 * 0.64
        slope = (t * 0.64 - (1 - t) * 0.25) / var
        return 1.7 + self.off[0] + (slope + self.off[1]) * (x - mean)


def test_the_minimum_is_the_flow_from_the_rows_to_the_data():
    """The closed form for normals is where the gradient vanishes, and its ODE carries the rows to the data."""
    rows, n = 2 + 0.8 * Draw(0, "rows").normal(40_000, (1,), torch.float64), 100_000
    x = 0.3 + 0.5 * Draw(0, "data").normal(n, (1,), torch.float64)
    net = Between()
    model = Diffusion(net, base=Rows.of(rows))
    loss = Regression()(model, Batch(x), Draw(0))
    (at,) = torch.autograd.grad(loss.mean(), net.off)
    with torch.no_grad():
        net.off += 0.1
    (away,) = torch.autograd.grad(Regression()(model, Batch(x), Draw(0)).mean(), net.off)
    assert at.abs().max() < 0.02  # five standard errors of a mean over the rows and the data
    assert (away > 0.03).all()
    with torch.no_grad():
        net.off.zero_()
        moved = model.sample(20_000, solver=RK4(steps=20), seed=0)
    assert_close(torch.stack([moved.mean(), moved.std()]), torch.tensor([0.3, 0.5]).double(), atol=0.02, rtol=0)


def test_flow_maps_and_other_paths_start_from_the_same_rows():
    base = Rows.of(FIVE)
    teacher = Diffusion(MLP((2,), hidden=8, layers=1), base=base)
    jumps = FlowMap.of(teacher)
    assert torch.equal(jumps.noise(7, seed=2), teacher.noise(7, seed=2))
    assert jumps.base is not base  # a copy, as of all weights
    with pytest.raises(ValueError, match="equal signal-to-noise ratio"):
        teacher.on(VE())


def test_the_coupling_of_the_same_rows_draws_the_same():
    x = torch.zeros(50, 2)
    assert torch.equal(Source(FIVE).pair(x, None, Draw(3)), Rows.of(FIVE).sample(50, Draw(3)))
    label, asked = torch.tensor([0, 1, 1, 0, 1]), torch.arange(50) % 2
    drawn = Source(FIVE, label).pair(x, asked, Draw(3))
    assert torch.equal(drawn, Rows.of(FIVE, label, 2).sample(50, Draw(3), asked))
    assert Linear().mix(x, drawn, torch.ones(50)).equal(drawn)

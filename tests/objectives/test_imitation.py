"""A flow learns an ODE's map from its ends, keeps its exact likelihood, and serves as the start of another ODE."""

import pytest
import torch

from pushforward import models
from pushforward._errors import ConfigError, ShapeError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, ModelBase, Normal, NormalizingFlow, real_nvp, tarflow
from pushforward.objectives import Imitation, pairs
from pushforward.solvers import RK4
from pushforward.transforms import Chain, DiagonalScale, Shift

MEAN, STD = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([0.4, 2.0], dtype=torch.float64)
SOLVER = RK4(steps=40)


def affine():
    return NormalizingFlow(Chain(Shift((2,)), DiagonalScale((2,))), Normal((2,))).double()


def learned(flow, objective, data, steps=300, lr=0.05):
    optimizer = torch.optim.Adam(flow.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, batch in zip(range(steps), data.batches(256, Draw(0, "data"))):
        optimizer.zero_grad()
        objective(flow, batch, Draw(0, "train", step)).mean().backward()
        optimizer.step()
        schedule.step()
    return flow


@pytest.mark.parametrize(
    ("objective", "close"),
    [(Imitation(), 3e-3), (Imitation(0, 1), 3e-3), (Imitation(1, 1), 3e-3), (Imitation(likelihood=1), 0.15)],
    ids=["encode", "decode", "both", "likelihood"],
)
def test_the_minimiser_is_the_teachers_map(objective, close):
    """Normal data: the ODE is affine, and a flow that can be affine becomes it, with the data's own density.

    Pairs determine the map exactly; likelihood sees 2,048 ends, whose moments are off by a few hundredths.
    """
    teacher = models.gaussian(MEAN, covariance=torch.diag(STD**2))
    flow = learned(affine(), objective, pairs(teacher, 2048, SOLVER))
    z = Draw(3, "z").normal(64, (2,), torch.float64)
    x = teacher.decode(z, solver=SOLVER)
    torch.testing.assert_close(flow.decode(z), x, atol=close, rtol=0)
    known = torch.distributions.Independent(torch.distributions.Normal(MEAN, STD), 1).log_prob(x)
    torch.testing.assert_close(flow.log_prob(x), known, atol=5 * close, rtol=0)


def test_couplings_come_near_a_ring():
    torch.manual_seed(0)
    teacher = models.ring(3, 1.5, 0.4)
    made = pairs(teacher, 4096, SOLVER)
    made = type(made)(made.x.float(), made.eps.float())
    flow = learned(real_nvp((2,), couplings=6, hidden=32), Imitation(1, 1), made, steps=200, lr=8e-3)
    z = Draw(3, "z").normal(512, (2,))
    with torch.no_grad():
        error = (flow.decode(z) - teacher.decode(z.double(), solver=SOLVER)).square().mean().sqrt()
        spread = teacher.decode(z.double(), solver=SOLVER).std()
    assert error < 0.3 * spread


def test_a_transformer_flow_learns_to_encode_as_an_ode_does_and_knows_its_density():
    """Four correlated numbers: the encodings are the ODE's, and with them the log-density is the data's, which no loss
    has named."""
    torch.manual_seed(0)
    root = torch.eye(4) + 0.5 * torch.diag(torch.ones(3), -1)
    teacher = models.gaussian(torch.zeros(4, 1), covariance=root @ root.mT / 2)
    made = pairs(teacher, 2048, RK4(steps=10))
    flow = tarflow((4, 1), transforms=2, width=16, layers=1, heads=2)
    flow = learned(flow, Imitation(encode=1), type(made)(made.x.float(), made.eps.float()), steps=150, lr=1e-2)
    fresh = pairs(teacher, 256, RK4(steps=10), seed=5)
    x = fresh.x.float()
    with torch.no_grad():
        encoded, density = flow.encode(x), flow.log_prob(x)
    known = torch.distributions.MultivariateNormal(torch.zeros(4), root @ root.mT / 2).log_prob(x[..., 0])
    assert (encoded - fresh.eps).square().mean().sqrt() < 0.1
    assert (density - known).abs().mean() < 0.2
    torch.testing.assert_close(flow.decode(encoded), x, rtol=1e-3, atol=1e-3)


def test_a_flow_is_the_start_of_another_ode():
    """The density of the whole is the flow's, pushed on; an ODE that stands still changes nothing."""
    torch.manual_seed(0)
    rough = affine()
    with torch.no_grad():
        for parameter in rough.parameters():
            parameter.normal_()
    still = Diffusion(lambda x, t, c: 0 * x, shape=(2,), base=ModelBase(rough))
    x = still.sample(5, seed=4)
    torch.testing.assert_close(x, ModelBase(rough).sample(5, Draw(4, "sample")))
    torch.testing.assert_close(still.log_prob(x, solver=SOLVER), rough.log_prob(x))
    moving = Diffusion(lambda x, t, c: -0.5 * x, shape=(2,), base=ModelBase(rough))
    torch.testing.assert_close(
        moving.log_prob(x, solver=SOLVER), rough.log_prob(x * torch.tensor(-0.5).exp()) - 1.0, rtol=1e-6, atol=1e-6
    )
    source = ModelBase(rough).source()
    torch.testing.assert_close(source.pair(x, None, Draw(1)), ModelBase(rough).sample(5, Draw(1)))
    assert not any(parameter.requires_grad for parameter in moving.base.parameters())


def test_mistakes():
    with pytest.raises(ShapeError, match="paired noise"):
        Imitation()(affine(), Batch(torch.zeros(2, 2)), Draw(0))
    with pytest.raises(ConfigError, match="NormalizingFlow"):
        Imitation()(models.gaussian(shape=(2,)), Batch(torch.zeros(2, 2), eps=torch.zeros(2, 2)), Draw(0))
    with pytest.raises(ConfigError, match="above"):
        Imitation(encode=0.0)

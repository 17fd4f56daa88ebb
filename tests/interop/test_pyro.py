"""Flows within Pyro: samples in plates, densities in traces, gradients through samples, and inference."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.interop import to_pyro
from pushforward.models import maf, real_nvp

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def pyro():
    made = pytest.importorskip("pyro", reason="pyro-ppl is not installed")
    made.clear_param_store()
    torch.manual_seed(0)
    return made


def flow(context=2):
    torch.manual_seed(1)
    return real_nvp((3,), couplings=2, hidden=8, context=context, zero_output=False)


@pytest.mark.parametrize("shape", [(5,), (4, 5)])
def test_a_sample_in_plates_has_the_density_of_the_flow(pyro, shape):
    """One context each, and more samples than contexts: plates expand the distribution."""
    made, c = flow(), torch.randn(5, 2)

    def model():
        with pyro.plate_stack("rows", shape):
            pyro.sample("x", to_pyro(made.distribution(c)).to_event(0))

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    x = trace.nodes["x"]["value"]
    assert x.shape == (*shape, 3)
    wanted = made.log_prob(x.reshape(-1, 3), c.expand(*shape, 2).reshape(-1, 2)).reshape(shape)
    assert_close(trace.nodes["x"]["log_prob"], wanted)


def test_without_a_context_a_plate_makes_the_batch(pyro):
    made = flow(context=0)
    with pyro.plate("rows", 7):
        x = pyro.sample("x", to_pyro(made.distribution()))
    assert x.shape == (7, 3)
    assert len(x.unique(dim=0)) == 7


def test_observations_are_scored(pyro):
    made, c, x = flow(), torch.randn(5, 2), torch.randn(5, 3)

    def model():
        with pyro.plate("rows", 5):
            pyro.sample("x", to_pyro(made.distribution(c)), obs=x)

    trace = pyro.poutine.trace(model).get_trace()
    assert_close(trace.log_prob_sum(), made.log_prob(x, c).sum())


def test_gradients_flow_through_samples(pyro):
    made, c = flow(), torch.randn(5, 2, requires_grad=True)
    x = pyro.sample("x", to_pyro(made.distribution(c)).to_event(1))
    (by_context,) = torch.autograd.grad(x.square().sum(), c)
    assert by_context.isfinite().all()
    assert by_context.abs().sum() > 0


def test_a_flow_is_the_guide_of_a_posterior(pyro):
    """z ~ N(0, 1), y | z ~ N(z, 1): given y = 2 the posterior is N(1, 1/2), which the flow finds."""
    torch.manual_seed(2)
    guide_flow = maf((1,), transforms=1, hidden=8)

    def model():
        z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("y", pyro.distributions.Normal(z, 1.0).to_event(1), obs=torch.tensor([2.0]))

    def guide():
        pyro.module("flow", guide_flow)
        pyro.sample("z", to_pyro(guide_flow.distribution()))

    loss = pyro.infer.Trace_ELBO(num_particles=32, vectorize_particles=True)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss)
    for _ in range(150):
        svi.step()
    x = guide_flow.sample(4000, seed=0)
    assert_close(x.mean(), torch.tensor(1.0), rtol=0, atol=0.1)
    assert_close(x.var(), torch.tensor(0.5), rtol=0, atol=0.1)

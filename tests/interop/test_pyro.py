"""Flows within Pyro: samples in plates, densities in traces, gradients through samples, and inference."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.interop import to_pyro
from pushforward.models import Mixture, NormalizingFlow, maf, real_nvp
from pushforward.transforms import Shift

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


def test_nested_plates_have_a_context_for_each_of_their_rows(pyro):
    made, c = flow(), torch.randn(4, 5, 2)

    def model():
        with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 5, dim=-1):
            return pyro.sample("x", to_pyro(made.distribution(c)))

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    x = trace.nodes["x"]["value"]
    assert x.shape == (4, 5, 3)
    assert_close(trace.nodes["x"]["log_prob"], made.log_prob(x.reshape(20, 3), c.reshape(20, 2)).reshape(4, 5))


def test_classes_are_enumerated(pyro):
    """A mixture of the flow's classes: the evidence is the sum over all, which Pyro finds class by class."""
    torch.manual_seed(1)
    made, x = real_nvp((3,), 2, 8, classes=3, zero_output=False), torch.randn(5, 3)
    shares = torch.tensor([0.2, 0.3, 0.5])

    def model():
        with pyro.plate("rows", 5):
            k = pyro.sample("k", pyro.distributions.Categorical(shares), infer={"enumerate": "parallel"})
            pyro.sample("x", to_pyro(made.distribution(k)), obs=x)

    loss = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1).loss(model, lambda: None)
    each = torch.stack([made.log_prob(x, torch.full((5,), k)) for k in range(3)])
    assert loss == pytest.approx(-(shares.log()[:, None] + each).logsumexp(0).sum().item(), rel=1e-5)


def test_the_weights_of_a_mixture_are_learned_by_the_score_function(pyro):
    """Draws do not follow them: a gradient through samples would be 0 of 7.5."""
    made = NormalizingFlow(Shift((1,)), Mixture((1,), 2))
    with torch.no_grad():
        made.base.mean.copy_(torch.tensor([[-5.0], [5.0]]))

    def model():
        pyro.sample("z", pyro.distributions.Normal(torch.full((1,), 3.0), 1.0).to_event(1))

    def guide():
        pyro.module("flow", made)
        pyro.sample("z", to_pyro(made.distribution()))

    guess = pyro.infer.Trace_ELBO(num_particles=4000, vectorize_particles=True)
    guess.loss_and_grads(model, guide)
    line = torch.linspace(-15, 15, 6001)[:, None]
    log_q = made.log_prob(line)
    gap = log_q - torch.distributions.Normal(3.0, 1.0).log_prob(line[:, 0])
    (wanted,) = torch.autograd.grad((log_q.exp() * gap).sum() * 0.005, made.base.raw_weight)
    assert wanted[0].item() == pytest.approx(7.5, abs=0.01)
    assert_close(made.base.raw_weight.grad, wanted, rtol=0, atol=2.0)


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

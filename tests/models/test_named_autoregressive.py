"""Named flows: what their papers say they are, one pass in the direction of their formula, a start from data."""

import pytest
import torch
from torch.testing import assert_close

from pushforward import PushforwardError
from pushforward import transforms as T
from pushforward.data.batch import Batch
from pushforward.models import named_autoregressive as A
from pushforward.models.ffjord import ffjord
from pushforward.models.flow import prepare
from pushforward.models.gaussianize import gaussianize
from pushforward.models.tarflow import tarflow
from pushforward.solvers import RK4


def calls_of(flow, action):
    """How often the masked networks were called as a whole."""
    count = [0]
    nets = [module for module in flow.modules() if type(module).__name__ == "MaskedDense"]
    handles = [net.products.register_forward_hook(lambda *_: count.__setitem__(0, count[0] + 1)) for net in nets]
    with torch.no_grad():
        action(flow)
    for handle in handles:
        handle.remove()
    return count[0] / len(nets)


def test_a_network_is_called_once_in_the_direction_of_the_formula():
    """Twice in TFP's MAF (tensorflow/probability#54), D times for samples elsewhere."""
    maf, iaf = A.maf((6,), 3, 16), A.iaf((6,), 3, 16)
    x = torch.randn(4, 6)
    assert calls_of(maf, lambda flow: flow.log_prob(x)) == 1
    assert calls_of(iaf, lambda flow: flow.sample(4)) == 1
    assert calls_of(iaf, lambda flow: flow.rsample_and_log_prob(4)) == 1
    assert calls_of(maf, lambda flow: flow.sample(4)) == 1  # the certificate


COMPILED = {
    "maf": lambda: A.maf((4,), 2, 8),
    "nsf": lambda: A.nsf_autoregressive((4,), 2, 8, 1),
    "naf": lambda: A.naf((3,), 1, 8),
    "umnn": lambda: A.umnn((3,), 1, 8, units=4),
    "sos": lambda: A.sos((3,), 1, 8),
    "bernstein": lambda: A.bernstein((3,), 1, 8),
    "bnaf": lambda: A.bnaf((3,), 1, 4),
    "planar": lambda: A.planar((3,), 2),
    "tarflow": lambda: tarflow((1, 4, 4), 1, 8, 1, 2, patch=2),
}


@pytest.mark.parametrize("name", COMPILED)
def test_likelihoods_are_one_graph(name):
    flow, x = COMPILED[name](), torch.randn(3, *COMPILED[name]().shape)
    torch._dynamo.reset()
    compiled = torch.compile(flow.log_prob, backend="eager", fullgraph=True)
    assert_close(compiled(x), flow.log_prob(x))


def test_iaf_is_maf_turned_round():
    torch.manual_seed(0)
    maf = A.maf((3,), 1, 8)
    for parameter in maf.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    iaf = A.iaf((3,), 1, 8)
    iaf.load_state_dict({k.replace("chain.transforms.2", "chain.transforms.2.transform"): v for k, v in
                         maf.state_dict().items()})  # fmt: skip
    x = torch.randn(4, 3)
    assert_close(iaf.chain[2].decode(x), maf.chain[2].encode(x))


def test_orders_alternate_or_are_drawn():
    orders = [step.conditioner.order.tolist() for step in A.maf((4,), 3, 8).chain if isinstance(step, T.Autoregressive)]
    assert orders == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    drawn = [A.maf((9,), 1, 16, seed=seed).chain[2].conditioner.order.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("make", [A.maf, A.nsf_autoregressive, A.bnaf, A.planar], ids=lambda f: f.__name__)
def test_training_lowers_the_loss_in_a_few_steps(make):
    torch.manual_seed(0)
    x = torch.randn(256, 2)
    x[:, 1] += x[:, 0] ** 2
    flow = prepare(make((2,), 2), Batch(x))
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05


def test_a_flow_fitted_without_gradients_beats_a_normal():
    def crescents(n, seed):
        g = torch.Generator().manual_seed(seed)
        angle, side = 3.14 * torch.rand(n, generator=g), torch.rand(n, generator=g) < 0.5
        x = torch.stack(
            [torch.where(side, angle.cos(), 1 - angle.cos()), torch.where(side, angle.sin(), 0.5 - angle.sin())], 1
        )
        return x + 0.1 * torch.randn(n, 2, generator=g)

    x, held_out = crescents(1000, 0), crescents(1000, 1)
    flow = gaussianize(x, transforms=8)
    normal = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    with torch.no_grad():
        assert flow.log_prob(held_out).mean() > normal.log_prob(held_out).mean() + 0.4
        z = flow.encode(held_out)
    assert_close(z.T.cov(), torch.eye(2), rtol=0, atol=0.15)


def test_what_cannot_be_is_refused():
    with pytest.raises(PushforwardError, match="context or classes"):
        A.maf((2,), 1, 8, context=1, classes=2)
    with pytest.raises(PushforwardError, match="a transform at least"):
        A.maf((2,), 0)
    with pytest.raises(PushforwardError, match="'encode' or 'decode'"):
        A.planar((2,), formula="both")
    with pytest.raises(PushforwardError, match="no context"):
        A.gaussianization((2,), context=2)
    with pytest.raises(PushforwardError, match="more rows than components"):
        gaussianize(torch.randn(4, 2))


@pytest.mark.parametrize("probes", [0, 2])
def test_ffjord_has_the_gradients_of_the_whole_graph_without_keeping_it(probes):
    torch.manual_seed(0)
    model = ffjord((3,), hidden=16, probes=probes).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(4, 3).double()
    grads = []
    for trace in (model.trace, model.trace.trace):
        model.trace = trace
        grads.append(torch.autograd.grad(model.log_prob(x).sum(), list(model.parameters())))
    for checkpointed, whole in zip(*grads):
        assert_close(checkpointed, whole, rtol=1e-12, atol=1e-12)


def test_ffjord_learns_by_likelihood():
    torch.manual_seed(0)
    x = 2.0 + 0.5 * torch.randn(64, 2)
    model = ffjord((2,), hidden=8, solver=RK4(steps=3))
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    before = -model.log_prob(x).mean()
    for _ in range(12):
        optimizer.zero_grad()
        loss = -model.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    assert loss < before - 0.4


def test_sums_of_squares_train_on_data_with_far_numbers():
    """Polynomials of degree 9, thrice over: an update that moved every power alike threw them to infinity."""
    torch.manual_seed(0)
    x = 3 * torch.randn(256, 16) * torch.rand(256, 16)
    flow = prepare(A.sos((16,), 3, 64), Batch(x))
    optimizer, losses = torch.optim.Adam(flow.parameters(), 2e-3), list[float]()
    for _ in range(15):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) < losses[0] + 1
    assert losses[-1] < losses[0] - 1

"""Named flows: what their papers say they are, one pass in the direction of their formula, a start from data."""

import inspect
import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from pushforward import transforms as T
from pushforward._errors import ConfigError, DataError, PushforwardError
from pushforward.data.batch import Batch
from pushforward.models import named_autoregressive as A
from pushforward.models import named_free_forms as F
from pushforward.models.ffjord import ffjord
from pushforward.models.flow import prepare
from pushforward.models.gaussianize import gaussianize
from pushforward.models.named import nice, real_nvp
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, flowpp, nsf
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
    "planar": lambda: F.planar((3,), 2),
    "radial": lambda: F.radial((3,), 2),
    "sylvester": lambda: F.sylvester((3,), 2),
    "real_nvp": lambda: real_nvp((3,), 2, 8),
    "nsf-image": lambda: nsf((1, 2, 2), 2, 8, 1),
    "circular": lambda: circular((3,), 2, 8),
    "flowpp": lambda: flowpp((3,), 2, 8),
    "glow": lambda: glow((1, 4, 4), 1, 1, 8),
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


@pytest.mark.parametrize("make", [A.maf, A.nsf_autoregressive, A.bnaf, F.planar], ids=lambda f: f.__name__)
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


NAMED = [
    A.maf, A.iaf, A.nsf_autoregressive, A.naf, A.umnn, A.sos, A.bernstein, A.bnaf, F.planar, F.radial, F.sylvester,
    F.gaussianization, F.residual_flow,
]  # fmt: skip
every_named = pytest.mark.parametrize("make", NAMED, ids=lambda f: f.__name__)


@every_named
def test_unknown_options_are_refused_with_the_nearest_known_one(make):
    with pytest.raises(ConfigError, match=f"an option of {make.__name__}; got 'contxt'. Did you mean 'context'"):
        make((4,), contxt=3)
    with pytest.raises(ConfigError, match=r"got 'transform'. Did you mean 'transforms'"):
        make((4,), transform=3)
    with pytest.raises(ConfigError, match="got 'base'"):
        make((4,), base="logistic")


@pytest.mark.parametrize("make", NAMED[7:], ids=lambda f: f.__name__)
@pytest.mark.parametrize("word", ["seed", "dropout", "passes", "matrix", "adjacency"])
def test_options_of_masked_networks_are_refused_by_flows_without_one(make, word):
    with pytest.raises(ConfigError, match=f"got '{word}'"):
        make((4,), **{word: 1})


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)], ids=str)
@pytest.mark.parametrize("make", [*NAMED, nice, real_nvp, nsf, circular, flowpp, ffjord], ids=lambda f: f.__name__)
def test_events_of_no_numbers_are_refused(make, shape):
    with pytest.raises(ConfigError, match="sizes of 1 or more"):
        make(shape)
    with pytest.raises(ConfigError, match="sizes of 1 or more"):
        gaussianize(torch.zeros(50, *shape))


def test_a_signature_is_still_that_of_the_function():
    assert list(inspect.signature(A.maf).parameters) == ["shape", "transforms", "hidden", "layers", "bound", "options"]


CHAIN = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
"""0 -> 1 -> 2, and 3 alone."""
ANCESTORS = CHAIN | (CHAIN.float() @ CHAIN.float() > 0)


def jacobian(call, n):
    return torch.autograd.functional.jacobian(lambda x: call(x[None])[0], torch.randn(n))


@pytest.mark.parametrize("formula", ["encode", "decode"])
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: A.maf((4,), hidden=16, **o),
        lambda **o: A.nsf_autoregressive((2, 2), hidden=16, layers=1, bins=4, **o),
        lambda **o: A.naf((4,), hidden=16, **o),
        lambda **o: A.sos((4,), hidden=16, **o),
        lambda **o: A.bernstein((4,), hidden=16, **o),
    ],
    ids=["maf", "nsf", "naf", "sos", "bernstein"],
)
def test_the_jacobian_is_zero_where_the_graph_is(make, formula):
    torch.manual_seed(0)
    for graph, transforms in ((CHAIN, 1), (ANCESTORS, 3)):
        flow = make(transforms=transforms, adjacency=graph, formula=formula)
        for parameter in flow.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        call = flow.encode if formula == "encode" else flow.decode
        dependent = jacobian(lambda x, c=call, s=flow.shape: c(x.reshape(-1, *s)).flatten(1), 4) != 0
        assert torch.equal(dependent, graph | torch.eye(4).bool())


def test_graphs_that_other_options_contradict_are_refused():
    for contradiction in ({"passes": 2}, {"seed": 0}, {"matrix": True}):
        with pytest.raises(ConfigError, match=f"an adjacency alone; got {next(iter(contradiction))} besides"):
            A.maf((4,), 1, 8, adjacency=CHAIN, **contradiction)
    with pytest.raises(ConfigError, match="5 transforms of a graph that lacks 1 ways"):
        A.maf((4,), hidden=8, adjacency=CHAIN)
    with pytest.raises(ConfigError, match="without cycles"):
        A.maf((2,), 1, 8, adjacency=~torch.eye(2).bool())
    with pytest.raises(ConfigError, match=r"an adjacency \[3, 3\]"):
        A.maf((3,), 1, 8, adjacency=CHAIN)


def test_a_polynomial_flow_as_shipped_loses_no_noise_and_no_mass():
    """A clip between its transforms piled a fifth of all samples up at 3,692."""
    torch.manual_seed(0)
    flow = A.sos((2,))
    z = flow.noise(300, 0)
    with torch.no_grad():
        x = flow.decode(z)
        assert_close(flow.encode(x), z, rtol=0, atol=1e-4)
    assert x.abs().max() < 10
    report = flow.audit(torch.randn(300, 2))
    assert report.ok, str(report)


@pytest.mark.parametrize("bound", [1.0, 2.5, 5.0])
def test_a_polynomial_flow_starts_as_the_identity_for_numbers_to_three_times_its_bound(bound):
    flow, x = A.sos((3,), 4, 8, bound=bound), bound * (6 * torch.rand(100, 3) - 3)
    assert_close(flow.encode(x), x, rtol=0.04, atol=0.01)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("make", [A.sos, A.bernstein])
def test_impossible_bounds_are_refused(make, bound):
    with pytest.raises(ConfigError, match=r"and a bound above 0; got .*suit most"):
        make((2,), 1, 8, bound=bound)


def test_an_ode_reads_classes():
    torch.manual_seed(0)
    flow, x = ffjord((2,), hidden=8, classes=3), torch.randn(3, 2)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    each = [flow.log_prob(x, torch.full((3,), k)) for k in range(4)]
    assert torch.equal(each[3], flow.log_prob(x))
    assert all(not torch.allclose(a, b) for a, b in itertools.combinations(each, 2))
    assert flow.sample(3, torch.tensor([0, 1, 2]), seed=0).isfinite().all()
    with pytest.raises(ConfigError, match="context or classes"):
        ffjord((2,), context=1, classes=2)
    with pytest.raises(PushforwardError, match=r"class indices \[batch\]"):
        flow.log_prob(x, torch.zeros(3, 2))


def test_what_cannot_be_is_refused():
    with pytest.raises(PushforwardError, match="context or classes"):
        A.maf((2,), 1, 8, context=1, classes=2)
    with pytest.raises(PushforwardError, match="a transform at least"):
        A.maf((2,), 0)
    with pytest.raises(PushforwardError, match="'encode' or 'decode'"):
        F.planar((2,), formula="both")
    for told in ({"context": 2}, {"classes": 2}):
        with pytest.raises(PushforwardError, match="no context and no classes; got one of them"):
            F.gaussianization((2,), **told)
    with pytest.raises(PushforwardError, match="more rows than components"):
        gaussianize(torch.randn(4, 2))


@pytest.mark.parametrize(
    ("column", "message"),
    [(1.0, r"got the same at \[1\] of each"), (float("nan"), "finite numbers; got 50 others")],
)
def test_what_no_mixture_fits_is_refused(column, message):
    x = torch.randn(50, 2)
    x[:, 1] = column
    with pytest.raises(DataError, match=message):
        gaussianize(x)


def test_whole_numbers_are_numbers():
    x = torch.randint(0, 9, (50, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(gaussianize(x, 1, 2).log_prob(x.float()), gaussianize(x.float(), 1, 2).log_prob(x.float()))


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

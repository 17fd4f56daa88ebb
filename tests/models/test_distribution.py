import math

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Independent, kl_divergence, register_kl
from torch.distributions import Normal as TorchNormal
from torch.testing import assert_close

from pushforward._errors import ShapeError
from pushforward.models import Diffusion, FlowMap, maf
from pushforward.models.base import Normal, Uniform
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import real_nvp
from pushforward.nets import MLP, two_times
from pushforward.solvers import RK4
from pushforward.transforms import (
    AffineCoupling,
    Chain,
    DiagonalScale,
    Elementwise,
    Exp,
    Inverse,
    Logit,
    MonotoneCoupling,
    RationalQuadratic,
    Shift,
    SoftClip,
    reverse,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


torch.manual_seed(0)
FLOW = real_nvp((3,), couplings=3, hidden=8, context=2, zero_output=False).double()
CONTEXT = torch.randn(4, 2, dtype=torch.float64)


def test_shapes_and_densities_are_those_of_torchs_language():
    d = FLOW.distribution(CONTEXT)
    assert isinstance(d, Distribution)
    assert (d.batch_shape, d.event_shape) == ((4,), (3,))
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    log_p = d.log_prob(x)
    for i in range(5):
        assert_close(log_p[i], FLOW.log_prob(x[i], CONTEXT))
    assert_close(d.log_prob(x[0, :1]), FLOW.log_prob(x[0, :1].expand(4, 3), CONTEXT))  # one event, every context


def test_samples_have_the_batch_of_the_contexts_last():
    """Each context gets its own samples (a peer returns contexts first; another fails without one)."""
    net = lambda kept, context: torch.cat([torch.zeros_like(context), context], 1)  # noqa: E731
    d = NormalizingFlow(AffineCoupling((2,), net), Normal((2,))).distribution(torch.tensor([[0.0], [100.0]]))
    x = d.sample((500,))
    assert x.shape == (500, 2, 2)
    assert_close(x[:, :, 1].mean(0), torch.tensor([0.0, -100.0]), rtol=0, atol=0.3)
    assert d.sample().shape == (2, 2)


@pytest.mark.parametrize("start", [(), (1,), (4,)], ids=["none", "one", "four"])
def test_expanded_to_more_rows_it_is_the_same_for_each(start: tuple[int, ...]):
    model = FLOW if start else NormalizingFlow(Shift((3,)), Normal((3,))).double()
    d = model.distribution(CONTEXT[: start[0]] if start else None).expand((2, 4))
    x = d.rsample((5,))
    assert (d.batch_shape, x.shape) == ((2, 4), (5, 2, 4, 3))
    context = CONTEXT[: start[0]].expand(4, 2) if start else None
    assert_close(d.log_prob(x)[3, 1], model.log_prob(x[3, 1], context))
    assert d.expand((6, 2, 4)).sample().shape == (6, 2, 4, 3)


FAMILIES = {
    "flow": lambda: real_nvp((3,), 2, 8, context=2, zero_output=False),
    "diffusion": lambda: Diffusion(MLP((3,), 8, 1, context=2), solver=RK4(steps=2)),
    "flow-map": lambda: FlowMap(two_times(MLP((3,), 8, 1, context=2)), follow=RK4(steps=2)),
}


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("batch", [(), (4,), (4, 5), (3, 1)])
def test_every_axis_before_a_row_is_the_batch(make, batch):
    """One vector alone has none; several axes of vectors are several axes of distributions."""
    model, context = make(), torch.randn(*batch, 2)
    d = model.distribution(context)
    x = d.sample((6,))
    assert (d.batch_shape, x.shape) == (batch, (6, *batch, 3))
    rows = context.expand(6, *batch, 2).reshape(-1, 2)
    assert_close(d.log_prob(x), model.log_prob(x.reshape(-1, 3), rows).reshape(6, *batch))
    assert_close(d.expand((2, *batch)).log_prob(x[:2]), d.log_prob(x)[:2])


def test_classes_are_rows_of_no_axis():
    for flow in (real_nvp((3,), 2, 8, classes=4), maf((3,), 1, 8, classes=4)):
        assert flow.distribution(torch.tensor(2)).sample((5,)).shape == (5, 3)
        assert flow.distribution(torch.tensor([[0], [1], [2]])).sample().shape == (3, 1, 3)


def test_where_a_row_is_not_known_the_batch_is_the_first_axis_or_what_one_says():
    own = lambda kept, context: torch.cat([torch.zeros_like(kept), context.flatten(1)[:, :1]], 1)  # noqa: E731
    flow, context = NormalizingFlow(AffineCoupling((2,), own), Normal((2,))), torch.randn(4, 5, 2)
    assert flow.distribution(context).batch_shape == (4,)
    assert flow.distribution(context).sample().shape == (4, 2)
    assert flow.distribution(context, batch=(4, 5)).sample().shape == (4, 5, 2)
    assert flow.distribution(context[0, 0], batch=()).sample((3,)).shape == (3, 2)
    with pytest.raises(ShapeError, match=r"a context that begins with \(5,\); got \(4, 5, 2\)"):
        flow.distribution(context, batch=(5,))


def test_without_a_context_there_is_no_batch():
    d = NormalizingFlow(Shift((2,)), Normal((2,))).distribution()
    assert d.batch_shape == ()
    assert d.sample((7,)).shape == (7, 2)
    assert d.log_prob(torch.zeros(2)).shape == ()
    assert_close(d.log_prob(torch.zeros(2)), torch.tensor(-math.log(2 * math.pi)))


def test_torchs_seed_governs_and_draws_have_derivatives():
    d = FLOW.distribution(CONTEXT)
    torch.manual_seed(1)
    x = d.sample((2,))
    torch.manual_seed(1)
    y, log_p = d.rsample_and_log_prob((2,))
    assert torch.equal(x, y)
    assert not x.requires_grad
    assert_close(log_p, d.log_prob(y), rtol=1e-7, atol=1e-7)
    for parameter in FLOW.parameters():
        parameter.grad = None
    (log_p + y.sum(-1)).mean().backward()
    assert all(p.grad is not None for p in FLOW.parameters())


def test_the_reverse_divergence_falls_under_its_gradient():
    torch.manual_seed(0)
    flow = NormalizingFlow(Chain(Shift((1,)), DiagonalScale((1,))), Normal((1,)))
    target = Independent(TorchNormal(torch.tensor([2.0]), 0.5), 1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    for _ in range(200):
        x, log_q = flow.rsample_and_log_prob(1000, seed=0)
        optimizer.zero_grad()
        (log_q - target.log_prob(x)).mean().backward()
        optimizer.step()
    x = flow.sample(4000, seed=0)
    assert abs(x.mean().item() - 2) < 0.05
    assert abs(x.std().item() - 0.5) < 0.05


def test_the_support_is_told_and_holds_every_sample():
    positive = Inverse(Elementwise((2,), Exp()))
    clipped = Inverse(Elementwise((2,), SoftClip(3.0)))
    circle = Elementwise((2,), RationalQuadratic(4, -math.pi, math.pi, tails="circular"))
    cases = [
        (NormalizingFlow(Chain(Logit(0.0, -1, 2), Shift((2,))), Normal((2,))), [-0.9, 1.9], [-1.1, 2.1]),
        (NormalizingFlow(positive, Normal((2,))), [0.1, 99.0], [-0.1]),
        (NormalizingFlow(clipped, Normal((2,))), [-2.9, 2.9], [3.1]),
        (NormalizingFlow(circle, Uniform((2,), -math.pi, math.pi)), [-3.1, 3.1], [3.2]),
        (NormalizingFlow(Chain(), Uniform((2,))), [0.0, 1.0], [1.1]),
        (NormalizingFlow(Shift((2,)), Normal((2,))), [-1e9, 1e9], [math.nan]),
    ]
    for flow, inside, outside in cases:
        support = flow.distribution().support
        assert support.event_dim == 1
        assert all(support.check(torch.full((2,), value)) for value in inside)
        assert not any(support.check(torch.full((2,), value)) for value in outside)
        assert support.check(flow.sample(500, seed=0)).all()


def test_torchs_tools_take_it():
    d = NormalizingFlow(Shift((2,)), Normal((2,))).distribution()

    @register_kl(type(d), type(d))
    def _kl(p, q):
        return (p.log_prob(torch.zeros(2)) - q.log_prob(torch.zeros(2))).sum()

    assert kl_divergence(d, d).item() == 0
    mixed = torch.distributions.TransformedDistribution(d, [torch.distributions.ExpTransform()])
    assert (mixed.sample((5,)) > 0).all()
    assert isinstance(nn.Linear(1, 1), nn.Module)


def test_bounds_are_not_those_of_what_comes_after_a_nested_chain():
    double = DiagonalScale((2,))
    torch.nn.init.constant_(double.log_scale, -math.log(2))
    flow = NormalizingFlow(Chain(Chain(reverse(2)), double), Uniform((2,), 0.0, 1.0))
    assert flow.distribution().support.check(flow.sample(100, seed=0)).all()
    assert NormalizingFlow(Chain(Chain(reverse(2)), Logit(0.0)), Normal((2,))).bounds == (0.0, 1.0)
    assert NormalizingFlow(Chain(Chain(reverse(2))), Uniform((2,), 0.0, 1.0)).bounds == (0.0, 1.0)


def test_a_number_beside_an_angle_is_not_bounded_by_its_circle():
    circle = RationalQuadratic(4, -math.pi, math.pi, "circular")
    net = lambda kept: kept.new_zeros(len(kept), circle.size)  # noqa: E731
    turned = MonotoneCoupling((2,), net, circle)
    assert NormalizingFlow(turned, Normal((2,))).bounds == (-math.inf, math.inf)
    assert NormalizingFlow(turned, Uniform((2,), -math.pi, math.pi)).bounds == (-math.pi, math.pi)

import math

import pytest
import torch
from torch.testing import assert_close

from pushforward import transforms as T
from pushforward._errors import ConfigError
from pushforward.data.batch import Batch
from pushforward.models.base import Normal, Uniform
from pushforward.models.flow import prepare
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, flowpp, nsf


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_nsf_is_the_published_model():
    """Ten steps of permutation, LU and an 8-bin spline on (-3, 3), residual networks of 2 blocks of 256."""
    flow = nsf((6,))
    splines = [t for t in flow.chain if isinstance(t, T.MonotoneCoupling)]
    assert [s.monotone for s in splines] == [T.RationalQuadratic(8, -3.0, 3.0)] * 10
    assert sum(isinstance(t, T.LU) for t in flow.chain) == 11
    net = splines[0].conditioner
    outputs = 3 * (3 * 8 - 1)
    assert sum(p.numel() for p in net.parameters()) == (3 * 256 + 256) + 4 * (256 * 256 + 256) + (256 + 1) * outputs


def test_glow_is_the_published_model():
    """Three levels of 32 steps, 512 channels within; half of the channels leave at each level but the last."""
    flow = glow((3, 32, 32))
    parts = [m for m in flow.modules() if isinstance(m, T.Part)]
    assert [p.n for p in parts] == [6, 12]
    convolutions = [m.n for m in flow.modules() if isinstance(m, T.LU)]
    assert sorted(convolutions) == [12] * 32 + [24] * 32 + [48] * 32
    nets = [m.conditioner for m in flow.modules() if isinstance(m, T.AffineCoupling)]
    assert len(nets) == 3 * 32 + 2  # and two conditional priors
    assert {net.second.weight.shape for net in nets} == {(512, 512, 1, 1)}


@pytest.mark.parametrize("make", [nsf, flowpp])
def test_a_flow_that_starts_is_a_linear_map_or_nearly(make):
    flow = make((4,), couplings=3, hidden=8, blocks=1)
    x = torch.randn(50, 4)
    z = flow.encode(x)
    if make is nsf:
        assert_close(z.sort(1).values, x.sort(1).values, rtol=0, atol=1e-5)  # the identity but for the order
    assert z.isfinite().all()


def test_circular_starts_uniform_and_lives_on_the_torus():
    flow = circular((2,), couplings=3, hidden=8, blocks=1)
    x = 6 * torch.rand(50, 2) - 3
    assert_close(flow.log_prob(x), Uniform((2,), -math.pi, math.pi).log_prob(x), rtol=0, atol=1e-4)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape))
    flow = flow.double()
    ends = [[-math.pi, 0.3], [math.pi - 1e-12, 0.3], [0.3, -math.pi], [0.3, math.pi - 1e-12]]
    cut = torch.tensor(ends, dtype=torch.float64)
    a, b, c, d = flow.log_prob(cut)
    assert_close(a, b, rtol=0, atol=1e-5)  # no jump where the circle is cut open
    assert_close(c, d, rtol=0, atol=1e-5)
    assert_close(flow.log_prob(x.double() + 2 * math.pi), flow.log_prob(x.double()) + 0, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [nsf, flowpp])
def test_a_hundred_steps_learn_a_bent_band(make):
    torch.manual_seed(0)
    a = torch.randn(400)
    points = torch.stack([a, a.square() + 0.2 * torch.randn(400)], 1)
    train, held_out = points[:300], points[300:]
    flow = prepare(
        make((2,), couplings=3, hidden=24, blocks=1, **({"components": 6} if make is flowpp else {})), Batch(train)
    )
    before = flow.eval().log_prob(held_out).mean()
    optimizer = torch.optim.Adam(flow.train().parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        (-flow.log_prob(train).mean()).backward()
        optimizer.step()
    assert flow.eval().log_prob(held_out).mean() > before + 0.4


def test_circular_learns_what_wraps_around_the_cut():
    """A bump across the cut, which no flow of the line can hold in one piece."""
    torch.manual_seed(0)
    x = torch.remainder(math.pi + 0.4 * torch.randn(300, 2) + math.pi, 2 * math.pi) - math.pi
    flow = circular((2,), couplings=2, hidden=16, blocks=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    true = 2 * (-0.5 - math.log(0.4) - 0.5 * math.log(2 * math.pi))
    assert flow.log_prob(x).mean().item() > true - 0.3
    assert flow.sample(500, seed=0).abs().mean() > 2.5


def test_glow_learns_from_its_start():
    torch.manual_seed(0)
    x = torch.randn(64, 1, 1, 1) + 0.3 * torch.randn(64, 1, 4, 4)  # images of one brightness
    flow = glow((1, 4, 4), levels=2, steps=2, hidden=16)
    before = flow.log_prob(x).mean()
    flow = prepare(flow, Batch(x))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    assert flow.log_prob(x).mean() > before + 4
    assert flow.log_prob(x).mean() > Normal((1, 4, 4)).log_prob(x).mean() + 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nsf((1,)), "two numbers or more"),
        (lambda: nsf((2,), context=1, classes=2), "context or classes"),
        (lambda: glow((1, 6, 6), levels=2), "divided by 2"),
        (lambda: glow((1, 8, 8), context=1, classes=2), "context or classes"),
        (lambda: circular((2,), couplings=1), "two couplings or more"),
        (lambda: T.RationalQuadratic(bins=1), "2 to 500 bins"),
        (lambda: T.RationalQuadratic(low=1.0, high=0.0), "low < high"),
        (lambda: T.Cubic(tails="identity"), "tails of linear, circular"),
        (lambda: T.LogisticMixture(0), "one component"),
        (lambda: T.SoftClip(0.0), "a bound above 0"),
        (lambda: T.Affine(math.inf), "a bound above 0"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_one_graph_holds_a_whole_flow_both_ways():
    for flow in (nsf((3,), couplings=2, hidden=8, blocks=1, bins=4), glow((1, 4, 4), levels=2, steps=1, hidden=4)):
        x = torch.rand(4, *flow.shape)
        for call in (flow.chain.encode, flow.chain.decode):
            torch._dynamo.reset()
            compiled = torch.compile(call, backend="eager", fullgraph=True)
            assert_close(compiled(x), call(x), rtol=1e-5, atol=1e-5)

"""What users of other flow libraries ran into, as tests of ours. Each names the reports it comes from.

What is held elsewhere, or cannot occur:

    tails beyond a spline's reach, unannounced     audit warns of data that reach far (test_audit), and here at the end
    samples in the order (context, n)              there is no such axis: a context a sample; `distribution` has
                                                   torch's own order (test_distribution)
    no images, no planar, no 1x1 convolutions      the zoo has them (laws/zoo_flows)
    tables of mixed kinds                          tests/data/test_columns, tests/training/test_estimator
    two libraries, two posteriors                  one flow in both: interop/test_peer_flows, and `audit`
    minutes of compiling                           nothing is compiled unless asked; no loop over dimensions is unrolled
    how is a flow saved                            every flow of the zoo is saved and loaded (laws/test_flows)
    slow samples of Transformer flows              decoded with a cache (test_tarflow); rounds or a walk, as is quicker
    probes drawn anew within a solve               fixed by address (solvers/test_divergence, test_likelihood)
    bits that are no bits                          report/test_nats: published figures in every unit
    a NaN that drops out of an average             report/test_nats
"""

import copy
import io
import math

import pytest
import torch
from torch.testing import assert_close

from pushforward import transforms as T
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models.base import Normal, StudentT, Uniform
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, nsf


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def randomised(flow: NormalizingFlow, spread: float, seed: int = 0) -> NormalizingFlow:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.copy_(spread * torch.randn(weight.shape, generator=generator))
    return flow.eval()


def test_sampling_a_spline_meets_no_impossible_discriminant():
    """bayesiains/nflows#87, pyro-ppl/pyro#3139: sampling dies of rounding in single precision."""
    g = T.RationalQuadratic(10)
    generator = torch.Generator().manual_seed(0)
    for spread in (1.0, 5.0, 30.0):
        params = spread * torch.randn(100_000, g.size, generator=generator)
        z = 4 * torch.randn(100_000, generator=generator)
        x, ladj = g.decode(z, params)
        assert x.isfinite().all()
        assert ladj.isfinite().all()
        knots = g.table(params)[1]  # on the knots themselves, where a discriminant is a perfect square
        assert g.decode(knots[:, 3], params)[0].isfinite().all()


def test_heavy_tails_give_no_nan_loss_or_gradient():
    """bayesflow-org/bayesflow#721, danielward27/flowjax#239 and #240: the branch outside was computed inside."""
    torch.manual_seed(0)
    flow = nsf((3,), couplings=3, hidden=16, blocks=1)
    x = StudentT((3,), freedom=0.5).sample(200, Draw(0)).clamp(-1e30, 1e30)
    assert x.abs().max() > 1e4
    for call in (flow.log_prob, lambda v: flow.decode_and_ladj(v)[1]):
        flow.zero_grad()
        x.requires_grad_()
        loss = call(x.clamp(-1e15, 1e15)).mean()
        loss.backward()
        assert loss.isfinite()
        assert x.grad is not None
        assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize(
    "g", [T.LogisticMixture(4), T.Cubic(6), T.HeavyTail(), T.Power()], ids=lambda g: type(g).__name__
)
def test_no_inverse_stops_at_a_fixed_bracket(g: T.Monotone):
    """probabilists/zuko#20 and the samples clamped at 10 that come back elsewhere: brackets here follow the map."""
    params = torch.randn(7, g.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for far in (-35.0, -11.0, 11.0, 35.0):
        z = torch.full((7,), far, dtype=torch.float64)
        x, _ = g.decode(z, params)
        assert_close(g.encode(x, params)[0], z, rtol=1e-9, atol=1e-9)


def test_glow_samples_do_not_jump_to_infinity():
    """VincentStimper/normalizing-flows#67, #47 and nflows#67: a scale that may reach 0 divides samples by it."""
    flow = glow((1, 4, 4), levels=2, steps=4, hidden=8)
    couplings = [m for m in flow.modules() if isinstance(m, T.AffineCoupling)]
    with torch.no_grad():
        for i, coupling in enumerate(couplings):
            bias = coupling.conditioner.leave.bias  # log-scales first: all the way down, or up
            bias[: len(bias) // 2] = (-1e6, -1e6, 1e6)[i % 3]
    z = flow.noise(200, seed=0)
    x = flow.decode(z)
    # rotations keep lengths, and each coupling stretches by exp(2) at most
    assert (x.flatten(1).norm(dim=1) <= 1.01 * z.flatten(1).norm(dim=1) * math.exp(2.0 * len(couplings))).all()
    assert flow.encode_and_ladj(torch.randn(5, 1, 4, 4))[1].isfinite().all()


def test_glow_comes_back_without_a_flag():
    """rosinality/glow-pytorch#45, #7, chaiyujin/glow-pytorch#9: factored-out latents were drawn anew."""
    flow = randomised(glow((3, 8, 8), levels=3, steps=2, hidden=8), spread=0.2).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    z = flow.encode(x)
    assert z.shape == x.shape
    assert_close(flow.decode(z), x, rtol=1e-6, atol=1e-6)


def test_a_convolution_never_becomes_singular():
    """rosinality/glow-pytorch#37, openai/glow#40: a free matrix may lose its inverse in training."""
    layer = T.convolution(6, seed=0).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=5.0)
    x = torch.randn(50, 6, dtype=torch.float64) * torch.tensor([1.0, 1, 1, 1, 1, 0.0])  # a dead channel
    for _ in range(20):
        optimizer.zero_grad()
        z, ladj = layer.encode(x)
        (z.square().sum(1) / 2 - ladj).mean().clamp(-50, 50).backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()
    assert layer.log_det().isfinite()
    assert_close(layer.weight() @ layer.inverse(), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_loaded_flow_is_not_started_again():
    """nflows#4 and #5, normflows PR#2: actnorm overwrote loaded weights at the first batch."""
    x = torch.randn(64, 1, 4, 4) * 3 + 1
    trained = prepare(glow((1, 4, 4), levels=1, steps=2, hidden=4), Batch(x))
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    fresh = glow((1, 4, 4), levels=1, steps=2, hidden=4)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    fresh.train()
    other = torch.randn(8, 1, 4, 4)
    fresh.log_prob(100 * other)  # the first batch it sees
    assert torch.equal(fresh.log_prob(other), trained.log_prob(other))


def test_every_layer_of_a_conditional_flow_takes_the_context_and_counts_agree():
    """VincentStimper#45, #41, #9, nflows#68, #60, #26: some layers took it; sample(n) failed; contexts came first."""
    for make in (nsf, circular):
        flow = randomised(make((2,), couplings=2, hidden=8, blocks=1, context=3), spread=0.5)
        context = torch.randn(5, 3)
        x = flow.sample(5, context, seed=0)
        assert x.shape == (5, 2)
        assert_close(flow.sample(1, context[3:4], seed=0, first=3), x[3:4])
        assert (flow.log_prob(x, context) != flow.log_prob(x, context + 1)).all()


def test_bounded_posteriors_do_not_leak():
    """sbi#741, #1287, #440, flowjax#147: samples outside the prior's box, and rejection without end."""
    flow = randomised(nsf((2,), couplings=3, hidden=16, blocks=1, support=(-1.0, 2.0), alpha=0.0), spread=1.0)
    x = flow.sample(5000, seed=0)
    assert ((x >= -1) & (x <= 2)).all()
    assert flow.log_prob(torch.tensor([[2.5, 0.0]])).item() == -math.inf
    box = NormalizingFlow(T.Chain(), Uniform((2,), -1.0, 2.0))
    assert box.distribution().support.check(box.sample(100, seed=0)).all()


def test_a_value_does_not_depend_on_what_was_asked_before():
    """tensorflow/probability#840, #493, #1510: a cache's hit changed results, and kept tensors alive."""
    flow = randomised(nsf((3,), couplings=2, hidden=8, blocks=1), spread=0.3).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    first = copy.deepcopy(flow).log_prob(x)
    with torch.no_grad():
        flow.decode(flow.encode(x))
        flow.log_prob(x + 1)
        cached = flow.log_prob(x)
    assert_close(cached, first.detach(), rtol=1e-12, atol=1e-12)
    assert torch.equal(flow.log_prob(x), first)


def test_the_network_runs_once_for_a_density():
    """tensorflow/probability#54: couplings ran their network twice for every log_prob."""
    calls = []

    def net(kept):
        calls.append(len(kept))
        return torch.zeros(len(kept), 2)

    flow = NormalizingFlow(T.AffineCoupling((2,), net), Normal((2,)))
    flow.log_prob(torch.zeros(3, 2))
    flow.rsample_and_log_prob(4, seed=0)
    assert calls == [3, 4]


def test_no_constant_forces_double_precision():
    """sbi#912: float64 constants of a normal stopped a flow on devices that have none."""
    for flow in (nsf((2,), couplings=2, hidden=8, blocks=1), glow((1, 4, 4), levels=1, steps=1, hidden=4)):
        with Dtypes() as mode:
            flow.log_prob(torch.zeros(2, *flow.shape))
            flow.sample(2, seed=0)
        assert mode.seen == {torch.float32}


class Dtypes(torch.overrides.TorchFunctionMode):
    """Notes the floating dtypes that functions return."""

    def __init__(self):
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.seen.add(result.dtype)
        return result


def test_data_that_reach_far_train_as_those_that_do_not():
    """VincentStimper#24, pzflow PR#32: targets at 40 under a tail bound of 3; `prepare` brings them in reach."""
    x = torch.randn(400, 2) * 40 + 100
    flow = nsf((2,), couplings=2, hidden=16, blocks=1)
    assert not flow.audit(x).ok
    assert prepare(flow, Batch(x)).audit(x).ok

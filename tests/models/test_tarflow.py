"""TarFlow: any position encoding, each patch computed once, guidance that stays a flow, noise taken off."""

import pytest
import torch
from torch.testing import assert_close

from laws.zoo_positions import POSITIONS
from pushforward import Draw, PushforwardError
from pushforward.data.batch import Batch
from pushforward.models import Normal, NormalizingFlow
from pushforward.models.guided_flow import guided_flow
from pushforward.models.tarflow import denoised, tarflow
from pushforward.nets import CausalTransformer
from pushforward.objectives import Likelihood, Noisy
from pushforward.positions import Biases, Properties, Scores, Values
from pushforward.transforms import Chain, DiagonalScale


def wild(module, seed=0, std=0.3):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module.double()


def outputs_of(net, x, context=None):
    """The walk's parameters, [batch, n, outputs]."""
    walk = net.walk(len(x), context)
    parts = x.split(net.sizes, 1)
    return torch.cat([next(walk), *(walk.send(part) for part in parts[:-1])], 1)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 6), (5, 4)])
def test_a_patch_depends_on_the_patches_before_alone(shape, backwards):
    net = wild(CausalTransformer(shape, 2, width=16, layers=2, heads=2, patch=2, backwards=backwards))
    x = torch.randn(1, net.order.numel(), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(net.placed, x)[0, :, :, 0].ne(0).any(1)
    level = torch.arange(len(net.sizes)).repeat_interleave(torch.tensor(net.sizes))
    assert torch.equal(jacobian, level[:, None] > level)


def test_places_are_patches_row_by_row_and_back():
    forwards, backwards = (
        CausalTransformer((1, 4, 4), 2, width=8, layers=1, heads=2, patch=2, backwards=b) for b in (0, 1)
    )
    assert forwards.order.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert torch.equal(backwards.order.reshape(4, 4), forwards.order.reshape(4, 4).flip(0))


class Hooked(Biases, Scores, Values):
    """A relative encoding that uses every hook on scores and values."""

    @property
    def properties(self):
        return Properties(relative=True, linear_attention=False)

    def _apart(self, pos_q, pos_k):
        return (pos_q[:, None] - pos_k).double()

    def bias(self, pos_q, pos_k):
        return -0.3 * self._apart(pos_q, pos_k)

    def score(self, q, k, pos_q, pos_k, mask=None):
        return q[..., :1] * torch.sin(self._apart(pos_q, pos_k)) + k[..., 1][..., None, :] * 0.2

    def value(self, v, weights, pos_q, pos_k):
        return (
            (weights * torch.cos(self._apart(pos_q, pos_k)))
            .sum(-1, keepdim=True)
            .expand(*weights.shape[:-1], v.shape[-1])
        )


ENCODINGS = {
    name: make
    for name, make in POSITIONS.items()
    if make(6, 48).properties.axes < 3 and make(6, 48).properties.reads != "around"  # else it would see later tokens
}


@pytest.mark.parametrize("name", [*ENCODINGS, "hooked"])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_position_encoding_walks_as_it_runs(name, backwards):
    position = Hooked() if name == "hooked" else ENCODINGS[name](6, 48)
    image = position.properties.axes == 2
    shape, patch = ((1, 4, 6), 2) if image else ((6, 4), None)
    net = wild(CausalTransformer(shape, 2, position, 48, 2, 4, patch, backwards=backwards))
    x = torch.randn(3, 24, dtype=torch.float64)
    assert_close(outputs_of(net, x), net.placed(x), rtol=1e-9, atol=1e-9)


def test_a_guided_flow_is_a_flow():
    flow = wild(tarflow((1, 4, 4), 2, 16, 1, 2, patch=2, classes=3, bound=1.0), std=0.2)
    x, context = torch.randn(4, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    for scale, same_as in ((0.0, None), (1.0, context)):
        assert_close(guided_flow(flow, scale).log_prob(x, context), flow.log_prob(x, same_as))
    far = guided_flow(flow, 2.5)
    z = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    assert_close(far.encode(far.decode(z, context), context), z, rtol=1e-8, atol=1e-8)
    assert not torch.allclose(far.log_prob(x, context), flow.log_prob(x, context))
    assert {p.data_ptr() for p in far.parameters()} == {p.data_ptr() for p in flow.parameters()}


def test_noise_is_taken_off_a_normal_as_bayes_says():
    """Data N(0, 4) plus noise 0.5: E[clean | noisy] = noisy * 4 / 4.25."""
    flow = NormalizingFlow(Chain(DiagonalScale((3,))), Normal((3,))).double()
    flow.chain[0].log_scale.data.fill_(-0.5 * torch.tensor(4.25).log().item())
    x = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        assert_close(denoised(flow, x, 0.5), x * 4 / 4.25)


def test_noise_is_a_function_of_the_draw():
    flow, batch = tarflow((4, 1), 1, 8, 1, 2), Batch(torch.zeros(6, 4, 1))
    objective = Noisy(Likelihood(), 0.3)
    assert torch.equal(objective(flow, batch, Draw(0)), objective(flow, batch, Draw(0)))
    assert not torch.equal(objective(flow, batch, Draw(0)), objective(flow, batch, Draw(1)))
    assert torch.equal(Noisy(Likelihood(), 0.0)(flow, batch, Draw(0)), Likelihood()(flow, batch, Draw(0)))
    assert not batch.x.any()


def test_both_kinds_of_context_are_refused():
    with pytest.raises(PushforwardError, match="classes or a context"):
        tarflow((4, 1), classes=2, context=3)
    with pytest.raises(PushforwardError, match="Expected no context"):
        tarflow((4, 1), 1, 8, 1, 2).log_prob(torch.zeros(2, 4, 1), torch.zeros(2, 3))

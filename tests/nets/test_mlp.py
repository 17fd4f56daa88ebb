"""Conditioners and how the time is told."""

import math

import pytest
import torch
from torch.nn.utils import prune

from pushforward import PushforwardError
from pushforward.nets import Dense, TimeEmbedding, waves


def test_a_conditioner_starts_at_zero_and_learns():
    torch.manual_seed(0)
    net = Dense(3, 5, hidden=16, layers=2)
    x, y = torch.randn(8, 3), torch.randn(8, 5)
    assert torch.equal(net(x), torch.zeros(8, 5))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * y.square().mean()


def test_a_conditioner_may_start_elsewhere():
    torch.manual_seed(0)
    assert Dense(3, 5, hidden=16, zero_output=False)(torch.randn(2, 3)).any()


def test_a_conditioner_sees_its_context():
    torch.manual_seed(0)
    net = Dense(3, 5, hidden=16, context=2, zero_output=False)
    x, c = torch.randn(4, 3), torch.randn(4, 2)
    assert not torch.allclose(net(x, c), net(x, c + 1))


@pytest.mark.parametrize("context", [None, torch.zeros(4, 3)])
def test_a_conditioner_that_needs_a_context_says_so(context):
    with pytest.raises(PushforwardError, match=r"context \[batch, 2\]"):
        Dense(3, 5, context=2)(torch.zeros(4, 3), context)


def test_a_conditioner_without_one_refuses_a_context():
    with pytest.raises(PushforwardError, match=r"Expected no context; got one of shape"):
        Dense(3, 5)(torch.zeros(4, 3), torch.zeros(4, 2))


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    net = Dense(3, 5, hidden=64, dropout=0.5, zero_output=False)
    x = torch.randn(4, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_a_layer_that_somebody_wraps_or_listens_to_is_called():
    torch.manual_seed(0)
    net, x, seen = Dense(3, 5, hidden=16, zero_output=False), torch.randn(4, 3), []
    plain = net(x)
    handle = net.hidden[1].register_forward_hook(lambda module, args, result: seen.append(result.shape))
    torch.testing.assert_close(net(x), plain)
    handle.remove()
    assert seen == [(4, 16)]
    halved = net.leave
    net.leave = torch.nn.Sequential(halved, torch.nn.Tanh())
    torch.testing.assert_close(net(x), plain.tanh())


def test_parameters_may_stand_in_any_order_or_be_made_of_others():
    """As pruning leaves them."""
    torch.manual_seed(0)
    net, x = Dense(3, 5, hidden=5, layers=2, zero_output=False), torch.randn(4, 3)
    plain = net(x)
    prune.identity(net.hidden[1], "weight")
    torch.testing.assert_close(net(x), plain)
    prune.remove(net.hidden[1], "weight")
    assert [name for name, _ in net.hidden[1].named_parameters()] == ["bias", "weight"]
    torch.testing.assert_close(net(x), plain)
    net.leave.register_parameter("temperature", torch.nn.Parameter(torch.ones(())))
    torch.testing.assert_close(net(x), plain)


def test_a_conditioner_is_its_layers_one_after_the_other():
    torch.manual_seed(0)
    net, x = Dense(3, 5, hidden=16, layers=3, zero_output=False), torch.randn(4, 3, requires_grad=True)
    h = x
    for layer in net.hidden:
        h = layer(h).relu()
    torch.testing.assert_close(net(x), net.leave(h))
    leaves = [x, *net.parameters()]
    ours, torchs = (torch.autograd.grad(y.square().sum(), leaves) for y in (net(x), net.leave(h)))
    torch.testing.assert_close(ours, torchs)


def test_layers_that_are_held_fixed_have_no_gradient_and_pass_others_on():
    torch.manual_seed(0)
    net, x = Dense(3, 5, hidden=16, zero_output=False), torch.randn(4, 3, requires_grad=True)
    (right,) = torch.autograd.grad(net(x).square().sum(), x)
    net.hidden.requires_grad_(False)
    net.leave.bias.requires_grad_(False)
    net(x).square().sum().backward()
    torch.testing.assert_close(x.grad, right)
    assert [name for name, each in net.named_parameters() if each.grad is not None] == ["leave.weight"]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("inputs", [3, 20])
def test_graphs_have_the_same_layers(inputs, learns, precision):
    torch.compiler.reset()
    torch.manual_seed(0)
    net, x = Dense(inputs, 5, 16, 2, zero_output=False), torch.randn(7, inputs)
    whole = torch.compile(net, backend="aot_eager", fullgraph=True)
    with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        ours, layers = whole(x), net(x)
    assert ours.dtype == layers.dtype == precision
    torch.testing.assert_close(ours, layers, rtol=1e-5, atol=1e-5 if precision == torch.float32 else 0.01)
    if learns and precision == torch.float32:
        pairs = [torch.autograd.grad(y.square().sum(), [*net.parameters()]) for y in (ours, layers)]
        torch.testing.assert_close(*pairs)


def test_waves_are_the_formula():
    t = torch.tensor([0.0, 0.3], dtype=torch.float64)
    out = waves(t, 3, slowest=0.25, fastest=4.0)
    angles = [2 * math.pi * 0.3 * f for f in (0.25, 1.0, 4.0)]
    expected = torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles], dtype=torch.float64)
    torch.testing.assert_close(out[1], expected)
    assert out[0].tolist() == [1, 1, 1, 0, 0, 0]


def test_times_are_not_rounded_by_a_low_precision_net():
    torch.manual_seed(0)
    net = TimeEmbedding(16).bfloat16()
    near = torch.tensor([0.7, 0.7005])  # one number in bfloat16
    assert near.bfloat16().unique().numel() == 1
    assert not torch.equal(*net(near))


def test_no_two_times_look_alike():
    t = torch.linspace(0, 1, 201)
    w = waves(t, 32)
    apart = torch.cdist(w, w) + 10 * torch.eye(201)
    assert apart.min() > 0.2

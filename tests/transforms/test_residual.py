"""Residual transforms: contractions that are, estimates that are unbiased, inverses that say when they are none."""

import pytest
import torch
from torch.testing import assert_close

from pushforward import Draw, PushforwardError
from pushforward import transforms as T
from pushforward.data.batch import Batch
from pushforward.models import ffjord, residual_flow
from pushforward.nets import Contraction, spectral_bound
from pushforward.objectives import Likelihood, Redrawn


def contraction(features=3, lipschitz=0.9, seed=0):
    torch.manual_seed(seed)
    net = Contraction(features, hidden=16, layers=2, lipschitz=lipschitz).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=1.5)
    return net


@pytest.mark.parametrize("shape", [(3, 5), (40, 40), (64, 7), (1, 9)])
def test_the_bound_is_one_and_tight(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.linalg.matrix_norm(weight, 2)
    assert exact * (1 - 1e-12) <= spectral_bound(weight) <= 1.005 * exact
    weight.requires_grad_()
    (slope,) = torch.autograd.grad(spectral_bound(weight), weight)
    u, _, v = torch.linalg.svd(weight.detach())
    assert_close(slope, u[:, :1] @ v[:1], rtol=0, atol=0.05)


@pytest.mark.parametrize("lipschitz", [0.5, 0.97])
def test_points_come_closer_by_the_constant(lipschitz):
    net = contraction(lipschitz=lipschitz)
    x = 3 * torch.randn(500, 3, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: net(v[None])[0]))(x)
    assert torch.linalg.matrix_norm(jacobian, 2).max() <= lipschitz


def test_a_call_leaves_nothing_behind():
    """Power iteration keeps a vector from call to call (and rounds it with the model); here there is no state."""
    net, x = contraction(), torch.randn(2, 3, dtype=torch.float64)
    first = net(x)
    assert torch.equal(net(x), first)
    assert list(net.buffers()) == []


def test_the_estimate_is_unbiased_in_value_and_gradient():
    net, x = contraction(lipschitz=0.8), torch.randn(2, 3, dtype=torch.float64)
    weight = net.linears[0].weight
    exact = T.Residual(net).encode(x)[1]
    (slope,) = torch.autograd.grad(exact.sum(), weight)
    values, slopes = [], []
    for step in range(500):
        layer = T.Residual(net, T.Roulette(Draw(0, "test", step)))
        value = layer.encode(x)[1]
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value.sum(), weight)[0])
    for drawn, truth in ((torch.stack(values), exact), (torch.stack(slopes), slope)):
        error = (drawn.mean(0) - truth).abs() / (drawn.std(0) / 500**0.5)
        assert error.max() < 5
    assert torch.stack(values).std(0).min() > 1e-3  # there was something to estimate


def test_an_estimate_is_a_function_of_its_address():
    chain = T.Chain(T.Residual(contraction(), T.Roulette(Draw(0))), T.Inverse(T.Residual(contraction(seed=1))))
    x = torch.randn(4, 3, dtype=torch.float64)
    first, again = (T.redrawn(chain, Draw(1, step=5)).encode(x)[1] for _ in range(2))
    other = T.redrawn(chain, Draw(1, step=6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other.encode(x)[1])
    assert {p.data_ptr() for p in other.parameters()} == {p.data_ptr() for p in chain.parameters()}


@pytest.mark.parametrize("factor", [1.5, -3.0])
def test_what_is_no_contraction_is_found_out(factor):
    layer = T.Residual(lambda x: factor * x, rounds=50)
    with pytest.raises(PushforwardError, match=r"4 of 4 samples"):
        layer.decode(torch.randn(4, 2))


def test_likelihoods_without_gradients_are_those_with():
    layer, x = T.Residual(contraction()), torch.randn(4, 3, dtype=torch.float64)
    with torch.no_grad():
        quiet = layer.encode(x)[1]
    assert torch.equal(quiet, layer.encode(x)[1])


def test_training_draws_the_estimate_anew_at_every_step():
    flow = residual_flow((3,), 2, hidden=8, log_det=T.Roulette(Draw(0))).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter)
    batch = Batch(torch.randn(4, 3, dtype=torch.float64))
    objective = Redrawn(Likelihood())
    first, again, other = (objective(flow, batch, Draw(0, "train", step)) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    first.sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())
    with pytest.raises(PushforwardError, match="a NormalizingFlow"):
        objective(ffjord((3,)), batch, Draw(0))

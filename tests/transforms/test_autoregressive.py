"""Autoregressive decoding: quick, certified, differentiable."""

import copy

import pytest
import torch
from torch.testing import assert_close

from pushforward import PushforwardError
from pushforward import transforms as T
from pushforward.nets import MaskedDense


def layer(n=20, monotone=None, method="auto", dtype=torch.float64, std=0.25, **options):
    torch.manual_seed(0)
    monotone = T.Affine() if monotone is None else monotone
    made = T.Autoregressive(monotone, MaskedDense(n, monotone.size, hidden=64, **options), method).to(dtype)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return made


class Counted(torch.nn.Module):
    """A conditioner that counts its whole calls."""

    def __init__(self, net):
        super().__init__()
        self.net, self.order, self.sizes, self.calls = net, net.order, net.sizes, 0

    def placed(self, x, context=None):
        self.calls += 1
        return self.net.placed(x, context)

    def walk(self, n, context=None):
        return self.net.walk(n, context)


@pytest.mark.parametrize("method", ["walk", "jacobi"])
@pytest.mark.parametrize(
    "monotone", [T.Affine(), T.RationalQuadratic(8), T.Sigmoidal(4)], ids=lambda m: type(m).__name__
)
def test_both_ways_are_exact_in_float32(method, monotone):
    made = layer(60, monotone, method, torch.float32, std=0.1)  # a map that does not amplify rounding by itself
    z = torch.randn(64, 60)
    with torch.no_grad():
        x, ladj = made.decode(z)
        again, opposite = made.encode(x)
    assert ((again - z).abs() <= 1e-5 * (1 + z.abs())).all()
    assert torch.equal(opposite, -ladj)
    with torch.no_grad():
        assert_close(made.decode(again)[0], x, rtol=1e-5, atol=1e-5)


def test_a_walk_costs_one_call_beyond_itself():
    made = layer(30, method="walk")
    made.conditioner = Counted(made.conditioner)
    with torch.no_grad():
        made.decode(torch.randn(4, 30).double())
    assert made.conditioner.calls == 1  # the certificate, which gives ladj too


def test_jacobi_stops_once_numbers_stand_still():
    made = layer(200, method="jacobi")
    made.conditioner = Counted(made.conditioner)
    with torch.no_grad():
        made.decode(torch.randn(4, 200).double())
    assert made.conditioner.calls < 60


@pytest.mark.parametrize(("samples", "std", "calls"), [(4, 0.1, (3, 16)), (65, 0.1, (1, 1)), (4, 1.0, (17, 17))])
def test_the_search_is_chosen_by_samples_and_levels_and_given_up_where_it_crawls(samples, std, calls):
    made = layer(64, std=std)
    made.conditioner = Counted(made.conditioner)
    z = torch.randn(samples, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        x, _ = made.decode(z)
        used = made.conditioner.calls
        made.method = "walk"
        assert_close(x, made.decode(z)[0], rtol=1e-9, atol=1e-9)
    assert calls[0] <= used <= calls[1]


def test_jacobi_survives_what_is_not_known_yet():
    """Affine maps of scale e^80 blow up every number whose predecessors are still wrong."""
    made = layer(12, T.Affine(80.0), "jacobi")
    with torch.no_grad():
        made.conditioner.products.each()[-1].bias[::2] -= 3.0
        x = torch.randn(8, 12).double() * 1e-2
        assert_close(made.decode(made.encode(x)[0])[0], x, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["walk", "jacobi"])
def test_decoding_has_the_gradients_of_the_inverse(method):
    made = layer(5, method=method, context=2)
    z, c = torch.randn(3, 5).double().requires_grad_(), torch.randn(3, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(made.decode, (z, c))
    weight = made.conditioner.products.weight

    def as_function(value):
        name = "conditioner.products.weight"
        forward = torch.func.functional_call(_Decode(made), {f"made.{name}": value}, (z.detach(), c.detach()))
        return forward[0].sum() + forward[1].square().sum()

    assert torch.autograd.gradcheck(as_function, weight.detach().requires_grad_(), fast_mode=True)


class _Decode(torch.nn.Module):
    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, z, c):
        return self.made.decode(z, c)


@pytest.mark.parametrize("power", [1, 2], ids=["constant", "not"])
@pytest.mark.parametrize("by", ["noise", "context", "weights"])
def test_second_derivatives_of_decoding_are_refused_not_wrong(power, by):
    """Whether or not the gradient that comes in is a constant."""
    made, z, c = layer(3, context=2), torch.randn(2, 3).double().requires_grad_(), torch.randn(2, 2).double()
    loss = made.decode(z, c.requires_grad_())[0].pow(power).sum()
    (once,) = torch.autograd.grad(loss, z, retain_graph=True)
    (first,) = torch.autograd.grad(loss, z, create_graph=True)
    assert torch.equal(first, once)
    with pytest.raises(PushforwardError, match="a second one"):
        torch.autograd.grad(first.sum(), {"noise": [z], "context": [c], "weights": [*made.parameters()]}[by])


def test_a_conditioner_that_changes_between_calls_is_found_out():
    made = layer(10, dropout=0.5)
    with pytest.raises(PushforwardError, match=r"of 16 samples beyond it .* call eval\(\) if it has dropout"):
        made.decode(torch.randn(16, 10).double())
    made.eval().decode(torch.randn(16, 10).double())


def test_a_wrong_structure_is_found_out():
    """A walk that takes all numbers to be known at once: samples are refused, not wrong."""
    made = layer(4)
    made.conditioner.sizes, made.conditioner.ready = (4,), (64,)
    with pytest.raises(PushforwardError, match="samples beyond it"):
        made.decode(torch.randn(5, 4).double())


def test_a_nan_stays_one_and_spoils_no_neighbour():
    made = layer(4, dtype=torch.float32)
    z = torch.randn(3, 4)
    z[1, 2] = float("nan")
    with torch.no_grad():
        x, ladj = made.decode(z)
        alone, _ = made.decode(z[[0, 2]])
    assert x[1, 2:].isnan().all()
    assert ladj[1].isnan()
    assert_close(x[[0, 2]], alone)


def test_an_order_is_loaded_with_the_weights():
    first, second = (layer(6, order=order) for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]))
    second.load_state_dict(first.state_dict())
    x = torch.randn(3, 6).double()
    assert torch.equal(first.encode(x)[0], second.encode(x)[0])
    assert_close(second.decode(second.encode(x)[0])[0], x)


def test_an_order_that_is_written_to_or_exchanged_is_seen():
    """That numbers stand at their own places is remembered for one order, as it is."""
    made, turned = layer(5), layer(5, order=[4, 3, 2, 1, 0])
    x = torch.randn(3, 5, dtype=torch.float64)
    straight = made.encode(x)[0]
    assert_close(turned.encode(x.flip(1))[0].flip(1), straight)
    made.conditioner.order.copy_(turned.conditioner.order)
    assert_close(made.encode(x.flip(1))[0].flip(1), straight)
    made.conditioner.order = torch.arange(5)
    assert_close(made.encode(x)[0], straight)
    again = copy.deepcopy(made)
    again.conditioner.order.copy_(turned.conditioner.order)
    assert_close(again.encode(x.flip(1))[0].flip(1), straight)
    assert_close(made.encode(x)[0], straight)


def test_a_method_must_have_a_name_and_outputs_their_number():
    with pytest.raises(PushforwardError, match="'auto', 'walk' or 'jacobi'"):
        layer(3, method="newton")
    with pytest.raises(PushforwardError, match=r"2 output\(s\) for each number"):
        T.Autoregressive(T.Affine(), MaskedDense(3, 5)).encode(torch.zeros(2, 3))

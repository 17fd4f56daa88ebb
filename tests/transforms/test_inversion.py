"""Numerical inverses: nothing is out of reach in silence, and derivatives are exact."""

import math

import pytest
import torch
from torch.testing import assert_close

from pushforward import PushforwardError
from pushforward import transforms as T
from pushforward.models import named_autoregressive as A
from pushforward.models import named_free_forms as F
from pushforward.transforms.inversion import invert
from pushforward.transforms.root import root


def cubic(x):
    return x**3 + x, (3 * x**2 + 1).log()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bracket_finds_what_is_far_away(dtype):
    x = torch.tensor([-1e5, -3.0, 0.0, 1e-6, 12.0, 4e5], dtype=dtype)
    assert_close(invert(cubic, cubic(x)[0]), x, rtol=1e-6, atol=1e-6)


def test_steps_to_and_fro_do_not_last():
    """Newton's steps of |x|**p take x to (1 - 1 / p) x: nearly -x for p just above 1/2."""
    p = 0.503

    def steep(x):
        return x.sign() * x.abs() ** p, p * x.abs() ** (p - 1)

    ends = torch.tensor([-1.0, 3.0], dtype=torch.float64)
    assert root(steep, torch.zeros(1, dtype=torch.float64), *ends.split(1)).abs() < 1e-12


def test_values_that_are_not_taken_are_counted():
    def bounded(x):
        return torch.tanh(x), 2 * (math.log(2) + x - torch.nn.functional.softplus(2 * x))

    with pytest.raises(PushforwardError, match="2 of 3 numbers without a preimage"):
        invert(bounded, torch.tensor([0.5, 1.5, -7.0]))


def test_values_that_jump_are_counted():
    def jumps(x):
        return x + 10 * (x > 1), torch.zeros_like(x)

    with pytest.raises(PushforwardError, match="1 of 2 numbers"):
        invert(jumps, torch.tensor([0.5, 5.0]))


def test_what_is_not_finite_stays_alone():
    found = invert(cubic, torch.tensor([2.0, float("nan"), float("inf")]))
    assert found[0] == 1
    assert found[1:].isnan().all()


def test_parameters_that_are_no_numbers_stay_alone():
    a = torch.tensor([1.0, math.nan, 2.0])
    found = invert(lambda x: (x**3 + a * x, (3 * x**2 + a).log()), torch.tensor([2.0, 2.0, 3.0]))
    assert_close(found[[0, 2]], torch.ones(2))
    assert found[1].isnan()


def test_derivatives_of_both_orders_are_those_of_the_inverse():
    y, a = torch.randn(4).double().requires_grad_(), torch.rand(4).double().requires_grad_()

    def inverse(y, a):
        return invert(lambda x: (x**3 + (1 + a) * x, (3 * x**2 + 1 + a).log()), y)

    assert torch.autograd.gradcheck(inverse, (y, a))
    assert torch.autograd.gradgradcheck(inverse, (y, a))


@pytest.mark.parametrize(
    "make",
    [
        lambda: F.gaussianization((2,), 3),
        lambda: A.naf((2,), 3, 32),
        lambda: A.sos((2,), 3, 32, degree=3, polynomials=2),
        lambda: A.bnaf((2,), 2, 8),
    ],
    ids=["gaussianization", "naf", "sos", "bnaf"],
)
def test_no_latent_is_lost(make):
    """Zuko 1.6.0 returns 8.2% wrong samples for such a flow, its search ending at 10 (probabilists/zuko#20, #55)."""
    torch.manual_seed(0)
    flow = make()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    flow.chain[0].shift.data.fill_(-200.0)  # data around 200, far from any fixed bracket
    flow.chain[1].log_scale.data.fill_(-1.0)
    z = 3 * torch.randn(2000, 2)
    with torch.no_grad():
        x = flow.decode(z)
        error = (flow.encode(x) - z).abs()
        rounding = x.abs() * 1e-6 * (1 + flow.encode_and_ladj(x)[1].exp()[:, None])
    assert (error <= 1e-3 + 10 * rounding).all()
    assert x.abs().max() > 100


def test_marginals_are_exact_forty_deviations_out():
    """Clamping the distribution function at 1 - eps, as is usual, ends the map 5 deviations out in float32."""
    mixture = T.GaussianMixture(1)
    x = torch.tensor([-40.0, -10.0, 0.0, 10.0, 40.0, 1e4])
    params = torch.tensor([0.0, 1.0, 0.0]).expand(6, 3)
    z, ladj = mixture.encode(x, params)
    assert_close(z, (x - 1) / 1.001, rtol=1e-6, atol=1e-6)
    assert_close(ladj, torch.full_like(x, -math.log(1.001)), rtol=1e-3, atol=1e-6)
    assert_close(mixture.decode(z, params)[0], x, rtol=1e-6, atol=1e-6)

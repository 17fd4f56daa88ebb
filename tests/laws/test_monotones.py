"""What every increasing map of one number promises, held against the whole zoo."""

import math

import pytest
import torch
from torch.testing import assert_close

from laws.zoo_monotones import MONOTONES, Map

every = pytest.mark.parametrize("member", MONOTONES.values(), ids=MONOTONES.keys())
EPS = {torch.float32: 2**-23, torch.float64: 2**-52}


@every
@pytest.mark.parametrize("dtype", EPS, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_decoding_errs_by_no_more_than_rounding(member: Map, dtype, scale: float):
    """encode(decode(z)) = z to a few units in the last place: no inverse could do better."""
    x, params = member.data(dtype=dtype), member.params(scale=scale, dtype=dtype)
    z, _ = member.monotone.encode(x, params)
    back, ladj = member.monotone.decode(z, params)
    rounding = EPS[dtype] * (4 + 4 * z.abs() + 4 * x.abs() * (-ladj).exp())
    assert (member.gap(member.monotone.encode(back, params)[0], z) <= 2 * rounding).all()


@every
def test_each_direction_undoes_the_other(member: Map):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        x, params = member.data(dtype=dtype), member.params(scale=0.3, dtype=dtype)
        z, ladj = member.monotone.encode(x, params)
        back, opposite = member.monotone.decode(z, params)
        assert (member.gap(back, x) <= tolerance * (1 + x.abs()) * (1 + (-ladj).exp())).all()
        assert_close(opposite, -ladj, rtol=0, atol=30 * tolerance)


@every
def test_ladj_is_the_derivative_that_autograd_finds(member: Map):
    params = member.params()
    x = member.data()
    for call, value in ((member.monotone.encode, x), (member.monotone.decode, member.monotone.encode(x, params)[0])):
        value = value.detach().requires_grad_()
        result, ladj = call(value, params)
        (slope,) = torch.autograd.grad(result.sum(), value)
        assert (slope > 0).all()
        assert_close(ladj, slope.log(), rtol=1e-8, atol=1e-8)


@every
def test_derivatives_of_both_orders_are_those_of_finite_differences(member: Map):
    params = member.params(4).requires_grad_()
    x = member.data(4)
    z = member.monotone.encode(x, params)[0].detach().requires_grad_()
    x.requires_grad_()
    for call, value in ((member.monotone.encode, x), (member.monotone.decode, z)):
        assert torch.autograd.gradcheck(call, (value, params), fast_mode=True)
        assert torch.autograd.gradgradcheck(call, (value, params), atol=1e-4, fast_mode=True)


@every
def test_zero_parameters_give_the_identity(member: Map):
    if not member.identity:
        pytest.skip("its zoo says that zeros bend")
    for call in (member.monotone.encode, member.monotone.decode):
        value, ladj = call(member.data(), member.params(scale=0.0))
        assert_close(value, member.data(), rtol=0, atol=1e-14)
        assert_close(ladj, torch.zeros_like(ladj), rtol=0, atol=1e-13)


@every
def test_order_is_kept_over_every_end(member: Map):
    if member.circle:
        pytest.skip("a circle has no order")
    x = torch.linspace(-2 * member.reach, 2 * member.reach, 2001, dtype=torch.float64)
    for params in member.params(5, scale=2.0):
        z, _ = member.monotone.encode(x, params.expand(len(x), -1))
        assert (z.diff() > 0).all()


@every
def test_gradients_reach_every_parameter(member: Map):
    if not member.monotone.size:
        pytest.skip("it has none")
    for call in (member.monotone.encode, member.monotone.decode):
        params = member.params(1)[0].requires_grad_()
        value, ladj = call(member.data(5000), params.expand(5000, -1))
        (value.square() + ladj).sum().backward()
        assert (params.grad.abs() > 0).all()


@every
@pytest.mark.parametrize("far", [-1e6, -300.0, -3.0, 0.0, 3.0, 300.0, 1e6])
def test_no_number_gives_a_nan_or_a_gradient_that_is_one(member: Map, far: float):
    for dtype in EPS:
        for call in (member.monotone.encode, member.monotone.decode):
            params = member.params(50, dtype=dtype).requires_grad_()
            x = torch.full((50,), min(far, 50.0) if member.identity is False else far, dtype=dtype).requires_grad_()
            value, ladj = call(x, params)
            if not member.everywhere and call == member.monotone.decode and value.isnan().all():
                continue  # the next law's affair
            assert not value.isnan().any()
            assert not ladj.isnan().any()
            if ladj.isfinite().all() and value.isfinite().all():
                grads = torch.autograd.grad((value + ladj).sum(), (x, params), allow_unused=True)
                assert all(grad is None or grad.isfinite().all() for grad in grads)


@every
@pytest.mark.parametrize("dtype", EPS, ids=str)
def test_what_cannot_be_reached_is_no_number_and_has_no_density(member: Map, dtype):
    """It is NaN for itself alone: neighbours keep their values and their derivatives."""
    if member.everywhere:
        pytest.skip("it reaches all numbers")
    params = member.params(3, scale=0.1, dtype=dtype).requires_grad_()
    z = torch.tensor([0.5, -10.0, 1.0], dtype=dtype).requires_grad_()
    x, ladj = member.monotone.decode(z, params)
    assert x.isnan().tolist() == [False, True, False]
    assert ladj[1] == -math.inf
    others = torch.tensor([0, 2])
    alone = member.monotone.decode(z[others], params[others])
    assert_close((x[others], ladj[others]), alone)
    grads = torch.autograd.grad((x + ladj)[others].sum(), (z, params), allow_unused=True)
    assert all(grad is None or grad.isfinite().all() for grad in grads)


@every
@pytest.mark.parametrize("dtype", EPS, ids=str)
def test_what_rounding_takes_to_an_end_is_decoded(member: Map, dtype):
    if member.everywhere:
        pytest.skip("it has no end")
    x = torch.tensor([-1e30, -1e4, -200.0, -17.0, 17.0], dtype=dtype)
    z, _ = member.monotone.encode(x, member.params(5, scale=0.1, dtype=dtype))
    back, _ = member.monotone.decode(z, member.params(5, scale=0.1, dtype=dtype))
    assert back.isfinite().all()


@every
def test_numbers_do_not_see_each_other(member: Map):
    params = member.params()
    z, _ = member.monotone.encode(member.data(), params)
    whole = member.monotone.decode(z, params)
    for i in (0, 7, 199):
        alone = member.monotone.decode(z[i : i + 1], params[i : i + 1])
        assert_close(alone, (whole[0][i : i + 1], whole[1][i : i + 1]), rtol=1e-13, atol=1e-13)

"""What every transform promises, held against the whole zoo in float64."""

import io

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from laws.zoo_transforms import TRANSFORMS, Member

READS_CONTEXT = {name: member for name, member in TRANSFORMS.items() if member.context}

every = pytest.mark.parametrize("member", TRANSFORMS.values(), ids=TRANSFORMS.keys())
every_that_reads_context = pytest.mark.parametrize("member", READS_CONTEXT.values(), ids=READS_CONTEXT.keys())


def directions(member: Member):
    """(call, its inverse, input) for both directions."""
    transform = member.transform()
    yield transform.encode, transform.decode, member.data()
    yield transform.decode, transform.encode, member.noise()


def jacobian_ladj(call, x: Tensor, context: Tensor | None) -> Tensor:
    """log |det| of the Jacobian that autograd finds, per sample."""
    each = []
    for i in range(len(x)):
        one = None if context is None else context[i : i + 1]
        matrix = torch.autograd.functional.jacobian(lambda v, c=one: call(v, c)[0], x[i : i + 1])
        n = x[0].numel()
        each.append(torch.linalg.slogdet(matrix.reshape(n, n)).logabsdet)
    return torch.stack(each)


@every
def test_each_direction_undoes_the_other(member: Member):
    for call, undo, x in directions(member):
        value, _ = call(x, member.contexts())
        assert_close(undo(value, member.contexts())[0], x, rtol=1e-9, atol=1e-9)


@every
def test_ladj_is_that_of_the_jacobian(member: Member):
    for call, _, x in directions(member):
        _, ladj = call(x, member.contexts())
        assert_close(ladj, jacobian_ladj(call, x, member.contexts()), rtol=1e-9, atol=1e-9)


@every
def test_ladj_changes_sign_with_the_direction(member: Member):
    for call, undo, x in directions(member):
        value, ladj = call(x, member.contexts())
        assert_close(undo(value, member.contexts())[1], -ladj, rtol=1e-8, atol=1e-8)


@every
def test_the_noise_has_its_shape_and_ladj_is_per_sample(member: Member):
    transform, x = member.transform(), member.data()
    z, ladj = transform.encode(x, member.contexts())
    assert z.shape == (len(x), *(member.after or member.shape))
    assert ladj.shape == (len(x),)
    assert z.dtype == ladj.dtype == torch.float64


@every
def test_gradients_reach_every_parameter(member: Member):
    for direction in ("encode", "decode"):
        transform, n = member.transform(), 500 if member.sparse else 5
        x = member.data(n) if direction == "encode" else member.noise(n)
        value, ladj = getattr(transform, direction)(x, member.contexts(n))
        loss = (value.flatten(1) * torch.arange(1.0, 1 + value[0].numel())).sum() + ladj.square().sum()
        if not list(transform.parameters()):
            assert not loss.requires_grad
            continue
        loss.backward()
        for name, parameter in transform.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@every
def test_samples_do_not_see_each_other(member: Member):
    transform, x, context = member.transform(), member.data(), member.contexts()
    z, ladj = transform.encode(x, context)
    for i in range(len(x)):
        alone = transform.encode(x[i : i + 1], None if context is None else context[i : i + 1])
        assert_close(alone, (z[i : i + 1], ladj[i : i + 1]), rtol=1e-12, atol=1e-12)


@every
def test_an_empty_batch_stays_empty(member: Member):
    context = member.contexts()
    z, ladj = member.transform().encode(member.data()[:0], None if context is None else context[:0])
    assert z.shape == (0, *(member.after or member.shape))
    assert ladj.shape == (0,)


@every
def test_inputs_are_left_alone(member: Member):
    for call, _, x in directions(member):
        context, before = member.contexts(), x.clone()
        call(x, context)
        assert torch.equal(x, before)
        assert context is None or torch.equal(context, member.contexts())


@every
def test_float32_agrees_with_float64(member: Member):
    transform, context = member.transform(), member.contexts()
    exact = transform.encode(member.data(), context)
    single = transform.float().encode(member.data().float(), None if context is None else context.float())
    assert single[0].dtype == single[1].dtype == torch.float32
    assert_close(single, exact, rtol=2e-4, atol=2e-4, check_dtype=False)


@every
def test_half_precision_spoils_no_index(member: Member):
    transform = member.transform().half().double()
    z, _ = transform.encode(member.data(), member.contexts())
    assert_close(transform.decode(z, member.contexts())[0], member.data(), rtol=1e-9, atol=1e-9)


@every
def test_weights_saved_and_loaded_give_the_same_map(member: Member):
    first, second = member.transform(seed=0), member.transform(seed=1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for a, b in zip(first.encode(member.data(), member.contexts()), second.encode(member.data(), member.contexts())):
        assert torch.equal(a, b)


@every_that_reads_context
def test_context_matters_to_those_that_read_it(member: Member):
    transform = member.transform()
    x, context = member.data(), member.contexts()
    assert context is not None
    for call in (transform.encode, transform.decode):
        moved = call(x, context + 0.5)[0]
        assert ((moved - call(x, context)[0]).flatten(1).abs().sum(1) > 1e-6).all()


@every
def test_first_and_second_derivatives_are_those_of_finite_differences(member: Member):
    transform, context = member.transform(), member.contexts(2)
    x = member.data(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: transform.encode(v, context), x)
    if {"AdditiveCoupling", "AffineCoupling", "Logit"} & {type(m).__name__ for m in transform.modules()}:
        assert torch.autograd.gradgradcheck(lambda v: transform.encode(v, context)[0], x)

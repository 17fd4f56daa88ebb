"""What every field net promises, in float64."""

import io

import pytest
import torch
from safetensors.torch import load, save
from torch.nn.attention import SDPBackend, sdpa_kernel

from laws.zoo_nets import NETS, context, trained
from pushforward import PushforwardError

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
every = pytest.mark.parametrize("name", NETS)


def setting(name, n=3):
    net = trained(NETS[name])
    x = torch.randn(n, *net.shape, dtype=torch.float64)
    return net, x, torch.rand(n, dtype=torch.float64), context(name, n)


@every
def test_a_new_net_is_zero_everywhere(name):
    _, x, t, c = setting(name)
    assert torch.equal(NETS[name]().double()(x, t, c), torch.zeros_like(x))


@every
def test_samples_of_a_batch_do_not_see_each_other(name):
    net, x, t, c = setting(name)
    alone = [net(x[i : i + 1], t[i : i + 1], None if c is None else c[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(net(x, t, c), torch.cat(alone), rtol=1e-10, atol=1e-12)


@every
def test_time_and_context_matter(name):
    net, x, t, c = setting(name)
    out = net(x, t, c)
    assert not torch.allclose(out, net(x, 1 - t, c))
    if c is not None:
        assert not torch.allclose(out, net(x, t, c.roll(1, 0)))


@every
def test_one_time_for_all_is_that_time_for_each(name):
    net, x, _, c = setting(name)
    one = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(net(x, one, c), net(x, one.expand(3), c))


@every
def test_gradients_reach_every_parameter(name):
    net, x, t, c = setting(name)
    net(x, t, c).square().sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_one_step_of_training_from_zero_moves_the_output(name):
    _, x, t, c = setting(name)
    net = NETS[name]().double()
    for _ in range(2):  # the first step moves the last layer alone
        (net(x, t, c) - x).square().mean().backward()
        with torch.no_grad():
            for p in net.parameters():
                p.sub_(0.02 * p.grad)
                p.grad = None
    assert (net(x, t, c) - x).square().mean() < x.square().mean()


@every
def test_forward_and_reverse_derivatives_agree(name):
    net, x, t, c = setting(name)
    v, w = torch.randn(2, *x.shape, dtype=torch.float64)
    _, forward = torch.func.jvp(lambda y: net(y, t, c), (x,), (v,))
    _, pull = torch.func.vjp(lambda y: net(y, t, c), x)
    torch.testing.assert_close((forward * w).sum(), (pull(w)[0] * v).sum(), rtol=1e-9, atol=1e-10)
    step = 1e-6 * v
    numeric = (net(x + step, t, c) - net(x - step, t, c)) / 2e-6
    torch.testing.assert_close(forward, numeric, rtol=1e-5, atol=1e-7)


@every
def test_divergence_is_exact(name):
    net, x, t, c = setting(name)

    def field(y, s, k):
        return net(y[None], s[None], None if k is None else k[None])[0]

    axes = (0, 0, None if c is None else 0)
    jacobian = (
        torch.func.vmap(torch.func.jacrev(field), in_dims=axes)(x, t, c).flatten(1).unflatten(1, (x[0].numel(), -1))
    )
    exact = torch.func.vmap(torch.trace)(jacobian)
    y = x.clone().requires_grad_()
    out = net(y, t, c).flatten(1)
    slow = sum(
        torch.autograd.grad(out[:, i].sum(), y, retain_graph=True)[0].flatten(1)[:, i] for i in range(out.shape[1])
    )
    torch.testing.assert_close(exact, slow, rtol=1e-9, atol=1e-10)


@every
def test_second_derivatives_are_those_of_the_formula(name):
    net, x, t, c = setting(name, n=1)
    v = torch.randn_like(x)

    def push(y):  # v^T J as a function of x, as training through a divergence needs it
        y = y.requires_grad_()
        return torch.autograd.grad((net(y, t, c) * v).sum(), y, create_graph=True)[0]

    with sdpa_kernel(SDPBackend.MATH):
        (got,) = torch.autograd.grad((push(x.clone()) * v).sum(), list(net.parameters())[:1])

    first = next(iter(dict(net.named_parameters())))

    def value(weight):
        return torch.func.jvp(
            lambda y: (torch.func.functional_call(net, {first: weight}, (y, t, c)) * v).sum(), (x,), (v,)
        )[1]

    torch.testing.assert_close(got, torch.func.grad(value)(net.get_parameter(first).detach()), rtol=1e-8, atol=1e-10)


@every
def test_saved_weights_are_the_net(name):
    net, x, t, c = setting(name)
    other = trained(NETS[name], seed=1)
    other.load_state_dict(load(save({k: v.contiguous() for k, v in net.state_dict().items()})))
    assert torch.equal(other(x, t, c), net(x, t, c))
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x, t, c), net(x, t, c))


@every
def test_a_net_made_on_meta_is_the_net_once_it_has_weights(name):
    net, x, t, c = setting(name)
    with torch.device("meta"):
        empty = NETS[name]().double()
    shape = empty(x.to("meta"), t.to("meta"), None if c is None else c.to("meta")).shape
    assert shape == x.shape
    empty.to_empty(device="cpu").load_state_dict(net.state_dict())
    assert torch.equal(empty(x, t, c), net(x, t, c))


@every
def test_nothing_hides_in_buffers(name):
    assert list(NETS[name]().buffers()) == []


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_casting_the_net_rounds_its_weights_alone(name, dtype):
    _, x, t, c = setting(name)
    c = c.to(dtype) if c is not None and c.is_floating_point() else c
    low = trained(NETS[name]).to(dtype)
    rounded = trained(NETS[name]).to(dtype).double()
    exact = rounded(x.to(dtype).double(), t, c.double() if c is not None and c.is_floating_point() else c)
    error = (low(x.to(dtype), t, c).double() - exact).norm() / exact.norm()
    assert error < 16 * torch.finfo(dtype).eps


@every
def test_autocast_runs_and_keeps_close(name):
    net, x, t, c = setting(name)
    net, x, t = net.float(), x.float(), t.float()
    c = c.float() if c is not None and c.is_floating_point() else c
    with torch.autocast("cpu", torch.bfloat16):
        low = net(x, t, c)
    assert (low - net(x, t, c)).norm() < 0.1 * net(x, t, c).norm()


@every
def test_events_of_another_shape_are_refused(name):
    net, x, t, c = setting(name)
    with pytest.raises(PushforwardError, match=r"Make the net with data\.shape"):
        net(x[..., :-1], t, c)
    with pytest.raises(PushforwardError, match="one time per event"):
        net(x, t[:2], c)


@every
def test_a_context_of_another_kind_is_refused(name):
    net, x, t, _ = setting(name)
    wrong = torch.zeros(3, 5, dtype=torch.float64)
    with pytest.raises(PushforwardError, match=r"context|class indices"):
        net(x, t, wrong)

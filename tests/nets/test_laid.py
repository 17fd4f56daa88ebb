"""Products in workspaces that calls hand on: of the parameters as they are, and no result is ever touched."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from pushforward.nets import laid
from pushforward.nets.staircase import Staircases


def staircases(seed=0):
    """Two layers of several blocks."""
    torch.manual_seed(seed)
    masks = [torch.arange(n)[:, None] * 140 // n >= torch.arange(140) for n in (140, 300)]
    layers = Staircases(masks).double()
    return layers, torch.randn(140, 5, dtype=torch.float64)


def formula(layers, x, weight=None, bias=None):
    """What they are to say."""
    parameters = layers.weight if weight is None else weight, layers.mask, layers.bias if bias is None else bias
    return layers.product.plain(x, *parameters)[0]


def slope(y, *parameters):
    """The gradient of one sum of the outputs."""
    return torch.autograd.grad((y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum(), parameters)


def changed(how, layers):
    """The same layers, with other numbers in their parameters."""
    weight, bias = (torch.randn_like(each) for each in (layers.weight, layers.bias))
    match how:
        case "in place":
            with torch.no_grad():
                layers.weight.copy_(weight), layers.bias.copy_(bias)
        case "unseen by autograd":
            layers.weight.data.copy_(weight), layers.bias.data.copy_(bias)
        case "other storage":
            layers.weight.data, layers.bias.data = weight, bias
        case "other parameters":
            layers.weight, layers.bias = nn.Parameter(weight), nn.Parameter(bias)
        case "a bias alone":
            layers.bias = nn.Parameter(bias)
        case "assigned":
            layers.load_state_dict({**layers.state_dict(), "weight": weight, "bias": bias}, assign=True)
        case "another precision":
            layers.float().double()
        case "a copy":
            layers = copy.deepcopy(layers)
            layers.weight.data.copy_(weight)
        case "a pickle":
            layers = pickle.loads(pickle.dumps(layers))
            layers.weight.data.copy_(weight)
    return layers


WAYS = ["in place", "unseen by autograd", "other storage", "other parameters", "a bias alone", "assigned"]
WAYS += ["another precision", "a copy", "a pickle"]


@pytest.mark.parametrize("how", WAYS)
def test_products_are_those_of_the_parameters_as_they_are(how):
    layers, x = staircases()
    before = layers(x).detach()
    again = changed(how, layers)
    parameters = again.weight, again.bias
    assert_close(again(x), formula(again, x), rtol=1e-12, atol=1e-12)
    assert_close(slope(again(x), *parameters), slope(formula(again, x), *parameters), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        assert_close(again(x), formula(again, x), rtol=1e-12, atol=1e-12)
    if again is not layers:
        assert_close(layers(x), before, rtol=0, atol=0)


def test_two_calls_before_one_gradient():
    layers, x = staircases()
    y = torch.randn_like(x)
    found = slope(layers(x) + layers(y), layers.weight, layers.bias)
    wanted = slope(formula(layers, x) + formula(layers, y), layers.weight, layers.bias)
    assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_each_call_keeps_the_parameters_it_was_given():
    """Weights of a hypernetwork, say, for two calls, and the module's own after them."""
    layers, x = staircases()
    ways = [[nn.Parameter(torch.randn_like(each)) for each in (layers.weight, layers.bias)] for _ in range(2)]
    results = [functional_call(layers, dict(zip(["weight", "bias"], each, strict=True)), x) for each in ways]
    results.append(layers(x))
    for y, (weight, bias) in zip(results, [*ways, [layers.weight, layers.bias]], strict=True):
        assert_close(
            slope(y, weight, bias), slope(formula(layers, x, weight, bias), weight, bias), rtol=1e-9, atol=1e-9
        )


def test_a_gradient_after_the_weights_have_changed_is_refused():
    layers, x = staircases()
    y = layers(x).sum()
    with torch.no_grad():
        layers.weight.mul_(2)
    layers(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_second_derivatives_reach_biases():
    layers, x = staircases()
    layers(x)
    found = torch.autograd.grad(layers(x).square().sum(), layers.bias, create_graph=True)[0]
    wanted = torch.autograd.grad(formula(layers, x).square().sum(), layers.bias, create_graph=True)[0]
    found, wanted = (torch.autograd.grad(each.square().sum(), [layers.weight, layers.bias]) for each in (found, wanted))
    assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_inference_first_and_training_after():
    layers, x = staircases()
    with torch.inference_mode():
        seen = layers(x)
    assert_close(layers(x), seen, rtol=0, atol=0)
    layers(x).sum().backward()
    assert layers.weight.grad.ne(0).any()


def test_a_pickle_carries_parameters_alone():
    layers, x = staircases()
    before = len(pickle.dumps(layers))
    layers(x)
    assert len(pickle.dumps(layers)) == before


def test_layers_made_for_inference():
    with torch.inference_mode():
        layers, x = staircases()
        found = layers(x)
    with torch.no_grad():
        assert_close(layers(x), found, rtol=0, atol=0)


def test_parameters_that_went_elsewhere_free_their_memory():
    layers, x = staircases()
    layers(x)
    before = weakref.ref(layers._laid)
    layers.to("meta")(x.to("meta"))
    assert before() is None


def pair(told=False):
    """Two networks of one shape and events for each, with what a context adds where there is one."""
    (first, x), (second, y) = staircases(1), staircases(2)
    each = [torch.randn(140, 5, dtype=torch.float64, requires_grad=True) for _ in range(2)] if told else [None] * 2
    return (first, x.requires_grad_(), each[0]), (second, y.requires_grad_(), each[1])


def wanted(layers, x, told):
    """Outputs and gradients in plain operations."""
    given = [each for each in (x, layers.weight, layers.bias, told) if each is not None]
    y = layers.product.plain(x, layers.weight, layers.mask, layers.bias, *([] if told is None else [told]))[0]
    return y.detach(), slope(y, *given)


@pytest.mark.parametrize("told", [False, True], ids=["", "told"])
def test_networks_of_one_shape_do_not_touch_each_other(told):
    """Both called before either gradient, twice, and gradients and outputs kept meanwhile."""
    both, seen = pair(told), []
    for _ in range(2):
        outputs = [layers(x, c) for layers, x, c in both]
        assert both[0][0]._laid.pool is both[1][0]._laid.pool
        for (layers, x, c), y in zip(both, outputs, strict=True):
            given = [each for each in (x, layers.weight, layers.bias, c) if each is not None]
            seen.append((y.detach(), slope(y, *given), (layers, x, c)))
    for y, gradients, case in seen:
        value, slopes = wanted(*case)
        assert_close(y, value, rtol=1e-12, atol=1e-12)
        assert_close(gradients, slopes, rtol=1e-10, atol=1e-10)


def test_a_call_without_gradient_gives_back_at_once_and_one_with_it_after_it():
    (first, x, _), (second, y, _) = pair()
    with torch.no_grad():
        kept, _ = first(x), second(y)
    pool = first._laid.pool
    (space,) = pool.free
    loss = first(x).sum() + second(y).sum()
    assert not pool.free
    loss.backward()
    assert len(pool.free) == 3
    assert any(each is space for each in pool.free)
    before = [id(each) for each in pool.free]
    (first(x).sum() + second(y).sum()).backward()
    assert sorted(id(each) for each in pool.free) == sorted(before)
    with torch.no_grad():
        assert_close(kept, first(x), rtol=0, atol=0)


def test_a_graph_that_is_dropped_gives_back():
    layers, x = staircases()
    y = layers(x)
    assert not layers._laid.pool.free
    del y
    gc.collect()
    assert len(layers._laid.pool.free) == 1


def test_a_second_gradient_of_one_call():
    """By then another call has used the place."""
    (first, x, _), (second, y, _) = pair()
    out = first(x)
    once = torch.autograd.grad(out.square().sum(), [x, first.weight, first.bias], retain_graph=True)
    second(y).square().sum().backward()
    again = torch.autograd.grad(out.square().sum(), [x, first.weight, first.bias])
    assert_close(again, once, rtol=0, atol=0)


def test_other_batch_sizes_in_turn():
    layers, x = staircases()
    for size in (5, 3, 3, 5, 1, 0):
        part = x[:, :size]
        assert_close(layers(part), formula(layers, part), rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            layers(part)
        assert {each.hidden.shape[1] for each in layers._laid.pool.free} == {size}


def test_threads():
    layers, _ = staircases()
    parts = [torch.randn(140, 200, dtype=torch.float64) for _ in range(32)]

    def gradient(x):
        with torch.no_grad():
            y = layers(x)
        return y, *torch.autograd.grad(layers(x).square().sum(), [layers.weight, layers.bias])

    alone = [gradient(x) for x in parts]
    with ThreadPoolExecutor(8) as threads:
        assert_close([*threads.map(gradient, parts)], alone, rtol=0, atol=0)


def test_only_what_is_wanted_has_a_gradient():
    layers, x = staircases()
    x.requires_grad_()
    whole = slope(layers(x), x)
    layers.requires_grad_(False)
    assert_close(slope(layers(x), x), whole, rtol=0, atol=0)
    inputs = x.detach(), layers.weight, layers.mask, layers.bias
    (y,), kept = layers._laid.values(*inputs)
    to_x, *others = layers._laid.gradients(inputs, kept, (True, False, False, False), (y,))
    assert_close(to_x, torch.autograd.grad(layers(x), x, y)[0], rtol=0, atol=0)
    assert others[0] is None


def test_checkpoints():
    layers, x = staircases()
    x.requires_grad_()
    direct = slope(layers(x), x, layers.weight)
    assert_close(slope(checkpoint(layers, x, use_reentrant=False), x, layers.weight), direct, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_trace_goes_by_the_parameters_of_its_time():
    layers, x = staircases()
    with torch.no_grad():
        traced = torch.jit.trace(layers, x)
        layers.weight.mul_(2)
        assert_close(traced(x), layers(x), rtol=1e-12, atol=1e-12)


def test_what_nobody_uses_is_bounded_and_goes_with_the_networks(monkeypatch):
    monkeypatch.setattr(laid, "KEPT", 300_000)
    layers, x = staircases()
    outputs = [layers(x) for _ in range(20)]
    del outputs
    gc.collect()
    free = layers._laid.pool.free
    assert len(free) > 1
    assert sum(each.entries.numel() + each.hidden.numel() for each in free) <= 300_000
    memory = weakref.ref(free[0].hidden)
    del layers, free
    gc.collect()
    assert memory() is None


def test_large_batches_take_new_memory():
    layers, _ = staircases()
    x = torch.randn(140, laid.LARGEST // 140 + 1, dtype=torch.float64)
    with torch.no_grad():
        assert_close(layers(x), formula(layers, x), rtol=1e-12, atol=1e-12)
    assert layers._laid is None


def test_a_call_that_fails_gives_back():
    layers, x = staircases()
    layers(x).sum().backward()
    with pytest.raises(RuntimeError, match="dtype"):
        layers(x.float())
    assert len(layers._laid.pool.free) == 2

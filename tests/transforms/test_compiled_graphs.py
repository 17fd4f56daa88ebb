"""The compiled spline is one operation in graphs of `torch.compile`, where no more than a gradient is asked for."""

import pytest
import torch
from torch import func, nn
from torch.testing import assert_close

from pushforward.nets import Dense
from pushforward.transforms import MonotoneCoupling, RationalQuadratic

pytest.importorskip("numba", reason="numba is not installed: pip install 'pushforward[numba]'")

from pushforward.transforms.compiled import operations  # noqa: F401

DIRECTIONS = pytest.mark.parametrize("inverse", [False, True], ids=["encode", "decode"])
LAYOUTS = {
    "parameters of a number together": lambda params: params.contiguous(),
    "along the batch": lambda params: params.permute(2, 1, 0).contiguous().permute(2, 1, 0),
}


class Graphs:
    """`torch.compile` without a compiler, and whether the graphs it made held the operation."""

    def __init__(self, backend="eager"):
        torch.compiler.reset()
        self.backend, self.called = backend, ""

    def of(self, function, **options):
        return torch.compile(function, backend=self, fullgraph=True, **options)

    def __call__(self, graph, inputs):
        self.called += str(graph.graph)
        return torch._dynamo.lookup_backend(self.backend)(graph, inputs)

    @property
    def whole(self):
        return "pushforward.spline" in self.called


def numbers(batch=5, tails="identity", layout="parameters of a number together"):
    torch.manual_seed(0)
    g = RationalQuadratic(6, -3.0, 2.5, tails=tails)
    return g, 2 * torch.randn(batch, 3), LAYOUTS[layout](torch.randn(batch, 3, g.size))


def coupling():
    torch.manual_seed(0)
    g = RationalQuadratic(4)
    return MonotoneCoupling((4,), Dense(2, 2 * g.size, 8, 1, zero_output=False), g)


@DIRECTIONS
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tails", ["identity", "linear", "circular"])
def test_values_and_gradients_are_those_of_single_calls(tails, layout, inverse):
    g, x, params = numbers(5, tails, layout)
    weights = torch.linspace(-1, 2, 15).view(5, 3)

    def loss(x, params):
        value, ladj = (g.decode if inverse else g.encode)(x, params)
        return (value * weights + ladj * weights.flip(0)).sum()

    def found(function):
        leaves = [each.detach().requires_grad_() for each in (x, params)]
        total = function(*leaves)
        return total, torch.autograd.grad(total, leaves)

    graphs = Graphs()
    assert_close(found(graphs.of(loss)), found(loss))
    assert graphs.whole


@DIRECTIONS
def test_couplings_train_as_in_single_calls(inverse):
    layer, x = coupling(), torch.randn(7, 4)
    go = layer.decode if inverse else layer.encode

    def found(function):
        z, ladj = function(x)
        return z, ladj, torch.autograd.grad((z.square().sum() - ladj.sum()), list(layer.parameters()))

    graphs = Graphs("aot_eager")
    assert_close(found(graphs.of(go)), found(go))
    assert graphs.whole


@DIRECTIONS
def test_the_operations_are_what_torch_expects(inverse):
    layout = 4, -3.0, 3.0, 1e-3, -1, -1, inverse
    x, rows, g, u = torch.randn(7), torch.randn(RationalQuadratic(4).size, 7), torch.randn(7), torch.randn(7)
    torch.library.opcheck(torch.ops.pushforward.spline_backward.default, (x, rows, g, u, *layout))
    leaves = x.requires_grad_(), rows.requires_grad_()
    torch.library.opcheck(torch.ops.pushforward.spline.default, (*leaves, *layout))


WITHIN = {
    "vmap": lambda one, whole: func.vmap(one),
    "grad": lambda one, whole: func.grad(lambda x, params: whole(x, params).sum()),
    "grads": lambda one, whole: func.vmap(func.grad(one)),
    "jvp": lambda one, whole: lambda *pair: func.jvp(whole, pair, tuple(each.square() for each in pair))[1],
    "hessian": lambda one, whole: lambda x, params: func.hessian(one)(x[0], params[0]),
}


@pytest.mark.parametrize("name", WITHIN)
def test_derivatives_within_a_graph_take_the_formula_apart(name):
    g, x, params = numbers()
    call = WITHIN[name](lambda x, params: g.encode(x, params)[1].sum(), lambda x, params: g.encode(x, params)[1])
    graphs = Graphs()
    assert_close(graphs.of(call)(x, params), call(x, params), rtol=1e-4, atol=1e-4)
    assert not graphs.whole


def test_derivatives_of_what_was_compiled_before_are_right():
    g, x, params = numbers()

    def ladj(x):
        return g.encode(x, params)[1]

    graphs = Graphs()
    fast = torch.compile(ladj, backend=graphs)
    fast(x)
    assert graphs.whole
    for call in (lambda f: func.jvp(f, (x,), (torch.ones_like(x),))[1], lambda f: func.jacfwd(f)(x)):
        assert_close(call(fast), call(ladj), rtol=1e-4, atol=1e-4)


def test_one_graph_takes_batches_of_any_size():
    layer, graphs = coupling(), Graphs()
    fast = graphs.of(layer.encode, dynamic=True)
    for batch in (6, 7, 31):
        x = torch.randn(batch, 4)
        assert_close(fast(x), layer.encode(x))
    assert graphs.whole


@pytest.mark.parametrize("why", ["precision", "threads", "autocast"])
def test_other_numbers_go_to_torch(why, monkeypatch):
    layer, x, graphs = coupling(), torch.randn(9000 if why == "threads" else 5, 4), Graphs()
    if why == "precision":
        layer, x = layer.double(), x.double()
    if why == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=why == "autocast"):
        assert_close(graphs.of(layer.encode)(x), layer.encode(x), rtol=1e-4, atol=1e-4)
    assert not graphs.whole


class Encoded(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = coupling()

    def forward(self, x):
        return self.layer.encode(x)


@pytest.mark.parametrize("strict", [True, False])
def test_exported_programs_hold_torchs_operations_alone(strict):
    torch.compiler.reset()
    model, x = Encoded(), torch.randn(5, 4)
    program = torch.export.export(model, (x,), strict=strict)
    assert "pushforward" not in str(program.graph)
    assert_close(program.module()(x), model(x))

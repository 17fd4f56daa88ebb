"""In graphs numbers change places by copies of rows, gradients too, and what comes out is what eager calls say."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.testing import assert_close

from pushforward.nets import Dense, MaskedDense
from pushforward.transforms import AdditiveCoupling, Affine, Autoregressive, MonotoneCoupling, RationalQuadratic
from pushforward.transforms.reordering import put_back, reordered

MASKS = {
    "halves": [1, 1, 1, 0, 0, 0],
    "the other half": [0, 0, 0, 1, 1, 1],
    "every other": [1, 0, 1, 0, 1, 0],
    "all but the last": [1, 1, 1, 1, 1, 0],
    "scattered": [1, 1, 0, 1, 0, 0],
}
MAPS = {"additive": None, "affine": Affine(), "spline": RationalQuadratic(4)}


def coupling(kind="additive", mask="halves"):
    torch.manual_seed(0)
    kept = torch.tensor(MASKS[mask]).bool()
    g = MAPS[kind]
    size = 1 if g is None else g.size
    net = Dense(int(kept.sum()), size * int((~kept).sum()), 8, 2, zero_output=False)
    return AdditiveCoupling((6,), net, kept) if g is None else MonotoneCoupling((6,), net, g, kept)


class Graphs:
    """`torch.compile` without a compiler, and what is in the graphs it makes, those of gradients included."""

    def __init__(self):
        torch.compiler.reset()
        self.text = ""

    def of(self, function, **options):
        return torch.compile(function, backend=self, fullgraph=True, **options)

    def __call__(self, graph, inputs):
        return aot_autograd(fw_compiler=self.seen)(graph, inputs)

    def seen(self, graph, inputs):
        self.text += str(graph.graph)
        return make_boxed_func(graph.forward)


def test_orders_and_what_undoes_them_have_gradients_of_all_kinds():
    x, order = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.tensor([2, 0, 3, 1])
    assert torch.equal(reordered(x, order), x[order])
    assert torch.equal(put_back(reordered(x, order), order), x)
    for function in (reordered, put_back):
        assert torch.autograd.gradcheck(lambda rows, move=function: move(rows, order), x)
        assert torch.autograd.gradgradcheck(lambda rows, move=function: move(rows, order), x)


@pytest.mark.parametrize("inverse", [False, True], ids=["encode", "decode"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", MAPS)
def test_couplings_in_graphs_are_those_outside(kind, mask, inverse):
    layer, x = coupling(kind, mask), torch.randn(5, 6)

    def found(function):
        given = x.clone().requires_grad_()
        z, ladj = function(given)
        return z, ladj, torch.autograd.grad(z.square().sum() - ladj.sum(), [given, *layer.parameters()])

    go, graphs = layer.decode if inverse else layer.encode, Graphs()
    assert_close(found(graphs.of(go)), found(go), rtol=1e-4, atol=1e-5)
    assert "index_add" not in graphs.text


@pytest.mark.filterwarnings("ignore")  # those of dynamo itself, where a search breaks the graph
@pytest.mark.parametrize(
    ("order", "inverse"),
    [([0, 1, 2, 3], False), ([3, 2, 1, 0], False), ([2, 0, 3, 1], False), ([2, 0, 3, 1], True)],
)
def test_masked_flows_in_graphs_are_those_outside(order, inverse):
    torch.manual_seed(0)
    layer = Autoregressive(Affine(), MaskedDense(4, 2, hidden=8, order=order, zero_output=False))
    x, graphs = torch.randn(5, 4), Graphs()
    if inverse:
        x = layer.encode(x)[0].detach()
        go = torch.compile(layer.decode, backend=graphs)  # its search breaks the graph
    else:
        go = graphs.of(layer.encode)

    def found(function):
        given = x.clone().requires_grad_()
        z, ladj = function(given)
        return z, ladj, torch.autograd.grad(z.square().sum() - ladj.sum(), [given, *layer.parameters()])

    assert_close(found(go), found(layer.decode if inverse else layer.encode), rtol=1e-4, atol=1e-5)
    assert "index_add" not in graphs.text


class Careless(nn.Module):
    """A conditioner that writes over what it is given."""

    def forward(self, kept):
        return kept.mul_(2).view(len(kept), 1, 3).flatten(1)


@pytest.mark.parametrize("batch", [1, 5])
def test_conditioners_may_write_over_what_they_are_given(batch):
    layer, x = AdditiveCoupling((6,), Careless()), torch.randn(batch, 6)
    z, _ = Graphs().of(layer.encode)(x.clone())
    assert_close(z, layer.encode(x.clone())[0])
    assert torch.equal(z[:, :3], x[:, :3])


def test_graphs_follow_a_state_with_other_places():
    layer, other, x = coupling(mask="halves"), coupling(mask="the other half"), torch.randn(5, 6)
    encode = Graphs().of(layer.encode)
    before = encode(x)[0]
    layer.load_state_dict(other.state_dict())
    assert_close(encode(x), other.encode(x))
    assert not torch.equal(encode(x)[0], before)

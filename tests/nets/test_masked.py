"""The masked network: who sees whom, what it costs, and the walk."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pushforward import PushforwardError
from pushforward.nets import MaskedDense, ranked
from pushforward.nets.staircase import Staircases


def graph(*edges, n):
    adjacency = torch.zeros(n, n, dtype=torch.bool)
    for child, parent in edges:
        adjacency[child, parent] = True
    return adjacency


GRAPHS = {
    "chain": ranked(6),
    "order": ranked(6, order=[3, 1, 5, 0, 2, 4]),
    "passes": ranked(6, passes=3),
    "coupling": ranked(6, passes=2),
    "nobody": ranked(4, passes=1),
    "diamond": graph((0, 3), (2, 3), (1, 0), (1, 2), (4, 1), n=6),
}


def net_of(adjacency, seed=0, **options):
    torch.manual_seed(seed)
    options = {"hidden": 24, "activation": torch.tanh, **options}
    net = MaskedDense(len(adjacency), 2, adjacency=adjacency, **options)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.7)
    return net.double()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"layers": 3}, {"context": 2}], ids=str)
def test_outputs_depend_on_parents_alone_and_on_all_of_them(name, options):
    adjacency, n = GRAPHS[name], len(GRAPHS[name])
    net, context = net_of(adjacency, **options), torch.ones(1, 2).double() if "context" in options else None
    x = torch.randn(1, n, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v, context), x)[0, :, :, 0]
    assert torch.equal(jacobian.ne(0).any(1), adjacency)


BLOCKS = {"hidden": 200, "activation": torch.relu}  # several, which end within levels
WALKS = {
    "": {},
    "residual, context": {"residual": True, "context": 2},
    "one layer": {"layers": 1, "hidden": 300},
    "blocks": BLOCKS,
    "blocks, context": {**BLOCKS, "context": 2},
    "blocks, residual": {**BLOCKS, "residual": True},
    "blocks, three layers": {**BLOCKS, "layers": 3},
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("options", WALKS.values(), ids=WALKS)
def test_the_walk_hands_out_what_a_call_computes(name, options):
    adjacency, n = GRAPHS[name], len(GRAPHS[name])
    net, context = net_of(adjacency, **options), torch.randn(5, 2).double() if "context" in options else None
    x = torch.randn(5, n, dtype=torch.float64)
    walk = net.walk(5, context)
    parts = x.index_select(1, net.order).split(net.sizes, 1)
    outputs = [next(walk), *(walk.send(part) for part in parts[:-1])]
    assert_close(torch.cat(outputs, 1), net(x, context).index_select(1, net.order), rtol=1e-12, atol=1e-12)
    with pytest.raises(StopIteration):
        walk.send(parts[-1])


def test_levels_are_those_of_the_longest_way():
    net = net_of(GRAPHS["diamond"])
    assert net.sizes == (2, 2, 1, 1)
    assert sorted(net.order[:2].tolist()) == [3, 5]
    assert net_of(GRAPHS["chain"]).sizes == (1,) * 6
    assert net_of(GRAPHS["passes"]).sizes == (2, 2, 2)


@pytest.mark.parametrize("outputs", [3, 600])
def test_blocks_are_the_masked_matrix(outputs):
    torch.manual_seed(0)
    mask = torch.arange(outputs)[:, None] * 700 // outputs >= torch.arange(700)
    layers = Staircases([mask]).double()
    x = torch.randn(700, 4, dtype=torch.float64)
    dense = (layers(torch.eye(700, dtype=torch.float64)) - layers.bias[:, None]).detach()
    assert torch.equal(dense.abs() > 1e-12, mask)
    assert_close(layers(x), dense @ x + layers.bias[:, None], rtol=1e-12, atol=1e-12)
    layers(x).square().sum().backward()
    assert torch.equal(layers.weight.grad.ne(0), layers.mask.bool())


def test_large_layers_keep_and_multiply_five_eighths():
    layers = Staircases([torch.ones(1024, 1024, dtype=torch.bool).tril()])
    assert layers.weight.numel() == 1024 * 1024 * 5 // 8


def test_weights_written_into_masked_places_stay_without_effect():
    net = net_of(GRAPHS["chain"])
    x = torch.randn(3, 6, dtype=torch.float64)
    before = net(x)
    with torch.no_grad():
        net.products.weight.add_(100 * (1 - net.products.mask))
    assert torch.equal(net(x), before)


def test_a_context_reaches_numbers_that_see_nobody():
    net = net_of(ranked(4), context=2)
    x, c = torch.randn(2, 4).double(), torch.randn(2, 2).double()
    moved = (net(x, c) - net(x, c + 1)).abs()[:, 0]
    assert (moved > 1e-6).all()


def test_dropout_acts_in_training_alone():
    net = net_of(ranked(4), dropout=0.5)
    x = torch.randn(2, 4).double()
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order": [0, 0, 1]}, "each of 0..2 once"),
        ({"passes": 4}, "from 1 to 3 passes"),
        ({"adjacency": graph((0, 1), (1, 0), n=3)}, "without cycles"),
        ({"adjacency": graph((0, 0), n=3)}, "without cycles"),
        ({"adjacency": torch.zeros(2, 3)}, r"an adjacency \[3, 3\]; got shape \[2, 3\]"),
        ({"adjacency": torch.zeros(3, 3), "passes": 2}, "an adjacency or an order"),
        ({"adjacency": graph((1, 0), (2, 1), n=3), "hidden": 1}, "Make hidden larger"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(PushforwardError, match=said):
        MaskedDense(3, 2, **options)


@pytest.mark.parametrize("context", [None, torch.zeros(2, 3), torch.zeros(2)])
def test_a_context_of_another_kind_is_refused(context):
    with pytest.raises(PushforwardError, match=r"context \[batch, 2\]"):
        MaskedDense(3, 2, context=2)(torch.zeros(2, 3), context)

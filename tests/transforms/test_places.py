"""What graphs take from an event and put back is what indices say, in slices where places are evenly spaced."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.nets import Dense
from pushforward.transforms import AdditiveCoupling, Affine, MonotoneCoupling, RationalQuadratic
from pushforward.transforms.places import put, slice_of, taken

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
    """`torch.compile` without a compiler, and what is in the graphs it makes, gradients included."""

    def __init__(self):
        torch.compiler.reset()
        self.text = ""

    def of(self, function, **options):
        return torch.compile(function, backend=self, fullgraph=True, **options)

    def __call__(self, graph, inputs):
        self.text += str(graph.graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)


@pytest.mark.parametrize("places", [[0, 1, 2], [3, 4, 5], [1, 3, 5], [2], [0, 3], [0, 1, 3], [5, 4, 3], [2, 2]])
def test_slices_are_the_places(places):
    index, x = torch.tensor(places), torch.randn(4, 6)
    run, new = slice_of(index, 6), torch.randn(4, len(places))
    assert (run is None) == (places in ([0, 1, 3], [5, 4, 3], [2, 2]))
    assert torch.equal(taken(x, index, run), x[:, places])
    if len({*places}) == len(places):
        expected = x.clone()
        expected[:, places] = new
        assert torch.equal(put(x, new, index, run), expected)


def test_what_is_taken_is_nobody_elses():
    x = torch.zeros(1, 6)
    taken(x, torch.tensor([0, 1]), slice(0, 2, 1)).add_(1)
    assert x.abs().sum() == 0


@pytest.mark.parametrize("places", [[4, 5, 6], [-1, 0, 1]])
def test_places_beyond_the_event_are_no_slice(places):
    assert slice_of(torch.tensor(places), 6) is None


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
    assert ("index_copy" in graphs.text) == (mask == "scattered")


@pytest.mark.parametrize("compiled_before", [False, True])
def test_graphs_follow_a_state_with_other_places(compiled_before):
    layer, other, x = coupling(mask="halves"), coupling(mask="the other half"), torch.randn(5, 6)
    encode = Graphs().of(layer.encode)
    if compiled_before:
        encode(x)
    layer.load_state_dict(other.state_dict())
    assert_close(encode(x), other.encode(x))
    assert not torch.equal(encode(x)[0], coupling(mask="halves").encode(x)[0])

"""The spline written out bin by bin says what its tables say, and is what compiled graphs hold without numba."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.transforms import RationalQuadratic
from pushforward.transforms.compiled import graphs
from pushforward.transforms.unrolled import BINS, in_graph, unrolled

DIRECTIONS = pytest.mark.parametrize("inverse", [False, True], ids=["encode", "decode"])


def case(tails, dtype=torch.float64, wide=1.0):
    draw = torch.Generator().manual_seed(0)
    g = RationalQuadratic(6, -3.0, 2.5, tails=tails)
    x = 2.5 * torch.randn(200, generator=draw, dtype=torch.float64)  # some beyond the knots
    params = wide * torch.randn(200, g.size - (tails == "circular"), generator=draw, dtype=torch.float64)
    return g, x.to(dtype), params.to(dtype)


@DIRECTIONS
@pytest.mark.parametrize("tails", ["identity", "linear", "circular"])
def test_values_and_gradients_are_those_of_tables(tails, inverse):
    g, *inputs = case(tails)
    spline = g.spline(inverse)

    def found(function):
        x, params = leaves = [each.detach().requires_grad_() for each in inputs]
        value, ladj = function(x, params)
        weights = torch.linspace(-1, 2, len(value), dtype=value.dtype)
        return value, ladj, torch.autograd.grad((value * weights + ladj * weights.flip(0)).sum(), leaves)

    assert_close(
        found(lambda x, params: unrolled(x, params.T, spline.layout, inverse)),
        found(spline.otherwise),
        rtol=1e-9,
        atol=1e-10,
    )


@DIRECTIONS
def test_numbers_on_knots_and_beyond_all_of_them(inverse):
    g, _, params = case("identity")
    spline = g.spline(inverse)
    params = params[:1].expand(8, -1)
    inner = g.table(params[0])[int(inverse)][1:4]
    x = torch.cat([inner, torch.tensor([-3.0, 2.5, torch.inf, -torch.inf, torch.nan]).double()])
    found, tables = unrolled(x, params.T, spline.layout, inverse), spline.otherwise(x, params)
    assert_close(found[0][:5], tables[0][:5], rtol=1e-9, atol=1e-10)
    assert_close(found[0][3:7], x[3:7])
    assert found[0][7].isnan()
    assert found[1][7].isnan()


def test_nothing_moves_beyond_identity_tails():
    g = RationalQuadratic(5, -1.0, 1.0)
    x = torch.tensor([-1e6, -50.0, -1.0, 1.0, 7.0, 1e6])
    rows = torch.randn(g.size, len(x), generator=torch.Generator().manual_seed(0))
    z, ladj = unrolled(x, rows, g.spline(False).layout, False)
    assert_close(z, x, rtol=1e-6, atol=1e-6)
    assert torch.equal(ladj, torch.zeros(len(x)))


@DIRECTIONS
@pytest.mark.parametrize("wide", [1e2, 1e4])
def test_parameters_of_any_size_stay_finite(wide, inverse):
    g, x, params = case("linear", torch.float32, wide)
    leaves = x.requires_grad_(), params.requires_grad_()
    value, ladj = unrolled(x, params.T, g.spline(inverse).layout, inverse)
    for each in (value, ladj, *torch.autograd.grad(value.sum() + ladj.sum(), leaves)):
        assert each.isfinite().all()


def test_splines_of_many_bins_keep_their_tables():
    x = torch.zeros(3, dtype=torch.float64)
    for bins, written in ((BINS, True), (BINS + 1, False)):
        g = RationalQuadratic(bins)
        found = in_graph(x, torch.zeros(3, g.size, dtype=x.dtype), g.spline(False).layout, False)
        assert (found is not None) == written


@DIRECTIONS
@pytest.mark.parametrize("bins", [4, BINS + 1])
def test_graphs_without_numba_train_as_single_calls_do(bins, inverse, monkeypatch):
    monkeypatch.setattr(graphs, "takes", lambda x: False)
    torch.compiler.reset()
    torch.manual_seed(0)
    g = RationalQuadratic(bins)
    inputs = torch.randn(7, 3), torch.randn(7, g.size, 3).movedim(1, -1)

    def found(function):
        leaves = [each.detach().requires_grad_() for each in inputs]
        value, ladj = function(*leaves)
        return value, ladj, torch.autograd.grad((value.square() - ladj).sum(), leaves)

    go = g.decode if inverse else g.encode
    fast = torch.compile(go, backend="aot_eager", fullgraph=True)
    assert_close(found(fast), found(go), rtol=1e-4, atol=1e-4)

"""The compiled spline says what torch's operations say, as near to the truth and with the same derivatives."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from pushforward import models
from pushforward.nets import Dense
from pushforward.transforms import MonotoneCoupling, RationalQuadratic, coupled, rational

numba = pytest.importorskip("numba", reason="numba is not installed: pip install 'pushforward[numba]'")

from pushforward.transforms.compiled import functions, spline_for  # noqa: E402

DIRECTIONS = pytest.mark.parametrize("inverse", [False, True], ids=["encode", "decode"])
TAILS = pytest.mark.parametrize("tails", ["identity", "linear", "circular"])
LAYOUTS = {
    "parameters of a number together": lambda params: params.contiguous(),
    "along the batch": lambda params: params.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    "number by number": lambda params: params.permute(1, 2, 0).contiguous().permute(2, 0, 1),
    "every second": lambda params: params.repeat_interleave(2, 0)[::2],
}


@pytest.fixture
def without(monkeypatch):
    """A call by torch's operations."""

    def call(function, *inputs):
        with monkeypatch.context() as patch:
            for module in (rational, coupled):
                patch.setattr(module, "spline_for", lambda x, count: None)
            return function(*inputs)

    return call


def _call(function, *inputs):
    return function(*inputs)


def case(g, batch, features=3, wide=1.0):
    draw = torch.Generator().manual_seed(batch)
    x = 2 * torch.randn(batch, features, generator=draw, dtype=torch.float64)
    return x, wide * torch.randn(batch, features, g.size, generator=draw, dtype=torch.float64)


def found(go, x, params, dtype, layout):
    """Values, ladj, and the gradients of a loss with weights of both."""
    leaves = [x.to(dtype), LAYOUTS[layout](params.to(dtype))]
    leaves = [each.detach().requires_grad_() for each in leaves]
    value, ladj = go(*leaves)
    weights = torch.linspace(-1, 2, value.numel(), dtype=dtype).view(value.shape)
    loss = (value * weights + ladj * weights.flip(0)).sum()
    return [each.double() for each in (value.detach(), ladj.detach(), *torch.autograd.grad(loss, leaves))]


@DIRECTIONS
@TAILS
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients(tails, inverse, layout, without):
    """Errors against float64 are those of torch's operations in float32, whose rounding differs."""
    g = RationalQuadratic(6, -3.0, 2.5, tails=tails)
    go = g.decode if inverse else g.encode
    x, params = case(g, 100)
    assert spline_for(x.float(), 1) is not None
    truth = found(go, x, params, torch.float64, layout)
    ours = found(go, x, params, torch.float32, layout)
    torchs = without(found, go, x, params, torch.float32, layout)
    for right, compiled, plain in zip(truth, ours, torchs, strict=True):
        assert (compiled - right).norm() < 2e-5 * right.norm() + 3 * (plain - right).norm()
    same = [torch.equal(a, b) for a, b in zip(ours, torchs, strict=True)]
    assert not all(same), "torch's operations ran both times"


@pytest.mark.parametrize("batch", [0, 1, 85, 86, 500])
def test_any_number_of_numbers(batch, without):
    """Blocks of 256 lanes may be full, cut short or missing."""
    g = RationalQuadratic(3)
    x, params = (each.float() for each in case(g, batch))
    assert_close(g.encode(x, params), without(g.encode, x, params), rtol=1e-3, atol=1e-4)


MASKS = {
    "halves": torch.tensor([True, True, False, False, False]),
    "others": torch.tensor([False, True, False, False, True]),
}


def coupling(g, mask, dtype=torch.float32):
    """A coupling of five numbers whose parameters lie along the batch."""
    torch.manual_seed(1)
    kept = int(mask.sum())
    net = Dense(kept, g.size * (5 - kept), 8, 1, zero_output=False)
    return MonotoneCoupling((5,), net, g, mask).to(dtype)


def moved(layer, x, inverse):
    """z, ladj, and the gradients of events and of the network's parameters."""
    x = x.to(next(layer.parameters()).dtype).requires_grad_()
    z, ladj = (layer.decode if inverse else layer.encode)(x)
    weights = torch.linspace(-1, 2, z.numel(), dtype=z.dtype).view(z.shape)
    loss = (z * weights).sum() + (ladj * weights[:, 0]).sum()
    return [each.double() for each in (z, ladj, *torch.autograd.grad(loss, [x, *layer.parameters()]))]


@DIRECTIONS
@TAILS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("batch", [0, 1, 300])
def test_couplings(batch, mask, tails, inverse, without):
    """Numbers that stay and numbers that move are one node; errors are those of torch's operations."""
    g = RationalQuadratic(6, -3.0, 2.5, tails=tails)
    x = 2 * torch.randn(batch, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = moved(coupling(g, MASKS[mask], torch.float64), x, inverse)
    layer = coupling(g, MASKS[mask])
    ours, torchs = moved(layer, x, inverse), without(moved, layer, x, inverse)
    assert torch.equal(ours[0][:, MASKS[mask]], x[:, MASKS[mask]].float().double())
    for right, compiled, plain in zip(truth, ours, torchs, strict=True):
        assert (compiled - right).norm() <= 2e-5 * right.norm() + 3 * (plain - right).norm()
    same = [torch.equal(a, b) for a, b in zip(ours, torchs, strict=True)]
    assert batch == 0 or not all(same), "torch's operations ran both times"


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "torch"])
def test_places_beyond_the_event_are_refused(compiled, without):
    """A checkpoint may hold anything."""
    layer = coupling(RationalQuadratic(4), MASKS["halves"])
    layer.changed[-1] = 5
    with pytest.raises(IndexError):
        (_call if compiled else without)(layer.encode, torch.zeros(3, 5))


def test_events_with_gaps_between_them_are_coupled(without):
    layer = coupling(RationalQuadratic(4), MASKS["others"])
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0)).T[::2]
    for found, right in zip(layer.encode(x), without(layer.encode, x), strict=True):
        assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_couplings_have_second_derivatives(without):
    layer = coupling(RationalQuadratic(4), MASKS["halves"])

    def bend(x):
        x = x.clone().requires_grad_()
        z, ladj = layer.encode(x)
        (slope,) = torch.autograd.grad(z.square().sum() + ladj.sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    assert_close(bend(x), without(bend, x), rtol=1e-3, atol=1e-3)


@DIRECTIONS
def test_numbers_and_parameters_that_are_none(inverse, without):
    g = RationalQuadratic(4)
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.3, 0.3, 0.3])[:, None]
    params = torch.zeros(6, 1, g.size)
    params[3, 0, 1], params[4, 0, 5], params[5, 0, 9] = math.nan, math.nan, math.nan
    go = g.decode if inverse else g.encode
    (value, ladj), (torchs, _) = go(x, params), without(go, x, params)
    assert torch.equal(value.isnan(), torchs.isnan())
    assert torch.equal(value.isinf(), torchs.isinf())
    assert (ladj.isnan() | value.isnan())[[0, 3, 4, 5]].all()
    assert torch.equal(value[1:3].sign(), torch.tensor([[1.0], [-1.0]]))


@pytest.mark.parametrize("wide", [1e1, 1e3, 1e6])
def test_parameters_of_any_size_stay_finite_and_invertible(wide, without):
    """Back as far as torch's operations find: where bins are as steep as these, a last digit of z is all of x."""
    g = RationalQuadratic(8)
    x, params = (each.float().requires_grad_() for each in case(g, 200, wide=wide))
    z, ladj = g.encode(x, params)
    grads = torch.autograd.grad(z.sum() + ladj.sum(), [x, params])
    assert all(each.isfinite().all() for each in (z, ladj, *grads))
    off, torchs = ((go(g.decode, go(g.encode, x, params)[0], params)[0] - x).abs() for go in (_call, without))
    assert off.mean() < 1.5 * torchs.mean()
    assert off.median() < 1.5 * torchs.median()


@pytest.mark.parametrize("quick", [True, False], ids=["compiled", "torch"])
def test_nothing_moves_beyond_identity_tails(quick, without):
    g = RationalQuadratic(5, -1.0, 1.0)
    x = torch.tensor([-50.0, -1.0, 1.0, 7.0])[:, None]
    params = torch.randn(4, 1, g.size, generator=torch.Generator().manual_seed(0))
    z, ladj = (_call if quick else without)(g.encode, x, params)
    assert_close(z, x, rtol=1e-6, atol=1e-6)
    assert torch.equal(ladj, torch.zeros(4, 1))


def test_the_functions_it_is_made_of():
    def largest(function, x, right):
        values = torch.tensor([float(function(functions.real(v))) for v in x.tolist()], dtype=torch.float64)
        return ((values - right) / right).abs().max()

    draw = torch.Generator().manual_seed(0)
    below = -80 * torch.rand(2000, generator=draw)
    above = torch.exp(160 * torch.rand(2000, generator=draw) - 80)
    assert largest(functions.exp, below, below.double().exp()) < 2.5e-7
    assert largest(functions.log, above, above.double().log()) < 2.5e-7
    assert largest(functions.sigmoid, below, below.double().sigmoid()) < 2.5e-7
    assert functions.log(functions.real(0)) == -math.inf
    assert math.isnan(functions.log(functions.real(-1)))
    assert math.isnan(functions.exp(functions.real(math.nan)))


def test_it_takes_only_what_it_can():
    x = torch.zeros(3)
    assert spline_for(x, 3) is not None
    assert spline_for(x.double(), 3) is None
    assert spline_for(torch.zeros(3, device="meta"), 3) is None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert spline_for(x, 2**14) is not None
        assert spline_for(x, 2**14 + 1) is None
    finally:
        torch.set_num_threads(threads)


def test_what_is_kept_belongs_to_all_sources(tmp_path):
    """numba looks at the file of a function alone, and would keep the old formula in whoever calls it."""
    for name in ("calls.py", "rational.py"):
        (tmp_path / name).write_text("a = 1\n")
    before = functions.edition(tmp_path)
    assert functions.edition(tmp_path) == before
    (tmp_path / "rational.py").write_text("a = 2\n")
    assert functions.edition(tmp_path) != before
    assert functions.exp.py_func.__qualname__ == "exp" + functions.edition(Path(functions.__file__).parent)


def test_it_can_be_switched_off():
    code = "from pushforward.transforms.compiled import spline; raise SystemExit(spline() is not None)"
    found = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"NUMBA_DISABLE_JIT": off}, check=False
        ).returncode
        for off in "01"
    ]
    assert found == [1, 0]


def test_flows_are_the_same_with_it_and_without(without):
    torch.manual_seed(0)
    flow = models.nsf((5,), 3, 16)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(50, 5)
    assert_close(flow.log_prob(x), without(flow.log_prob, x), rtol=1e-4, atol=1e-4)
    z = torch.randn(50, 5)
    assert_close(flow.decode(z), without(flow.decode, z), rtol=1e-3, atol=1e-3)


def test_derivatives_of_derivatives_are_torchs(without):
    g = RationalQuadratic(4)
    x, params = (each.float() for each in case(g, 20))

    def bend(x, params):
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(g.encode(x, params)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(slope.sum(), x)[0]

    assert_close(bend(x, params), without(bend, x, params), rtol=1e-3, atol=1e-3)

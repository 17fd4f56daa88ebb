"""The same formulas as other libraries, number for number, where they are installed."""

import pytest
import torch
from torch.testing import assert_close

from pushforward.models import Normal, NormalizingFlow
from pushforward.transforms import LU, LogisticMixture, SoftClip, Transform
from pushforward.transforms.splines import cubic, knots, linear, positive, rational_quadratic

generator = torch.Generator().manual_seed(0)
K = 6
X = 4 * torch.rand(500, generator=generator, dtype=torch.float64) - 2
RAW = torch.randn(500, 3 * K - 1, generator=generator, dtype=torch.float64)
W, H, D = RAW.split([K, K, K - 1], 1)


def test_rational_quadratic_splines_of_zuko():
    zuko = pytest.importorskip("zuko.transforms", reason="zuko is not installed")
    theirs = zuko.MonotonicRQSTransform(W, H, D, bound=2.0)
    table = theirs.horizontal, theirs.vertical, theirs.derivatives
    y, ladj = theirs.call_and_ladj(X)
    assert_close(rational_quadratic(X, *table), (y, ladj), rtol=1e-9, atol=1e-9)
    assert_close(rational_quadratic(y, *table, inverse=True)[0], theirs.inv(y), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("inverse", [False, True])
def test_rational_quadratic_splines_of_nflows(inverse: bool):
    nflows = pytest.importorskip("nflows.transforms.splines.rational_quadratic", reason="nflows is not installed")
    raw = torch.nn.functional.pad(D, (1, 1))
    theirs = nflows.rational_quadratic_spline(X, W, H, raw, inverse, left=-2.0, right=2.0, bottom=-2.0, top=2.0)
    slopes = nflows.DEFAULT_MIN_DERIVATIVE + torch.nn.functional.softplus(raw)
    ours = rational_quadratic(X, knots(W, -2.0, 2.0), knots(H, -2.0, 2.0), slopes, inverse=inverse)
    assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("inverse", [False, True])
def test_linear_splines_of_nflows(inverse: bool):
    nflows = pytest.importorskip("nflows.transforms.splines.linear", reason="nflows is not installed")
    x = (X + 2) / 4
    theirs = nflows.linear_spline(x, H, inverse)
    ys = knots(H, 0.0, 1.0, least=0.0)
    xs = torch.linspace(0, 1, K + 1, dtype=torch.float64).expand_as(ys)
    tolerance = 1e-4 if inverse else 1e-9  # their inverse is off by up to 1e-5: it returns to x only so far
    assert_close(linear(x, xs, ys, positive(xs), inverse=inverse), theirs, rtol=tolerance, atol=tolerance)


def test_cubic_splines_are_scipys():
    """Hermite's cubic through the same knots with the same slopes."""
    interpolate = pytest.importorskip("scipy.interpolate", reason="scipy is not installed")
    xs, ys = knots(W[:1], -2.0, 2.0), knots(H[:1], -2.0, 2.0)
    s = (ys.diff() / xs.diff()).squeeze(0)
    slopes = torch.nn.functional.pad(torch.minimum(s[1:], s[:-1]), (1, 1), value=0.1)[None]
    theirs = interpolate.CubicHermiteSpline(xs[0].numpy(), ys[0].numpy(), slopes[0].numpy())
    y, ladj = cubic(X, xs, ys, slopes)
    assert_close(y, torch.from_numpy(theirs(X.numpy())), rtol=1e-10, atol=1e-10)
    assert_close(ladj.exp(), torch.from_numpy(theirs.derivative()(X.numpy())), rtol=1e-9, atol=1e-9)


def test_the_soft_clip_of_zuko():
    zuko = pytest.importorskip("zuko.transforms", reason="zuko is not installed")
    theirs = zuko.SoftclipTransform(bound=3.0)
    assert_close(SoftClip(3.0).encode(X, X[:, None][:, :0]), theirs.call_and_ladj(X))


def test_the_triangles_of_nflows():
    nflows = pytest.importorskip("nflows.transforms.lu", reason="nflows is not installed")
    theirs, ours = nflows.LULinear(4, identity_init=False).double(), LU(4).double()
    rows, columns = torch.tril_indices(4, 4, -1)
    with torch.no_grad():
        lower, upper = theirs._create_lower_upper()
        ours.lower.copy_(lower[rows, columns])
        ours.upper.copy_(upper[columns, rows])
        ours.log_diagonal.copy_(upper.diagonal().log())
        x = torch.randn(5, 4, dtype=torch.float64)
        z, ladj = theirs(x)
        assert_close(ours.encode(x), (z - theirs.bias, ladj))


def test_a_mixture_of_logistics_is_its_distribution_function():
    """Against torch's own logistic distributions, in the definition's letters."""
    g = LogisticMixture(3)
    params = torch.randn(500, g.size, generator=generator, dtype=torch.float64)
    log_weight, mean, scale = g._components(params)
    below = (log_weight.exp() * torch.sigmoid((X[:, None] - mean) / scale)).sum(1)
    raw, b = params[:, -2:].unbind(1)
    expected = torch.logit(below) * (2 * torch.tanh(raw / 2)).exp() + b
    assert_close(g.encode(X, params)[0], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_audit_finds_the_samples_that_zuko_clamps():
    """A bisection on [-10, 10] gives a few wrong samples without a word; affine and spline flows have none."""
    zuko = pytest.importorskip("zuko", reason="zuko is not installed")

    class Theirs(Transform):
        def __init__(self, flow):
            super().__init__()
            self.flow = flow

        def encode(self, x, context=None):
            return self.flow().transform.call_and_ladj(x)

        def decode(self, z, context=None):
            return self.flow().transform.inv.call_and_ladj(z)

    torch.manual_seed(0)
    angle = torch.pi * torch.rand(1000)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    x[500:] = torch.tensor([1.0, 0.5]) - x[500:]
    x = x + 0.05 * torch.randn_like(x)
    x = (x - x.mean(0)) / x.std(0)
    for theirs, fine in ((zuko.flows.GF(2, transforms=3), False), (zuko.flows.MAF(2, transforms=3), True)):
        optimizer = torch.optim.Adam(theirs.parameters(), lr=5e-3)
        for _ in range(300):
            optimizer.zero_grad()
            (-theirs().log_prob(x[torch.randint(1000, (256,))]).mean()).backward()
            optimizer.step()
        report = NormalizingFlow(Theirs(theirs), Normal((2,))).audit(x)
        assert report.ok == fine, str(report)

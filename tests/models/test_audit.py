import copy
import math

import pytest
import torch

from laws.zoo_flows import FLOWS, Flow
from pushforward import transforms as T
from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward.models import FlowMap, Surjected, nsf, nsf_autoregressive, real_nvp
from pushforward.models.audit import Audit
from pushforward.models.base import Normal, StudentT
from pushforward.models.flow import NormalizingFlow


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


HEAVY = StudentT((2,), 1.0).sample(200, Draw(0)).double()
X = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _some(name: str) -> "list[pytest.MarkDecorator]":
    """Flows that integrate take ten times as long as all others."""
    return [pytest.mark.slow] if name.startswith("ode") else []


@pytest.mark.parametrize("member", [pytest.param(flow, id=name, marks=_some(name)) for name, flow in FLOWS.items()])
def test_no_flow_of_the_zoo_raises_a_false_alarm(member: Flow):
    flow, x, context = member.flow(), member.data(200), member.contexts(200)
    before = copy.deepcopy(flow.state_dict())
    report = flow.audit(x, context)
    # random layers do push data beyond the knots: that alarm is a true one
    assert failures(report) <= {"coverage"}, str(report)
    assert all(torch.equal(before[name], value) for name, value in flow.state_dict().items())
    assert not flow.training
    narrow = context.float() if context is not None and context.is_floating_point() else context
    report = member.make().audit(x.float(), narrow)  # float32, as it starts
    assert report.ok, str(report)


class Faulty(T.Transform):
    """z = 2 x with a fault of our choice."""

    def __init__(self, encode=lambda x: 2 * x, decode=lambda z: z / 2, ladj: float = math.log(2)):
        super().__init__()
        self.there, self.back, self.ladj = encode, decode, ladj

    def encode(self, x, context=None):
        return self.there(x), x.new_full((len(x),), self.ladj * x[0].numel())

    def decode(self, z, context=None):
        return self.back(z), z.new_full((len(z),), -self.ladj * z[0].numel())


def report_of(transform: T.Transform, x=X, n: int = 2) -> Audit:
    return NormalizingFlow(transform, Normal((n,))).double().audit(x)


def failures(report: Audit) -> set[str]:
    return {finding.name for finding in report.findings if not finding.ok}


def test_a_faultless_map_passes():
    assert report_of(Faulty()).ok


def test_a_wrong_ladj_is_found_and_so_is_its_mass():
    report = report_of(Faulty(ladj=math.log(2) + 0.1))
    assert failures(report) == {"ladj", "mass"}
    assert "likelihoods lie" in str(report)


def test_an_inverse_that_stops_at_ten_is_found():
    """The fixed bracket of a bisection (zuko's monotonic transforms): a few samples pile up at its end."""
    report = report_of(Faulty(lambda x: x / 5, lambda z: (5 * z).clamp(-10, 10), -math.log(5)), 5 * X)
    assert "noise round trip" in failures(report)
    assert "% of events do not come back" in report["noise round trip"].words


def test_an_overflow_is_found_and_not_averaged_away():
    """Pain of image flows: a scale that goes to 0 makes decoding divide by it; no event may be dropped."""
    report = report_of(Faulty(decode=lambda z: torch.where(z > 2.5, math.nan, z / 2)))
    assert report["noise round trip"].value == math.inf
    assert not report.ok


def test_data_outside_the_support_are_found():
    report = NormalizingFlow(T.Logit(0.05), Normal((2,))).audit(0.5 + X)
    assert "support" in failures(report)
    assert "outside the support" in report["support"].words


def test_data_beyond_the_knots_are_found_with_their_layer():
    """Targets that reach 40 under a spline that ends at 3."""
    layer = T.Elementwise((2,), T.RationalQuadratic(8, -3, 3))
    report = report_of(layer, 20 * X)
    assert "coverage" in failures(report)
    assert "Elementwise [-3, 3]" in report["coverage"].words
    assert "widen the knots" in str(report)
    assert report_of(T.Elementwise((2,), T.RationalQuadratic(8, -90, 90)), 20 * X)["coverage"].ok


def test_a_nearly_singular_layer_stands_out_in_the_table():
    good, bad = T.Triangular(2), T.Triangular(2)
    with torch.no_grad():
        bad.log_diagonal.copy_(torch.tensor([12.0, -12.0]))
    report = report_of(T.Chain(good, bad))
    assert report.layers[1].condition == pytest.approx(math.exp(24), rel=1e-3)
    assert report.layers[1].ladj == pytest.approx(0, abs=1e-9)
    assert report.layers[0].condition == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_mass_is_measured_in_every_count_of_numbers(n: int):
    x = torch.randn(100, n, dtype=torch.float64)
    assert report_of(T.DiagonalScale((n,)), x, n)["mass"].ok
    broken = Faulty(ladj=0.0) if n < 3 else Faulty(decode=lambda z: z / 3)  # by sampling: directions that disagree
    assert not report_of(broken, x, n)["mass"].ok


def test_heavy_tails_are_no_false_alarm():
    flow = NormalizingFlow(T.Shift((2,)), StudentT((2,), freedom=1.0)).double()
    assert flow.audit(HEAVY).ok


def test_dropout_is_off_and_stays_as_it_was():
    net = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)).double()
    flow = NormalizingFlow(T.AffineCoupling((2,), net), Normal((2,))).train()
    assert flow.audit(X).ok
    assert net[1].training


FAR = 40 * X[:, :1].expand(-1, 2) + X
AFTER = T.Composed(T.Affine(5.0), T.RationalQuadratic(8, -3, 3))


def zeros(kept):
    return kept.new_zeros(len(kept), AFTER.size)


@pytest.mark.parametrize(
    ("flow", "context"),
    [
        (lambda: nsf_autoregressive((2,), 1, 8, 1), None),
        (lambda: nsf_autoregressive((2,), 1, 8, 1, classes=2), torch.zeros(300, dtype=torch.int64)),
        (lambda: nsf_autoregressive((2,), 1, 8, 1, formula="decode", classes=2), torch.ones(300, dtype=torch.int64)),
        (lambda: nsf((2,), 2, 8, 1, classes=2), torch.zeros(300, dtype=torch.int64)),
        (lambda: NormalizingFlow(T.Elementwise((2,), AFTER), Normal((2,))), None),
        (lambda: NormalizingFlow(T.MonotoneCoupling((2,), zeros, AFTER), Normal((2,))), None),
        (lambda: NormalizingFlow(T.Part(1, T.Elementwise((1,), T.Composed(AFTER, AFTER))), Normal((2,))), None),
    ],
    ids=["autoregressive", "labelled", "labelled-inverse", "by-class", "composed", "composed-coupling", "part"],
)
def test_splines_are_found_wherever_they_are(flow, context):
    report = flow().double().audit(FAR, context)
    assert not report["coverage"].ok
    assert report["coverage"].value > 0.8
    assert "of numbers lie beyond the knots of" in report["coverage"].words
    assert "[-3, 3]" in report["coverage"].words


def test_a_spline_behind_another_map_is_judged_by_what_reaches_it():
    layer = T.Elementwise((2,), AFTER)
    with torch.no_grad():
        layer.params.view(-1, 2)[0] = 5.0 * math.atanh(math.log(1 / 40) / 5.0)  # raw log-scales, first parameters first
    assert report_of(layer, FAR)["coverage"].ok
    assert not report_of(T.Elementwise((2,), AFTER), FAR)["coverage"].ok
    assert report_of(T.Elementwise((2,), AFTER), X)["coverage"].ok


def test_what_is_behind_surjections_is_audited():
    torch.manual_seed(0)
    flow = real_nvp((2,), 2, 8, support=(0.0, 1.0))
    model = Surjected([T.UniformDequantization(4)], flow)
    pixels = torch.randint(0, 4, (200, 2)).double()
    report = model.audit(pixels)
    assert report.ok, str(report)
    assert [finding.name for finding in report.findings][:2] == ["surjections", "data round trip"]
    wrong = model.audit(pixels + 3)  # there is no level 6
    assert not wrong["surjections"].ok
    assert "UniformDequantization" in wrong["surjections"].words
    ordered = Surjected(
        [T.Absolute(), T.Sort()], NormalizingFlow(T.Inverse(T.Elementwise((2,), T.Exp())), Normal((2,)))
    )
    assert ordered.audit(X)["surjections"].ok
    with pytest.raises(ConfigError, match=r"a flow with an audit; got a FlowMap.*velocities"):
        Surjected([T.Absolute()], FlowMap(lambda x, t, c, leap=None: x, shape=(2,))).audit(X)


def test_one_row_of_context_is_that_of_all():
    assert nsf((2,), 2, 8, 1, classes=3).audit(torch.randn(50, 2), torch.tensor([1])).ok

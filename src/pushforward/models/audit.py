"""Is a flow what it claims to be? Measured, on data and noise of its own.

    round trips    decode(encode(x)) = x and encode(decode(z)) = z, relative to 1 + |.|
    ladj           against log |det| of the Jacobian that autograd finds, in float64
    rounding       the log-density in the flow's own precision, against float64
    mass           the integral of exp(log_prob) (`mass.py`)
    support        the share of data whose log_prob is finite
    coverage       the share of numbers that reach a spline beyond its knots, where it is a straight line; behind
                   other maps, of what these hand on

and for each transform the error of its own round trip, in decimal digits lost, and the condition of its Jacobian.
Round trips and ladj of a field that is integrated (`models.Integrated`) are as exact as its solver and its trace.

Nothing is trained or changed: a copy in `eval()` is looked at. A finding that fails says what to do about it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from pushforward._typing import Context, PerSample, Sample
from pushforward.models.beyond_knots import beyond_knots
from pushforward.models.conditioning import fitted
from pushforward.models.integrated import Integrated
from pushforward.models.mass import mass
from pushforward.transforms import Chain, Inverse, Labelled, Part, Transform

if TYPE_CHECKING:
    from pushforward.models.flow import NormalizingFlow

_LARGEST_JACOBIAN = 1024
_LARGEST_CONDITION = 64


@dataclass(frozen=True)
class Finding:
    """One question, what was measured, and how far it may be off.

    Args:
        name: the question in a word or two.
        value: what was measured; nan where it could not be.
        limit: the largest value that passes.
        words: what that means, in plain words.
    """

    name: str
    value: float
    limit: float
    words: str

    @property
    def ok(self) -> bool:
        """Whether it passes. What is not a number does not."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Layer:
    """One transform on data as they reach it.

    Args:
        name: its class and place.
        error: the largest relative error of its own round trip.
        digits: decimal digits that its round trip loses.
        ladj: its mean ladj per number.
        condition: largest over smallest singular value of its Jacobian, the worst of a few events; nan if too large.
    """

    name: str
    error: float
    digits: float
    ladj: float
    condition: float


@dataclass(frozen=True)
class Audit:
    """Everything found; print it. `ok` if nothing failed."""

    findings: tuple[Finding, ...]
    layers: tuple[Layer, ...]

    @property
    def ok(self) -> bool:
        """Whether every finding passes."""
        return all(finding.ok for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name."""
        return next(finding for finding in self.findings if finding.name == name)

    def __str__(self) -> str:
        failed = [finding.name for finding in self.findings if not finding.ok]
        lines = ["The flow is what it claims to be." if self.ok else f"Something is wrong: {', '.join(failed)}.", ""]
        lines += [f"  {'ok  ' if f.ok else 'FAIL'}  {f.name:<18} {f.value:>9.2g}  {f.words}" for f in self.findings]
        lines += [
            "",
            f"  {'transform':<28} {'round trip':>10} {'digits lost':>11} {'ladj/number':>11} {'condition':>9}",
        ]
        for layer in self.layers:
            condition = "" if math.isnan(layer.condition) else f"{layer.condition:.3g}"
            row = f"  {layer.name:<28} {layer.error:>10.1e} {layer.digits:>11.1f} {layer.ladj:>11.3g} {condition:>9}"
            lines.append(row.rstrip())
        return "\n".join(lines)


@torch.no_grad()
def audit(flow: "NormalizingFlow", x: Sample, context: Context = None, seed: int = 0, most: int = 1000) -> Audit:
    """Measure a flow on data.

    Args:
        flow: any normalizing flow.
        x: data, [batch, *event], two events or more.
        context: their context.
        seed: of the noise.
        most: how many of the events to look at.

    >>> from pushforward.models import real_nvp
    >>> report = audit(real_nvp((2,), couplings=2, hidden=8), torch.randn(100, 2))
    >>> report.ok, str(report).splitlines()[0]
    (True, 'The flow is what it claims to be.')
    """
    looked_at = copy.deepcopy(flow).eval()
    x, context = x[:most], fitted(flow, context if context is None else context[:most], min(len(x), most))
    single = next((p.dtype for p in looked_at.parameters()), x.dtype) != torch.float64
    x = x.to(torch.float32 if single else torch.float64)
    z = looked_at.noise(most if context is None else len(x), seed, context=context).to(x.dtype)
    limit = 1e-3 if single else 1e-7
    steps = list(_leaves(looked_at.chain, x, context))
    exact, (coarse, unlike) = copy.deepcopy(looked_at).double(), _followed(looked_at)
    wide = x.double(), context.double() if context is not None and context.is_floating_point() else context
    findings = (
        _trip("data round trip", _error(looked_at.decode(looked_at.encode(x, context), context), x), limit, coarse),
        _trip("noise round trip", _error(looked_at.encode(looked_at.decode(z, context), context), z), limit, coarse),
        _ladj(exact, *wide, unlike),
        _rounding(looked_at.log_prob(x, context), exact.log_prob(*wide), x[0].numel()),
        Finding("mass", *mass(exact, *wide, seed)),
        _support(looked_at.log_prob(x, context)),
        _coverage(steps),
    )
    return Audit(findings, tuple(_layer(i, *step) for i, step in enumerate(steps)))


_Step = tuple[Transform, Sample, Context]


def _leaves(transform: Transform, x: Sample, context: Context, inverse: bool = False) -> Iterator[_Step]:
    """(transform, what reaches it, context) for every transform that holds no other."""
    if isinstance(transform, Chain):
        for member in reversed(transform) if inverse else transform:
            yield from _leaves(member, x, context, inverse)
            x = (member.decode if inverse else member.encode)(x, context)[0]
    elif isinstance(transform, Part):
        yield from _leaves(transform.transform, x[:, : transform.n], context, inverse)
    elif isinstance(transform, Labelled):
        yield from _leaves(transform.transform, x, transform.vector(x, context), inverse)
    elif isinstance(transform, Inverse):
        yield from _leaves(transform.transform, x, context, not inverse)
    else:
        yield (Inverse(transform) if inverse else transform), x, context


def _error(back: Tensor, wanted: Tensor) -> PerSample:
    """The largest relative error of each event; infinite where something is not a number."""
    each = (back - wanted).abs() / (1 + wanted.abs())
    return each.nan_to_num(math.inf, math.inf, math.inf).flatten(1).amax(1)


def _followed(flow: "NormalizingFlow") -> tuple[str, str]:
    """What to do where round trips, and where ladj, of an integrated field are off; nothing if there is none."""
    parts = [part for part in flow.modules() if isinstance(part, Integrated)]
    if not parts:
        return "", ""
    solvers = " and ".join(sorted({repr(part.chosen) for part in parts}))
    coarse = f"{solvers} is too coarse for this field: pass as_flow(RK4(steps=40)), or a finer one still"
    drawn = next((part.trace for part in parts if part.trace.columns(math.prod(flow.shape))), None)
    return coarse, coarse if drawn is None else f"{drawn} is an estimate of it: pass as_flow(trace=Exact())"


def _trip(name: str, error: PerSample, limit: float, coarse: str) -> Finding:
    bad, worst = (error > limit).double().mean().item(), error.max().item()
    if worst <= limit:
        return Finding(name, worst, limit, "comes back, within rounding")
    fix = coarse or "an inverse does not converge, or a layer is nearly singular: see the table"
    return Finding(name, worst, limit, f"{bad:.2%} of events do not come back; {fix}")


def _ladj(flow: "NormalizingFlow", x: Sample, context: Context, unlike: str, events: int = 4) -> Finding:
    limit = 1e-6
    if x[0].numel() > _LARGEST_JACOBIAN:
        return Finding("ladj", 0.0, limit, f"not looked at: more than {_LARGEST_JACOBIAN} numbers an event")
    worst, n = 0.0, x[0].numel()
    for i in range(min(events, len(x))):
        one = None if context is None else context[i : i + 1]
        matrix = _jacobian(lambda v, c=one: flow.encode(v, c), x[i : i + 1]).reshape(n, n)
        claimed = flow.encode_and_ladj(x[i : i + 1], one)[1].item()
        gap = abs(claimed - torch.linalg.slogdet(matrix).logabsdet.item()) / (1 + abs(claimed))
        worst = max(worst, gap if math.isfinite(gap) else math.inf)
    if worst <= limit:
        return Finding("ladj", worst, limit, "is the Jacobian's")
    return Finding("ladj", worst, limit, "is not that of the map: " + (unlike or "likelihoods lie"))


def _rounding(own: PerSample, exact: PerSample, n: int) -> Finding:
    gap = (own.double() - exact).abs()
    gap = gap[exact.isfinite()]
    worst = gap.max().item() / n if len(gap) else 0.0
    words = f"nats per number at most between {str(own.dtype).removeprefix('torch.')} and float64"
    return Finding("rounding", worst, 0.01, words)


def _support(log_p: PerSample) -> Finding:
    outside = (~log_p.isfinite()).double().mean().item()
    if outside == 0:
        return Finding("support", 0.0, 0.0, "every event has a density")
    fix = "map their interval to the line first (Logit, or the logarithm), or check them"
    return Finding("support", outside, 0.0, f"of events lie outside the support; {fix}")


def _coverage(steps: list[_Step]) -> Finding:
    worst, name = 0.0, ""
    for i, (transform, x, context) in enumerate(steps):
        share, spline = beyond_knots(transform, x, context)
        if spline is not None:
            worst, name = max((worst, name), (share, f"{_name(i, transform)} [{spline.low:g}, {spline.high:g}]"))
    if worst <= 0.02:
        return Finding("coverage", worst, 0.02, "of numbers at most lie beyond a spline's knots")
    fix = "standardise data (prepare) or widen the knots (low, high)"
    return Finding("coverage", worst, 0.02, f"of numbers lie beyond the knots of {name}; {fix}")


def _layer(i: int, transform: Transform, x: Sample, context: Context) -> Layer:
    z, ladj = transform.encode(x, context)
    error = _error(transform.decode(z, context)[0], x).max().item()
    digits = max(0.0, math.log10(max(error, 1e-300) / torch.finfo(x.dtype).eps)) if error < math.inf else math.inf
    condition, n = math.nan, x[0].numel()
    if n <= _LARGEST_CONDITION and z[0].numel() == n:
        exact, each = copy.deepcopy(transform).double(), []
        for k in range(min(3, len(x))):
            one = None if context is None else context[k : k + 1]
            one = one.double() if one is not None and one.is_floating_point() else one
            matrix = _jacobian(lambda v, c=one: exact.encode(v, c)[0], x[k : k + 1].double()).reshape(n, n)
            each.append(torch.linalg.cond(matrix).item() if bool(matrix.isfinite().all()) else math.inf)
        condition = max(each)
    return Layer(_name(i, transform), error, digits, ladj.double().mean().item() / n, condition)


def _name(i: int, transform: nn.Module) -> str:
    if isinstance(transform, Inverse):
        return f"{i} Inverse {type(transform.transform).__name__}"
    return f"{i} {type(transform).__name__}"


def _jacobian(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        return cast(Tensor, torch.autograd.functional.jacobian(call, x))

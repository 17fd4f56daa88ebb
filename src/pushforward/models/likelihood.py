"""A likelihood with its errors: how probable events are, and how far off that number may be.

    log p(x) = log base(z) + log |det dz/dx|,     three sources of error, none of which hides in another:

    the trace     log |det| is the mean of k unbiased columns, integrated side by side in one solve; their spread gives
                  the standard error s / sqrt(k) and Student's interval +- q s / sqrt(k), q at k - 1 degrees of freedom
    the solver    |difference| to the same solve at half the steps, or at ten times the tolerances: about 2**order - 1
                  times the error of a method of that order, so the error itself of Euler's and more than any other's
    the density   a path whose first sigma is not 0 knows only p of alpha x0 + sigma eps there; it is said which

A flow of transforms has none of them. Columns are not quite normal, so intervals of few columns are for orientation:
eight or more hold what they promise.

References: Song et al. 2021 (arXiv 2011.13456), whose fresh probes in every call cost adaptive solvers dearly;
Student 1908.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow import NormalizingFlow
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model
from pushforward.models.straight import push
from pushforward.solvers import Adaptive, RungeKutta, Solver, Trace


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """What is known of the log-density of each event.

    Args:
        log_prob: nats per event, [batch].
        error: standard error of `log_prob` by the spread of the trace's columns, [batch]; 0 where the trace is exact,
            nan for a single random column.
        columns: how many random columns each event had; 0 where the trace is exact.
        solver_error: how far a coarser solve ended from `log_prob`, [batch]; nan where none was made.
        coarser: which solve that was, in words.
        nfe: network calls of all solves, the largest over the batch; transforms, of a flow.
        z: the noise the events come from, [batch, *event].
        alpha, sigma: the density is that of alpha x0 + sigma eps.
    """

    log_prob: PerSample
    error: PerSample
    columns: int
    solver_error: PerSample
    coarser: str
    nfe: int
    z: Sample
    alpha: float = 1.0
    sigma: float = 0.0

    def interval(self, level: float = 0.95) -> tuple[PerSample, PerSample]:
        """The lowest and the highest `log_prob` the trace allows, each [batch]: Student's interval of this level."""
        if self.columns == 0:
            return self.log_prob, self.log_prob
        half = student(level, self.columns - 1) * self.error
        return self.log_prob - half, self.log_prob + half


@torch.no_grad()
def likelihood(
    model: Model,
    x: Sample,
    context: Context = None,
    solver: Solver | None = None,
    trace: Trace | None = None,
    *,
    check: bool = True,
    first: int = 0,
    chunk: int = 256,
) -> Likelihood:
    """The log-density of each event with its errors.

    Args:
        model: a `Diffusion`, a `NormalizingFlow`, or any model; of the errors of others nothing is known.
        x: the events, [batch, *event].
        context: what they are conditioned on.
        solver: `RK4(steps)` or `Adaptive()`; adaptive if None.
        trace: how the divergence is found, `Hutchinson(probes=16, seed=1)` say; the model's own if None.
        check: whether to solve once more, coarser, for `solver_error`; half as many calls again.
        first: the index of x's first event in a larger batch, so that its parts see the probes of the whole.
        chunk: events per solve.

    Raises:
        ConfigError: a solver that cannot carry the divergence.

    >>> model = Diffusion(lambda x, t, context: 0 * x, shape=(2,))
    >>> found = likelihood(model, torch.zeros(1, 2))
    >>> round(found.log_prob.item(), 4), found.error.item(), found.sigma
    (-1.8379, 0.0, 0.0)
    """
    model = model.velocities if isinstance(model, FlowMap) else model
    if not isinstance(model, Diffusion):
        return _in_one_pass(model, x, context, solver)
    if chunk < 1:
        raise ConfigError(explain("chunk of 1 or more", str(chunk), "Set chunk=256."))
    solver, trace = Adaptive() if solver is None else solver, model.trace if trace is None else trace
    parts: list[Likelihood] = []
    for low in range(0, max(1, len(x)), chunk):
        given = None if context is None else context[low : low + chunk]
        parts.append(_solved(model, x[low : low + chunk], given, solver, trace, check, first + low))
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in _PER_EVENT}
    return replace(parts[0], **whole, nfe=max(part.nfe for part in parts))


_PER_EVENT = ("log_prob", "error", "solver_error", "z")


def _solved(
    model: Diffusion, x: Sample, context: Context, solver: Solver, trace: Trace, check: bool, first: int
) -> Likelihood:
    """One solve for one chunk, and a coarser one if asked."""
    z, columns, nfe = push(model, x, model.reach, context, solver, trace, first)
    log_prob, off = model.base.log_prob(z, context) + columns.mean(1), torch.full_like(columns[:, 0], math.nan)
    other, said = _coarser(solver) if check else (None, "none")
    if other is not None:
        z_other, columns_other, calls = push(model, x, model.reach, context, other, trace, first)
        off, nfe = (model.base.log_prob(z_other, context) + columns_other.mean(1) - log_prob).abs(), nfe + calls
    count = trace.columns(math.prod(model.shape))
    start = model.path.coefficients(torch.tensor([model.reach[0]], dtype=torch.float64))
    alpha, sigma = start.alpha.item(), start.sigma.item()
    return Likelihood(log_prob, _standard_error(columns, count), count, off, said, nfe, z, alpha, sigma)


def _in_one_pass(model: Model, x: Sample, context: Context, solver: Solver | None) -> Likelihood:
    z, ladj = model.encode_and_ladj(x, context, solver)
    log_prob = model.base.log_prob(z, context) + ladj
    if isinstance(model, NormalizingFlow):
        none = torch.zeros_like(log_prob)
        return Likelihood(log_prob, none, 0, none, "none needed", len(model.chain), z)
    unknown = torch.full_like(log_prob, math.nan)
    return Likelihood(log_prob, unknown, 0, unknown, "none", 0, z)


def _standard_error(columns: Tensor, count: int) -> PerSample:
    if count == 0:
        return torch.zeros_like(columns[:, 0])
    return columns.std(1) / math.sqrt(count) if count > 1 else torch.full_like(columns[:, 0], math.nan)


def _coarser(solver: Solver) -> tuple[Solver | None, str]:
    match solver:
        case RungeKutta() if solver.steps > 1:
            return replace(solver, steps=solver.steps // 2), f"{solver.steps // 2} steps for {solver.steps}"
        case Adaptive():
            return replace(solver, rtol=10 * solver.rtol, atol=10 * solver.atol), "tolerances ten times larger"
        case _:
            return None, "none"


def student(level: float, degrees: int) -> float:
    """Where Student's t of these degrees of freedom lies within -+ that with probability `level`; inf at 0 degrees.

    With theta = atan(t / sqrt(n)) the probability is a finite sum of powers of cos(theta) (Abramowitz and Stegun
    1964, 26.7.3 and 26.7.4), and halving finds theta.

    >>> round(student(0.95, 7), 4)
    2.3646
    """
    if degrees < 1:
        return math.inf
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        theta = (low + high) / 2
        low, high = (theta, high) if _within(theta, degrees) < level else (low, theta)
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _within(theta: float, n: int) -> float:
    sine, cosine = math.sin(theta), math.cos(theta)
    total = term = (cosine if n > 1 else 0.0) if n % 2 else 1.0
    for k in range(3 if n % 2 else 2, n - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (theta + sine * total) if n % 2 else sine * total

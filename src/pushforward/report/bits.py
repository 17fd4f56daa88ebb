"""Bits per dimension of data a model has not seen.

    bits = -log2 p(value) / dimensions
         = -(log p_model(x) + log |d x / d value|) / (dimensions ln 2)

in the raw units of the data, so models trained in different units compare. Whole-numbered data are spread by uniform
dequantisation, x = value + u, and every number bounds the bits of a lossless code from above (Theis et al. 2016, arXiv
1511.01844): with one draw of u by Jensen's inequality, and with K draws more closely (Burda et al. 2016, arXiv
1509.00519),

    -log2 P(value)  <=  -E log2 (1/K) sum_k p(value + u_k)  <=  -E log2 p(value + u).

The standard errors are over held-out events, whose probes are independent, so they hold what a random trace adds. The
mean over K draws is of densities, not of logs: it needs exact divergences, as the noise of a random trace would lower
the number, and a bound that may lie on either side is none.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.models import Diffusion, Likelihood, Model, likelihood
from pushforward.report.estimate import Estimate, mean
from pushforward.report.nats import Nats, spaces
from pushforward.solvers import Adaptive, RungeKutta, Solver, Trace

if TYPE_CHECKING:
    from pushforward.data import Dataset


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits per dimension of held-out data, and where its errors come from, all in bits per dimension.

    Args:
        one_draw: with one draw of dequantisation noise an event; over events.
        more_draws: the closer bound of `draws` draws; None where one was made.
        draws: how many draws of dequantisation noise.
        trace_error: the standard error that random divergences alone give the mean (`one_draw.error` has it in);
            0 where they are exact, nan for a single probe.
        solver_error: the mean distance to a coarser solve; nan where none was made.
        coarser: which solve that was.
        levels: how many whole-numbered levels were spread, or None for data that have none.
        nats: the same of one draw, as nats per event in each unit the data have on their way through the model.
    """

    one_draw: Estimate
    more_draws: Estimate | None
    draws: int
    trace_error: float
    solver_error: float
    coarser: str
    levels: int | None
    nats: tuple[Nats, ...] = ()

    def __str__(self) -> str:
        """What was measured and how, in one line, then the nats, a line for each unit."""
        if self.levels is None:
            parts = [f"{self.one_draw} of continuous values"]
        else:
            parts = [f"{self.one_draw} by uniform dequantisation of {self.levels} levels, an upper bound"]
        if self.more_draws is not None:
            parts.append(f"{self.more_draws} with {self.draws} draws")
        if not math.isnan(self.trace_error):
            parts.append(f"probes {self.trace_error:.1g}" if self.trace_error else "exact divergence")
        if not math.isnan(self.solver_error):
            parts.append(f"solver {self.solver_error:.1g}")
        return "\n".join(["; ".join(parts), *map(str, self.nats)])


def bits_per_dim(
    model: Model,
    data: "Dataset",
    n: int | None = None,
    solver: Solver | None = None,
    trace: Trace | None = None,
    seed: int = 0,
    conditional: bool = False,
    chunk: int = 256,
) -> Estimate:
    """The model's mean bits per dimension on held-out data, with its standard error.

    Args:
        model: what is judged.
        data: whose held-out events, whose units.
        n: how many events; None is all.
        solver: how a model that integrates does so; None is its own default.
        trace: how a `Diffusion` gets its divergence, in place of its own.
        seed: of the dequantisation noise.
        conditional: whether the model is given each event's context.
        chunk: events per call of the model.
    """
    return bits(model, data, n, solver, trace, seed, conditional, chunk, check=False).one_draw


@torch.no_grad()
def bits(
    model: Model,
    data: "Dataset",
    n: int | None = None,
    solver: Solver | None = None,
    trace: Trace | None = None,
    seed: int = 0,
    conditional: bool = False,
    chunk: int = 256,
    draws: int = 1,
    check: bool = True,
) -> Bits:
    """Bits per dimension on held-out data with every error; the arguments of `bits_per_dim` and two more.

    Args:
        draws: how many draws of dequantisation noise an event; more than one gives the closer bound as well.
        check: whether to solve once more, coarser, for `solver_error`.

    Raises:
        ConfigError: several draws of a random trace, or of values that have no levels.
    """
    found = measured(model, data, n, solver, trace, seed, conditional, chunk, draws, check)
    return summed(model, data, found, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What each of some held-out events adds to `Bits`; those of several machines may be put together.

    Args:
        log_prob: nats of each event in the model's units, a row for each draw of its dequantisation, [draws, n].
        error: of the first row by the trace, [n].
        solver_error: of the first row, [n].
        coarser: which solve `solver_error` compares with.
    """

    log_prob: Tensor
    error: PerSample
    solver_error: PerSample
    coarser: str


@torch.no_grad()
def measured(
    model: Model,
    data: "Dataset",
    n: int | None = None,
    solver: Solver | None = None,
    trace: Trace | None = None,
    seed: int = 0,
    conditional: bool = False,
    chunk: int = 256,
    draws: int = 1,
    check: bool = True,
    first: int = 0,
) -> Measured:
    """The likelihoods of `n` held-out events from the `first` on; arguments and errors of `bits`."""
    _refuse(model, data, trace, draws)
    device, dtype = str(model.device), next((p.dtype for p in model.parameters()), None)
    if solver is None and isinstance(model, Diffusion):
        solver = model.solver if isinstance(model.solver, RungeKutta | Adaptive) else None
    found: list[Likelihood] = []
    for k in range(draws):
        held = data.held_out_batch(Draw(seed, "bits", k), n, first)
        context = held.context.to(device) if conditional and held.context is not None else None
        x, compare = held.x.to(device, dtype), check and k == 0
        found.append(likelihood(model, x, context, solver, trace, check=compare, first=first, chunk=chunk))
    log_prob = torch.stack([part.log_prob for part in found]).cpu()
    return Measured(log_prob, found[0].error.cpu(), found[0].solver_error.cpu(), found[0].coarser)


def summed(model: Model, data: "Dataset", found: Measured, seed: int = 0) -> Bits:
    """The bits of the first held-out events, all measured with this seed."""
    draws, n = found.log_prob.shape
    each = data.bits_per_dim(found.log_prob[0])
    closer = None
    if draws > 1:
        closer = mean(data.bits_per_dim(found.log_prob.double().logsumexp(0) - math.log(draws)))
    scale = math.prod(data.shape) * math.log(2)
    error = (found.error.double().square().sum().sqrt() / (n * scale)).item()
    off = (found.solver_error.double().mean() / scale).item()
    dtype = next((p.dtype for p in model.parameters()), None)
    x = data.held_out_batch(Draw(seed, "bits"), n).x.to(str(model.device), dtype)
    nats = spaces(model, data, x, found.log_prob[0])
    return Bits(mean(each), closer, draws, error, off, found.coarser, data.scaling.levels, nats)


def _refuse(model: Model, data: "Dataset", trace: Trace | None, draws: int) -> None:
    if draws < 1 or (draws > 1 and data.scaling.levels is None):
        expected = "one draw" if data.scaling.levels is None else "draws of 1 or more"
        fix = "Values without levels need no dequantisation; set draws=1."
        raise ConfigError(explain(expected, str(draws), fix))
    if draws > 1 and isinstance(model, Diffusion):
        chosen = model.trace if trace is None else trace
        if chosen.columns(math.prod(data.shape)):
            raise ConfigError(explain("an exact trace for several draws", repr(chosen), "Pass trace=Exact()."))

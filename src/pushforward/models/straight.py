"""Likelihoods follow the ODE on the straight path, the same curve whatever the path.

Divide x_t by h = alpha + sigma and let s = sigma / (alpha + sigma) be the clock. Then

    y = x_t / h = (1 - s) x0 + s eps,      dy/ds = eps - x0.

Nothing here depends on how fast the path is: where a variance-preserving path leaves the data with infinite velocity,
sigma' ~ 1/sqrt(t), the curve in s is as smooth as anywhere, and a tenth of the steps does. On the straight path itself
nothing changes, so a straight flow stays exact in one step. The change of scale is undone exactly in the
log-determinant,

    log |dz/dx| = log |dy(end)/dy(start)| + size (log h(end) - log h(start)).

A network that predicts x0 is the exception: dy/ds = (y - x0) / s, so what it is wrong by counts 1/s times, and steps
that are even in s jump over all of the way on which that happens. There a fixed number of steps is even in log s.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.paths import Linear, Path, Prediction, solve
from pushforward.solvers import (
    Adaptive,
    Field,
    Frugal,
    Heun,
    Midpoint,
    RungeKutta,
    Solver,
    Trace,
    Uniform,
    augmented,
    counted,
)
from pushforward.solvers.grids import LogSNR
from pushforward.transforms import Steps

if TYPE_CHECKING:
    from pushforward.models.diffusion import Diffusion

STRAIGHT: Final = Linear()
_CARRY: Final = (RungeKutta, Adaptive, Frugal)
_TINY: Final = 1e-12  # a time at which no sigma is 0 and nothing has moved yet
_FROM_X0: Final = LogSNR(least=1e-3, most=8.0)


class Pushed(NamedTuple):
    """Where events went and what their volume did.

    `columns` [batch, columns] holds log |det| by each column of the trace, which their mean estimates; `nfe` counts
    network calls.
    """

    x: Sample
    columns: Tensor
    nfe: int


def reach(path: Path, prediction: Prediction, span: tuple[float, float]) -> tuple[float, float]:
    """The times over which the network's output determines x0 and eps; `span` where the velocity is finite besides."""
    return (0.0 if _known(path, prediction, 0.0) else span[0], span[1])


def walk(path: Path, prediction: Prediction, steps: int = 20) -> Solver:
    """How to follow the ODE, in two network calls a step: by Heun's method, unless the output says nothing at an end.

    x0 says nothing of the velocity where there is no noise, nor eps where there is no data. A thousandth before, what
    the network is wrong by counts a thousandfold, and Heun asks there for half of a step; the midpoint's method moves
    by what is said elsewhere.
    """
    known = _known(path, prediction, 0.0) and _known(path, prediction, 1.0)
    return Heun(steps) if known else Midpoint(steps)


def blind_at_data(model: "Diffusion") -> bool:
    """Whether the network's output says nothing of eps where there is no noise: x0, on a path that begins there."""
    return not _known(model.path, model.prediction, 0.0)


def _known(path: Path, prediction: Prediction, t: float) -> bool:
    """Whether a network's output determines x0 and eps at a time."""
    c = path.coefficients(torch.tensor([t], dtype=torch.float64))
    row = prediction.row(c)
    det = c.alpha * row.q - c.sigma * row.p
    return bool(torch.stack([c.alpha, c.sigma, *row]).isfinite().all()) and abs(det.item()) > 1e-12


def straightened(model: "Diffusion", context: Context = None) -> Callable[[Tensor, Tensor], Tensor]:
    """dy/ds of the module's docstring as a field (y, s)."""

    low, high = model.reach

    def field(y: Sample, s: Time) -> Sample:
        t = model.path.time_at(1 - s, s).clamp(max(low, _TINY), high)
        c = model.path.coefficients(t)
        x = per_sample(c.alpha + c.sigma, y) * y
        data, noise = solve(model.raw(x, t, context), x, c, model.prediction)
        return noise - data

    return field


def push(
    model: "Diffusion",
    x: Sample,
    times: tuple[float, float],
    context: Context,
    solver: Solver | None,
    trace: Trace,
    first: int = 0,
) -> Pushed:
    """From the first of two times to the second with the log-determinant; gradients flow if they are enabled.

    `first` is the index of x's first event in a larger batch, by which random signs are found.

    Raises:
        ConfigError: a solver that cannot carry the divergence beside the events.
    """
    (start, h_start), (end, h_end) = (_place(model.path, t) for t in times)
    size, weights = math.prod(model.shape), _weights(model, context)
    field, state = _augmented(model, x, h_start, context, trace, first)
    chosen = _stepped(model, chosen_solver(model, solver), (start, end))
    if isinstance(chosen, Frugal) and torch.is_grad_enabled():
        state, nfe = chosen.follow(field, state, start, end, weights)
    else:
        state, nfe = counted(chosen.trajectory(field, state, start=start, end=end, path=STRAIGHT))
    columns = state[:, size:] + size * math.log(h_end / h_start)
    return Pushed(state[:, :size].unflatten(1, model.shape) * h_end, columns, nfe)


def push_steps(
    model: "Diffusion", x: Sample, times: tuple[float, float], context: Context, solver: Solver | None, trace: Trace
) -> Steps:
    """`push` that yields (x, log |det| so far) after each step of the solver, and takes an edited x by `send`."""
    (start, h), (end, _) = (_place(model.path, t) for t in times)
    size, since = math.prod(model.shape), x.new_full((len(x),), h).log()
    field, state = _augmented(model, x, h, context, trace)
    chosen = _stepped(model, chosen_solver(model, solver), (start, end))
    trajectory = chosen.trajectory(field, state, start=start, end=end, path=STRAIGHT)
    edited, told = None, (x, x.new_zeros(len(x)))
    while True:
        try:
            now = next(trajectory) if edited is None else trajectory.send(edited)
        except StopIteration:
            return told
        s = now.t.double()
        c = model.path.coefficients(model.path.time_at(1 - s, s).clamp(*model.reach))
        scale = (c.alpha + c.sigma).to(x)
        y, grown = now.x[:, :size].unflatten(1, model.shape), now.x[:, size:].mean(1)
        told = y * per_sample(scale, y), grown + size * (scale.log() - since)
        sent = yield told
        edited = None
        if sent is not None:
            told, since = (sent, sent.new_zeros(len(sent))), scale.log()
            edited = torch.cat([(sent / per_sample(scale, sent)).flatten(1), torch.zeros_like(now.x[:, size:])], 1)


def _weights(model: "Diffusion", context: Context) -> list[Tensor]:
    """All that the field depends on besides x and t."""
    return [*model.parameters(), *([] if context is None else [context])]


def _augmented(
    model: "Diffusion", x: Sample, h: float, context: Context, trace: Trace, first: int = 0
) -> tuple[Field, Tensor]:
    """The field of y with its divergence beside it, and where x = h y starts."""
    field = trace.of(straightened(model, context), x, first, _weights(model, context))
    count = max(1, trace.columns(math.prod(model.shape)))
    return augmented(field, model.shape), torch.cat([x.flatten(1) / h, x.new_zeros(len(x), count)], 1)


def _place(path: Path, t: float) -> tuple[float, float]:
    """(s, h) at a time of the path."""
    c = path.coefficients(torch.tensor([t], dtype=torch.float64))
    return STRAIGHT.time_at(c.alpha, c.sigma).item(), (c.alpha + c.sigma).item()


def close(model: "Diffusion") -> Solver:
    """A solver close enough to the ODE to be taken for invertible, its ladj for that of the map."""
    return model.solver if isinstance(model.solver, Adaptive | Frugal) else Adaptive(rtol=1e-6, atol=1e-6)


def chosen_solver(model: "Diffusion", solver: Solver | None) -> Solver:
    """The solver, or the model's own if it can carry a divergence, or else an adaptive one."""
    if solver is None:
        return model.solver if isinstance(model.solver, _CARRY) else Adaptive()
    if not isinstance(solver, _CARRY):
        fix = "Pass RK4(steps=20) or Adaptive(); others are for sampling."
        raise ConfigError(explain("a Runge-Kutta or adaptive solver for a likelihood", repr(solver), fix))
    return solver


def _stepped(model: "Diffusion", solver: Solver, way: tuple[float, float]) -> Solver:
    """With steps even in log s, if no other grid was named, on a way by the data of a network that is blind there."""
    if isinstance(solver, RungeKutta) and solver.grid == Uniform() and min(way) < 0.5 and blind_at_data(model):
        return replace(solver, grid=_FROM_X0)
    return solver

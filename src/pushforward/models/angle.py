"""Likelihoods follow the ODE by the angle between data and noise, the same curve whatever the path.

Divide x_t by h = hypot(alpha, sigma) and let theta = atan2(sigma, alpha) be the clock. Then

    y = x_t / h = cos(theta) x0 + sin(theta) eps,      dy/dtheta = cos(theta) eps - sin(theta) x0 = v / h,

where v is that row of the table on the path itself. Nothing here depends on how fast the path is: where a
variance-preserving path leaves the data with infinite velocity, sigma' ~ 1/sqrt(t), the curve in theta is as smooth as
anywhere. The change of scale is undone exactly in the log-determinant,

    log |dz/dx| = log |dy(end)/dy(start)| + size (log h(end) - log h(start)).

Solvers see tau = 2 theta / pi in [0, 1], which is the time of the path `Cosine`.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.paths import Cosine, Path, Prediction, v
from pushforward.solvers import Adaptive, RungeKutta, Solver, Trace, Trajectory, augmented

if TYPE_CHECKING:
    from pushforward.models.diffusion import Diffusion

CIRCLE: Final = Cosine()
_TINY: Final = 1e-12  # a time at which no sigma is 0 and nothing has moved yet


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
    c = path.coefficients(torch.zeros(1, dtype=torch.float64))
    row = prediction.row(c)
    det = c.alpha * row.q - c.sigma * row.p
    known = bool(torch.stack([c.alpha, c.sigma, *row]).isfinite().all()) and abs(det.item()) > 1e-12
    return (0.0 if known else span[0], span[1])


def by_angle(model: "Diffusion", context: Context = None) -> Callable[[Tensor, Tensor], Tensor]:
    """dy/dtau of the module's docstring as a field (y, tau)."""
    low, high = model.reach

    def field(y: Sample, tau: Time) -> Sample:
        circle = CIRCLE.coefficients(tau)
        t = model.path.time_at(circle.alpha, circle.sigma).clamp(max(low, _TINY), high)
        c = model.path.coefficients(t)
        h = per_sample(torch.hypot(c.alpha, c.sigma), y)
        return model.predict(v, h * y, t, context) * (math.pi / 2 / h)

    return field


def push(
    model: "Diffusion", x: Sample, context: Context, solver: Solver | None, trace: Trace, *, back: bool, first: int = 0
) -> Pushed:
    """Data to noise, or `back`, with the log-determinant; gradients flow if they are enabled.

    Raises:
        ConfigError: a solver that cannot carry the divergence beside the events.
    """
    ends = [_place(model.path, t) for t in model.reach]
    (start, h_start), (end, h_end) = reversed(ends) if back else ends
    size, count = math.prod(model.shape), max(1, trace.columns(math.prod(model.shape)))
    field = augmented(trace.of(by_angle(model, context), x, first), model.shape)
    state = torch.cat([x.flatten(1) / h_start, x.new_zeros(len(x), count)], 1)
    state, nfe = _drain(_solver(model, solver).trajectory(field, state, start=start, end=end, path=CIRCLE))
    columns = state[:, size:] + size * math.log(h_end / h_start)
    return Pushed(state[:, :size].unflatten(1, model.shape) * h_end, columns, nfe)


def _place(path: Path, t: float) -> tuple[float, float]:
    """(tau, h) at a time of the path."""
    c = path.coefficients(torch.tensor([t], dtype=torch.float64))
    return CIRCLE.time_at(c.alpha, c.sigma).item(), torch.hypot(c.alpha, c.sigma).item()


def _solver(model: "Diffusion", solver: Solver | None) -> Solver:
    if solver is None:
        return model.solver if isinstance(model.solver, RungeKutta | Adaptive) else Adaptive()
    if not isinstance(solver, RungeKutta | Adaptive):
        fix = "Pass RK4(steps=20) or Adaptive(); others are for sampling."
        raise ConfigError(explain("a Runge-Kutta or adaptive solver for a likelihood", repr(solver), fix))
    return solver


def _drain(trajectory: Trajectory) -> tuple[Tensor, int]:
    """The final x and the calls it took."""
    nfe = 0
    while True:
        try:
            nfe = next(trajectory).nfe
        except StopIteration as stop:
            return stop.value, nfe

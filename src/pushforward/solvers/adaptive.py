"""An adaptive solver whose samples never disturb each other.

Dormand and Prince's pair of orders 5 and 4: the difference of the two is the error of a step, and a
proportional-integral controller picks the next step from the last two errors,

    e_i = rms_over_event( error_i / (atol + rtol max(|x|, |x_new|)) ),      accept where e_i <= 1,
    h <- h * clip(0.9 e_i**(-0.7/5) e_previous**(0.4/5), 0.2, 5).

Every sample of the batch keeps its own time and step, so its result does not depend on its neighbours; one that has
arrived stands still until the slowest does.

References: Dormand and Prince 1980; Gustafsson 1991 for the controller; Soederlind 2003 for its exponents.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward._derivatives import refuse_vmap
from pushforward._errors import ConfigError, PushforwardError
from pushforward._random import Draw
from pushforward._typing import Sample, per_sample
from pushforward.paths import Path, Prediction, recast, velocity
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.estimate import estimate_x0
from pushforward.solvers.grids import checked
from pushforward.solvers.levels import velocity_needs
from pushforward.solvers.state import Field, Solver, State, Trajectory

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_MATRIX = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class _Walk(NamedTuple):
    """Where each sample stands: x [batch, *event], slope there, time, signed step and last error [batch]."""

    x: Tensor
    slope: Tensor
    t: Tensor
    h: Tensor
    error: Tensor


@dataclass(frozen=True)
class Adaptive(Solver):
    """Dormand-Prince 5(4) with a step of its own for each sample.

    Args:
        rtol, atol: the error allowed in one step, relative and absolute.
        first_step: the first step tried, as a length of time.
        max_rounds: attempted steps after which it gives up.

    Raises:
        PushforwardError: when `max_rounds` attempts do not reach the end, or under `torch.vmap`.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    first_step: float = 0.05
    max_rounds: int = 10_000

    def __post_init__(self) -> None:
        if min(self.rtol, self.atol) < 0 or self.rtol + self.atol == 0 or self.first_step <= 0:
            raise ConfigError(f"Expected tolerances and a first step above 0; got {self}. Set rtol=1e-5, atol=1e-5.")

    def trajectory(
        self,
        field: Field,
        x: Sample,
        start: float = 1.0,
        end: float = 0.0,
        path: Path | None = None,
        prediction: Prediction = velocity,
        draw: Draw | None = None,
    ) -> Trajectory:
        if start == end or len(x) == 0:
            return x
        checked((start, end), path)
        refuse_vmap(x)
        check_state(x)
        field = as_velocity(field, path, prediction)
        walk, nfe = self._begin(field, x, torch.full((len(x),), start, dtype=torch.float64, device=x.device), end), 1
        for _ in range(self.max_rounds):
            before, (walk, accepted) = walk, self._attempt(field, walk, end)
            nfe += len(_NODES)
            if not bool(accepted.any()):
                continue
            told = partial(estimate_x0, before.x, before.slope, before.t.to(x.dtype), path)
            edited = yield State(walk.x, walk.t.to(x.dtype), told, nfe)
            if edited is not None:
                check_state(edited)
                walk, nfe = self._begin(field, edited, walk.t, end), nfe + 1
            if bool((walk.t == end).all()):
                return walk.x
        raise PushforwardError(
            f"Expected to reach t={end} in {self.max_rounds} steps; got stuck near t={walk.t[walk.t != end][0]:.6f}. "
            f"Raise rtol or atol (now {self.rtol}, {self.atol}), or look for a field that is not smooth there."
        )

    def _begin(self, field: Field, x: Tensor, t: Tensor, end: float) -> _Walk:
        h = torch.full_like(t, self.first_step) * torch.sign(end - t)
        slope = field(x, t.to(x.dtype))
        check_output(slope, x)
        return _Walk(x, slope, t, h, torch.ones_like(t))

    def _attempt(self, field: Field, walk: _Walk, end: float) -> tuple[_Walk, Tensor]:
        h = torch.where((walk.t + 1.000001 * walk.h - end) * walk.h.sign() >= 0, end - walk.t, walk.h)
        arrives = (h != walk.h) | (h == 0)
        step = per_sample(h.to(walk.x.dtype), walk.x)
        slopes, x_new = [walk.slope], walk.x
        for node, row in zip(_NODES, _MATRIX):
            x_new = walk.x + step * _sum(slopes, row)
            slopes.append(field(x_new, (walk.t + node * h).to(walk.x.dtype)))
        scale = self.atol + self.rtol * torch.maximum(walk.x.abs(), x_new.abs())
        ratio = (step * _sum(slopes, _ERROR) / scale).flatten(1).detach().double()
        error = ratio.square().mean(1).sqrt().clamp(min=1e-10)
        error = torch.where(error.isfinite(), error, torch.full_like(error, 1e6))
        accepted = (error <= 1) & (walk.t != end)
        factor = (0.9 * error ** (-0.7 / 5) * walk.error ** (0.4 / 5)).clamp(0.2, 5.0)
        factor = torch.where(accepted, factor, factor.clamp(max=0.9))
        t_new = torch.where(arrives, torch.full_like(walk.t, end), walk.t + h)
        pick = per_sample(accepted, walk.x)
        after = _Walk(
            torch.where(pick, x_new, walk.x),
            torch.where(pick, slopes[-1], walk.slope),
            torch.where(accepted, t_new, walk.t),
            h * factor,
            torch.where(accepted, error, walk.error),
        )
        return after, accepted


def _sum(slopes: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    terms = [weight * slope for weight, slope in zip(weights, slopes) if weight]
    return torch.stack(terms).sum(0) if len(terms) > 2 else sum(terms[1:], terms[0])


def as_velocity(field: Field, path: Path | None, prediction: Prediction) -> Field:
    """The field as a velocity at any times, one per sample.

    Raises:
        ConfigError: its output is something else, and there is no path to turn it by.
    """
    velocity_needs(path, prediction)
    if path is None or prediction == velocity:
        return field
    return lambda x, t: recast(field(x, t), x, path.coefficients(t), prediction, velocity)

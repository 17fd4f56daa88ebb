"""How straight a model's paths are, and how far they carry.

Along one path of the model's own ODE dx/dt = v(x, t), from eps at t = 1 to its end x0 at t = 0, write c = eps - x0.
(With data at t = 0 the velocity points from data to noise: dx/dt = eps - x0 on a straight line.)

    straightness   S = E int_0^1 |c - v(x_t, t)|^2 dt  =  E [ int_0^1 |v|^2 dt - |c|^2 ]      since int v dt = c
    transport cost C = E |c|^2

A model defined on a shorter span, of length L, has c / L in place of c and int |v|^2 dt / L for the energy.
S = 0 means straight lines at constant speed: one Euler step is then exact (Liu et al. 2022, arXiv 2209.03003, eq. 8).
The energy e' = |v|^2 is integrated together with x as one more coordinate, by any solver. Since a Runge-Kutta method
weighs both integrals alike, the computed S is a weighted sum of |c - v|^2, never negative, and needs no storage of the
path. S is not scale free; `relative` = S / (S + C) lies in [0, 1], the share of the kinetic energy lost to detours.

On a curved path (VP, VE, ...) x_t = alpha x0 + sigma eps is no line at constant speed even where pairs never cross, so
S is of the path as well as of the model, and S on two paths do not compare. `on_lines` is the same model on the
straight path, where reflow makes its lines: `stages`, `write` and `pushforward evaluate` all measure there.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from pushforward._errors import ConversionError
from pushforward._typing import Context, Sample, Time
from pushforward.models import Diffusion
from pushforward.paths import Linear, velocity
from pushforward.report.estimate import Estimate, mean
from pushforward.solvers.state import Solver, drain

_LINEAR: Final = Linear()


class Flowing(Protocol):
    """Anything with a velocity field and noise to start from."""

    def velocity(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """dx/dt at (x, t)."""
        ...

    def noise(self, n: int, seed: int | None = None, first: int = 0, context: Context = None) -> Sample:
        """`n` starting points, of this context."""
        ...


@dataclass(frozen=True, slots=True)
class Straightness:
    """What a look along the paths tells.

    Args:
        total: S, in squared model units.
        per_dimension: S divided by the number of dimensions.
        transport: C = E|x0 - eps|^2.
        relative: S / (S + C), in [0, 1].
    """

    total: Estimate
    per_dimension: Estimate
    transport: Estimate
    relative: float


def straightness(
    model: Flowing, solver: Solver, n: int = 512, seed: int = 0, context: Context = None, chunk: int = 256
) -> Straightness:
    """Measure straightness and transport cost along `n` of the model's own paths (`on_lines` for the straight path's).

    Args:
        model: anything with `velocity(x, t, context)` and `noise(n, seed, first, context)`.
        solver: what follows the paths; take one accurate enough that the answer no longer changes.
        n: number of paths, at least 2.
        seed: which paths: those `model.sample(n, seed=seed)` takes.
        context: what the paths are conditioned on, [n, ...], or None.
        chunk: paths followed at a time.
    """
    parts = [_chunk(model, solver, min(chunk, n - first), seed, first, context) for first in range(0, n, chunk)]
    energy, cost = torch.cat([e for e, _, _ in parts]), torch.cat([c for _, c, _ in parts])
    dimensions = parts[0][2]
    bent, carried = mean(energy - cost), mean(cost)
    whole = float(energy.mean())
    per_dimension = Estimate(bent.value / dimensions, bent.error / dimensions)
    return Straightness(bent, per_dimension, carried, bent.value / whole if whole > 0 else 0.0)


def on_lines(model: Diffusion) -> Diffusion:
    """The model on the straight path, the same samples from the same noise.

    Itself if it is there already, or starts from noise of its own that has no place there.
    """
    with suppress(ConversionError):
        return model if model.path == _LINEAR else model.on(_LINEAR, velocity)
    return model


@torch.no_grad()
def _chunk(
    model: Flowing, solver: Solver, n: int, seed: int, first: int, context: Context
) -> tuple[Tensor, Tensor, int]:
    """The energy and the squared length of the chord of each path, and the number of dimensions."""
    given = None if context is None else context[first : first + n]
    eps = model.noise(n, seed, first, given)
    wide = eps.dtype if eps.device.type == "mps" else torch.float64

    def field(state: Tensor, t: Tensor) -> Tensor:
        v = model.velocity(state[:, :-1].to(eps.dtype).view_as(eps), t.to(eps.dtype), given).flatten(1).to(wide)
        return torch.cat([v, v.square().sum(1, keepdim=True)], dim=1)

    start = torch.cat([eps.flatten(1).to(wide), torch.zeros(n, 1, dtype=wide, device=eps.device)], dim=1)
    low, high = getattr(model, "span", (0.0, 1.0))
    change = start - drain(solver.trajectory(field, start, high, low))
    long = high - low
    return change[:, -1].cpu() / long, (change[:, :-1] / long).square().sum(1).cpu(), math.prod(eps.shape[1:])

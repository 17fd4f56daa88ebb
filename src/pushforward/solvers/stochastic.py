"""Solvers of the reverse SDE; noise is added on the way, addressed by seed, sample and time.

    EulerMaruyama       dx = (u - w/2 score) dt + sqrt(w) dw,  w = eta**2 g**2 of the path, or eta**2 sigma
    Karras              churn: add noise up to rho_hat = rho (1 + gamma), then Heun in rho    (EDM, algorithm 2)
    PredictorCorrector  one ancestral step, then Langevin steps at the new level               (score SDE)

In rho = sigma / alpha and x / alpha the ODE is d(x / alpha) = eps d(rho), and Heun's step of it is

    x' = alpha' ( x / alpha + (rho' - rho) (eps + eps') / 2 ),      without the correction where rho' = 0.

The Langevin step x <- x + e score + sqrt(2 e) z has e = 2 (snr sigma)**2: the paper's 2 (snr |z| / |score|)**2 with the
size 1 / sigma that the score of noise has. The paper takes norms over the batch, which makes samples neighbours.

References: Karras et al. 2022 (arXiv 2206.00364), Song et al. 2021 (arXiv 2011.13456), Ma et al. 2024 (arXiv
2401.08740) for w = sigma.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.paths import Coefficients, Path, Prediction, eps, reverse, score, velocity, x0
from pushforward.solvers import grids
from pushforward.solvers.ancestral import Ancestral
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.grids import Grid
from pushforward.solvers.levels import Level, across, bridges, grid_levels, levels, needs_path
from pushforward.solvers.multistep import Linear, Step, combine, told
from pushforward.solvers.noise import Noise, White, address, normal
from pushforward.solvers.state import Field, Solver, State, Trajectory


@dataclass(frozen=True)
class EulerMaruyama(Linear):
    """The reverse SDE in the path's own time, by Euler's method; the last step into clean data adds no noise.

    Args:
        eta: how much noise; 0 is Euler's method for the ODE, 1 the path's own reverse process.
        form: w from the path's diffusion g, which is infinite where alpha is 0, or from sigma.
    """

    eta: float = 1.0
    form: Literal["path", "sigma"] = "path"

    def validate(self) -> None:
        if self.eta < 0 or self.form not in ("path", "sigma"):
            got = f"eta {self.eta}, form {self.form!r}"
            raise ConfigError(explain("an eta of 0 or more and form path or sigma", got, "Change it."))

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        here, later = nodes[i], nodes[i + 1]
        if later.sigma == 0:
            return Step(*across(here, later, prediction))
        if here.alpha == 0 and self.form == "path" and self.eta:
            got, fix = (
                f"t={here.t:g}, where its noise is infinite",
                "Use form='sigma', or a grid that starts below t=1.",
            )
            raise ConfigError(explain("a start where alpha is not 0", got, fix))
        drift, t = reverse(self._amount()), torch.tensor([here.t], dtype=torch.float64)
        h, w = later.t - here.t, drift.diffusion(path, t).item()
        a, b = bridges([here], prediction, drift)[0]
        return Step(1 + h * a, h * b, noise=math.sqrt(w * abs(h)))

    def _amount(self) -> float | Callable[[Coefficients], Tensor]:
        """eta, or w as a function of the path's coefficients."""
        return self.eta if self.form == "path" else lambda c: self.eta**2 * c.sigma


@dataclass(frozen=True)
class Karras(Solver):
    """EDM's own sampler on any path: Heun in the noise level, with churn if wanted. 2 steps - 1 network calls.

    Args:
        steps: intervals, the last of which ends in clean data.
        grid: the noise levels.
        churn: S_churn; 0 is deterministic (algorithm 1).
        least, most: S_min and S_max, the noise levels between which noise is added.
        swell: S_noise, the standard deviation of that noise.
        clean, noise: as for `Linear`.
    """

    steps: int = 18
    grid: Grid = grids.Karras()
    churn: float = 0.0
    least: float = 0.05
    most: float = 50.0
    swell: float = 1.003
    clean: bool = True
    noise: Noise = White()
    open_end = True

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.churn, self.least, self.swell) < 0:
            expected = "at least 1 step, and churn, least and swell of 0 or more"
            raise ConfigError(explain(expected, str(self), "Change it."))

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
        path, nfe = needs_path(path, self), 0
        nodes = grid_levels(self.grid, self.steps, path, start, end, self.clean)
        check_state(x)
        draw = address(draw) if self.churn else draw
        for i, (here, later) in enumerate(pairwise(nodes)):
            hat = self._swollen(here, path) if later.ratio < here.ratio else here
            if hat is not here and draw is not None:
                extra = hat.alpha * math.sqrt(hat.ratio**2 - here.ratio**2) * self.swell
                z = self.noise.between(draw, x, here.t, hat.t)
                x = combine(x, z, hat.alpha / here.alpha, extra)
            m = field(x, x.new_full((len(x),), hat.t))
            if i == 0:
                check_output(m, x)
            end_row = bridges([hat], prediction, x0, strict=False)[0]
            tell, nfe = partial(told, x, m, end_row, hat), nfe + 1
            after = combine(x, m, *across(hat, later, prediction))
            if later.sigma > 0 and later.alpha > 0 and hat.alpha > 0:
                again, nfe = field(after, x.new_full((len(x),), later.t)), nfe + 1
                after = _corrected(x, m, after, again, hat, later, prediction)
            x = after
            edited = yield State(x, x.new_full((len(x),), later.t), tell, nfe)
            if edited is not None:
                check_state(edited)
                x = edited
        return x

    def _swollen(self, here: Level, path: Path) -> Level:
        """The level that churn raises this one to."""
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1) if self.least <= here.ratio <= self.most else 0.0
        if gamma == 0:
            return here
        top = levels(path, (1.0,))[0]
        ratio = torch.tensor([min(here.ratio * (1 + gamma), top.ratio)], dtype=torch.float64)
        return levels(path, path.time_at(torch.ones_like(ratio), ratio).clamp(0, 1).tolist())[0]


@dataclass(frozen=True)
class PredictorCorrector(Solver):
    """Ancestral steps, each followed by Langevin steps that bring the samples nearer to the marginal there.

    Args:
        steps: intervals; network calls are steps (1 + corrections), less the corrections after the last.
        grid: where they are made.
        corrections: Langevin steps after each interval.
        snr: their signal-to-noise ratio; 0.16 is the paper's for VE on images.
        clean, noise: as for `Linear`.
    """

    steps: int = 100
    grid: Grid = grids.Uniform()
    corrections: int = 1
    snr: float = 0.16
    clean: bool = True
    noise: Noise = White()
    open_end = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.corrections < 0 or self.snr <= 0:
            expected = "at least 1 step, corrections of 0 or more and snr above 0"
            raise ConfigError(explain(expected, str(self), "Change it."))

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
        path, draw, nfe = needs_path(path, self), address(draw), 0
        nodes = grid_levels(self.grid, self.steps, path, start, end, self.clean)
        check_state(x)
        for i, (here, later) in enumerate(pairwise(nodes)):
            m, nfe = field(x, x.new_full((len(x),), here.t)), nfe + 1
            if i == 0:
                check_output(m, x)
            tell = partial(told, x, m, bridges([here], prediction, x0, strict=False)[0], here)
            step = Ancestral().step(nodes, i, 0, prediction, path)
            x = combine(x, m, step.x, step.m)
            if step.noise:
                x = x.add_(self.noise.between(draw, x, here.t, later.t), alpha=step.noise)
            for k in range(self.corrections if later.sigma > 0 else 0):
                m, nfe = field(x, x.new_full((len(x),), later.t)), nfe + 1
                e = 2 * (self.snr * later.sigma) ** 2
                a, b = bridges([later], prediction, score)[0]
                x = combine(x, m, 1 + e * a, e * b)
                x = x.add_(normal(draw, x, "langevin", later.t, k), alpha=math.sqrt(2 * e))
            edited = yield State(x, x.new_full((len(x),), later.t), tell, nfe)
            if edited is not None:
                check_state(edited)
                x = edited
        return x


def adds_noise(solver: Solver) -> bool:
    """Whether a solver adds noise on the way, so that a start has no one end.

    >>> adds_noise(Karras(8)), adds_noise(Karras(8, churn=10.0))
    (False, True)
    """
    noisy = isinstance(solver, PredictorCorrector) or getattr(solver, "churn", 0.0) > 0
    return noisy or getattr(solver, "eta", 0.0) != 0 or getattr(solver, "renoise", 0.0) != 0


def _corrected(
    x: Tensor, m: Tensor, after: Tensor, again: Tensor, here: Level, later: Level, prediction: Prediction
) -> Tensor:
    """Heun's step in rho, from what the network said at both ends of the interval."""
    rows = bridges([here, later], prediction, eps)
    half = later.alpha * (later.ratio - here.ratio) / 2
    new = combine(x, m, later.alpha / here.alpha + half * rows[0][0], half * rows[0][1])
    return new.add_(after, alpha=half * rows[1][0]).add_(again, alpha=half * rows[1][1])

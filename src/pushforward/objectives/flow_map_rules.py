"""What a flow map's jump should have been: every recipe is two legs.

The trajectory from t to s passes a time m = t + k (s - t), so the average velocities of its two legs make that of the
whole (primes are not differentiated, v is the velocity):

    u(x_t, t, s) = k u'(x_t, t, m) + (1 - k) u'(x_m, m, s),        x_m = x_t + (m - t) u'(x_t, t, m)

Recipes differ in who walks which leg, and in k:

    rule           k                first leg                 second leg       known as
    Composition    1/2              student                   student          shortcut
                   1/2              teacher                   teacher          progressive distillation
                   small, shrinking one step along v          student          consistency, s = 0 (also ECT)
                   any              teacher, several steps    student          consistency trajectory
                   1                teacher, several steps    -                direct distillation
    Eulerian       -> 0             v, in the limit           student          MeanFlow, Eulerian map distillation,
                                                                               continuous consistency at s = 0
    Lagrangian     -> 1             student                   v, in the limit  Lagrangian map (self-)distillation

What the first leg says that is new shrinks with k. So where v walks it and the student the rest, the gap is measured
per unit of k, (target - u') / k, and has a limit:

    k -> 0     v + (s - t) D u'(x_t, t, s)        D = d/dt + v d/dx, along the trajectory
    k -> 1     v(x_s, s) - (s - t) d/ds u'(x_t, t, s)

k is the one parameter that leads from MeanFlow (0) over consistency and shortcuts to distilling the whole solution (1).
Without a teacher v is eps - x0 of the pair: its mean at x_t is the velocity, and everything is linear in it as k -> 0;
for k > 0 that is a bias of order k. For the Lagrangian rule it is the student's own u(x, s, s), which is
learned where s = t.

References: Salimans and Ho 2022 (arXiv 2202.00512), Song et al. 2023 (arXiv 2303.01469), Kim et al. 2023 (arXiv
2310.02279), Boffi et al. 2024 (arXiv 2406.07507) and 2025 (arXiv 2505.18825), Frans et al. 2024 (arXiv 2410.12557),
Geng et al. 2025 (arXiv 2505.13447).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.straight import straightened
from pushforward.objectives.tangent import Derivative, tangent

Walker = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Average velocities: (x at t, t, s) -> [batch, *event]."""


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a batch stands, and whom it can ask.

    Args:
        model: the student.
        teacher: whose solution it learns; None for the data's own.
        x, t, s: at x at time t, to jump to s.
        slope: v at (x, t): the teacher's, or eps - x0 of the pair.
        context: what each sample is conditioned on.
        draw: the address of this step.
    """

    model: FlowMap
    teacher: Diffusion | FlowMap | None
    x: Sample
    t: Time
    s: Time
    slope: Sample
    context: Context
    draw: Draw

    def student(self, x: Sample, t: Time, s: Time) -> Sample:
        """The student's average velocity."""
        return self.model.average(x, t, s, self.context)

    def velocity(self, x: Sample, t: Time) -> Sample:
        """The teacher's velocity, or the student's own."""
        return velocity_of(self.model if self.teacher is None else self.teacher, self.context)(x, t)


class Rule(abc.ABC):
    """How a target for u(x, t, s) is made; a frozen dataclass."""

    @abc.abstractmethod
    def target(self, here: Standing, u: Sample) -> Sample:
        """What `u`, the student's answer, should be, [batch, *event]; called without gradients.

        Where s = t it does not matter: there the target is the velocity.
        """


@dataclass(frozen=True, slots=True)
class Eulerian(Rule):
    """v + (s - t) D u: the start of the jump moves along the trajectory, its end stays.

    Args:
        derivative: how D is computed.
        warmup: steps over which D's weight rises from 0, where the target is v for every s, to 1.
    """

    derivative: Derivative = "auto"
    warmup: int = 0

    def target(self, here: Standing, u: Sample) -> Sample:
        at, along = (here.x, here.t), (here.slope, torch.ones_like(here.t))
        change = tangent(lambda x, t: here.student(x, t, here.s), at, along, self.derivative)
        weight = min(1.0, here.draw.step / self.warmup) if self.warmup else 1.0
        return here.slope + per_sample(weight * (here.s - here.t), u) * change


@dataclass(frozen=True, slots=True)
class Lagrangian(Rule):
    """v(x_s, s) - (s - t) d/ds u: the end of the jump moves, and must do so along the trajectory.

    Args:
        derivative: how d/ds is computed.
    """

    derivative: Derivative = "auto"

    def target(self, here: Standing, u: Sample) -> Sample:
        one = torch.ones_like(here.s)
        change = tangent(lambda s: here.student(here.x, here.t, s), (here.s,), (one,), self.derivative)
        leap = per_sample(here.s - here.t, u)
        return here.velocity(here.x + leap * u, here.s) - leap * change


@dataclass(frozen=True, slots=True)
class Shrinking:
    """k = min(1, (1 + boost sigmoid(-sharp rho)) / base**stage), rho = t / (1 - t): smaller at each stage of training.

    Args:
        every: steps of training in a stage.
        base: what k is divided by at each stage.
        boost, sharp: how much larger k is where there is little noise.
        least: k never falls below it.

    Reference: Geng et al. 2024 (arXiv 2406.14548); there in the noise level, here in t.
    """

    every: int = 250
    base: float = 2.0
    boost: float = 8.0
    sharp: float = 1.0
    least: float = 1 / 256

    def at(self, t: Time, step: int) -> Tensor:
        """k for each sample, [batch]."""
        rho = t / (1 - t).clamp(min=torch.finfo(t.dtype).eps)
        wide = 1 + self.boost * torch.sigmoid(-self.sharp * rho)
        return (wide / self.base ** (step // self.every + 1)).clamp(self.least, 1.0)


@dataclass(frozen=True, slots=True)
class Composition(Rule):
    """Two legs, k of the way and the rest.

    Args:
        share: k, in (0, 1]; a schedule; or None, uniform and fresh for each sample.
        first: who walks the first leg: one straight step along v, the teacher, or the student.
        second: who walks the second.
        steps: in how many steps of Heun's method a teacher that is a `Diffusion` walks a leg.

    Raises:
        ConfigError: a share outside (0, 1], or no steps.
    """

    share: float | Shrinking | None = 0.5
    first: Literal["line", "teacher", "student"] = "student"
    second: Literal["teacher", "student"] = "student"
    steps: int = 1

    def __post_init__(self) -> None:
        if (isinstance(self.share, float | int) and not 0 < self.share <= 1) or self.steps < 1:
            raise ConfigError(explain("a share in (0, 1] and at least 1 step", f"{self}", "Change it."))

    def target(self, here: Standing, u: Sample) -> Sample:
        share = self._share(here)
        m, k = here.t + share * (here.s - here.t), per_sample(share, u)
        first = here.slope if self.first == "line" else self._walker(self.first, here)(here.x, here.t, m)
        if self.share == 1:
            return first
        x_m = here.x + per_sample(m - here.t, u) * first
        both = k * first + (1 - k) * self._walker(self.second, here)(x_m, m, here.s)
        news = self.first != "student" and self.second == "student"
        return u + (both - u) / k if news else both

    def _share(self, here: Standing) -> Tensor:
        if self.share is None:
            drawn = here.draw.of("share").uniform(len(here.t), dtype=torch.float64)
            return (1 - drawn).to(here.t)  # in (0, 1]
        return self.share.at(here.t, here.draw.step) if isinstance(self.share, Shrinking) else 0 * here.t + self.share

    def _walker(self, who: str, here: Standing) -> Walker:
        if who == "student":
            return here.student
        if here.teacher is None:
            raise ConfigError(explain("a teacher to walk a leg", "none", "Pass teacher=, or first='line'."))
        if isinstance(teacher := here.teacher, FlowMap):
            return lambda x, t, s: teacher.average(x, t, s, here.context)
        field = velocity_of(teacher, here.context)
        return lambda x, t, s: walk(field, x, t, s, self.steps)


def velocity_of(model: Diffusion | FlowMap, context: Context) -> Callable[[Tensor, Tensor], Tensor]:
    """The velocity of a model on the straight path, (x, t) -> [batch, *event], whatever its own path."""
    return model.field(context) if isinstance(model, FlowMap) else straightened(model, context)


def walk(field: Callable[[Tensor, Tensor], Tensor], x: Sample, t: Time, s: Time, steps: int = 1) -> Sample:
    """The average velocity from t to s by Heun's method, with times of its own for each sample, [batch, *event]."""
    h, y = (s - t) / steps, x
    slopes = list[Tensor]()
    for i in range(steps):
        now, step = t + i * h, per_sample(h, x)
        slope = field(y, now)
        slopes.append((slope + field(y + step * slope, now + h)) / 2)
        y = y + step * slopes[-1]
    return torch.stack(slopes).mean(0)

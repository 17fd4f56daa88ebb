"""Distribution matching: samples whose scores are the teacher's.

A student samples x0' in a few jumps. At every noise level the KL divergence of its noised samples from the teacher's
falls along the difference of the two scores, in units of the denoiser

    gap = D_critic(x_t, t) - D_teacher(x_t, t) = t (v_teacher - v_critic),      x_t = (1 - t) x0' + t eps,
    L_student = mean ( x0' - (x0' - gap / size)' )**2 / 2,                       size = mean |x0' - D_teacher|

(primes are not differentiated). The critic is a model of the student's own samples, regressed beside it,

    L_critic = mean ( v_critic(x_t, t) - (eps - x0'') )**2.

Each term has gradients for its own network alone, so their sum is one objective: one forward pass, one optimizer, and
nothing to alternate. No pairs are needed, and no student has to follow the teacher's trajectories. Where batches are
pairs of the teacher (`pairs`), `anchor` adds the square of what the student misses them by, which holds its modes.

What is trained are jumps to data, x0' = X(x_t, t, 0). With several of them t is a random one of the times at which
`Jumps(steps, renoise=1.0)` jumps, and x_t what that sampler has there: its sample of the jump before, and fresh noise.
Jumps to times between, which a sampler without fresh noise makes, are not: such a model is refused.

References: Yin et al. 2023 (arXiv 2311.18828), Yin et al. 2024 (arXiv 2405.14867) for several jumps.
"""

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model
from pushforward.objectives.flow_map_matching import needs_flow_map
from pushforward.objectives.flow_map_rules import velocity_of
from pushforward.objectives.objective import Objective, needs_noise
from pushforward.paths import Linear, TimeDistribution, Uniform

_STRAIGHT: Final = Linear()


@dataclass(frozen=True, slots=True)
class DistributionMatching(Objective):
    """Train a `FlowMap` with a critic (`FlowMap.of(teacher, critic=True)`) to sample what the teacher models.

    Args:
        teacher: the model to match, guided or not; it is not trained.
        steps: jumps that samples are made with, with fresh noise between them; a random one of them is trained for each
            sample. More than one want `FlowMap.of(teacher, critic=True, solver=Jumps(steps, renoise=1.0))`.
        times: the noise levels at which the two are compared.
        ends: the first and the last of these.
        every: the critic learns at each step, the student at each of this many. One that follows a critic which has
            not seen its samples yet is led astray: 5 is usual, and a small learning rate.
        anchor: weight of the regression on pairs.

    Raises:
        ConfigError: a model whose samples start from other noise than N(0, 1), or take several jumps without fresh
            noise between; no steps, or ends not within (0, 1).
        ShapeError: an anchor, and batches without pairs.
    """

    teacher: Diffusion | FlowMap = field(repr=False)
    steps: int = 1
    times: TimeDistribution = Uniform()
    ends: tuple[float, float] = (0.02, 0.98)
    every: int = 5
    anchor: float = 0.0

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1 or not 0 < self.ends[0] < self.ends[1] < 1:
            got = f"steps={self.steps}, every={self.every}, ends={self.ends}"
            raise ConfigError(explain("steps and every of at least 1, and ends within (0, 1)", got, "Change it."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        model, context = needs_flow_map(model), batch.context
        if model.critic is None:
            fix = "Make it with FlowMap.of(teacher, critic=True)."
            raise ConfigError(explain("a flow map with a critic", "one without", fix))
        needs_noise(model, "DistributionMatching()")
        if self.steps > 1 and getattr(model.solver, "renoise", 0.0) != 1:
            fix = f"Make it with FlowMap.of(teacher, critic=True, solver=Jumps({self.steps}, renoise=1.0)), or steps=1."
            got = f"steps={self.steps} and {model.solver}"
            raise ConfigError(explain("a flow map that takes fresh noise between several jumps", got, fix))
        made = self._samples(model, batch.x, context, draw)
        t = self.times.sample(len(batch), draw.of("time"), _STRAIGHT, self.ends).to(made)
        eps = draw.of("eps").normal(len(batch), model.shape, made.dtype)
        x = _STRAIGHT.mix(made.detach(), eps, t)
        v = velocity_of(model.critic, context)(x, t)
        critic = _mean((v - (eps - made.detach())).square())
        with torch.no_grad():
            wanted = velocity_of(self.teacher, context)(x, t)
            gap = per_sample(t, x) * (wanted - v)
            size = _mean((made - (x - per_sample(t, x) * wanted)).abs()).clamp(min=1e-6)
            aim = made - gap / per_sample(size, x)
        loss = _mean((made - aim).square()) / 2
        if self.anchor:
            loss = loss + self.anchor * self._missed(model, batch)
        return critic + loss * (1.0 if draw.step % self.every == 0 else 0.0)

    def _missed(self, model: FlowMap, batch: Batch) -> PerSample:
        """The squared error of one jump on the teacher's pairs."""
        if batch.eps is None:
            fix = "Train on objectives.pairs(teacher, n), or drop the anchor."
            raise ShapeError(explain("batches with paired noise for the anchor", "data alone", fix))
        start = torch.full_like(batch.x.flatten(1)[:, 0], model.span[1])
        z = _STRAIGHT.mix(batch.x, batch.eps, start)
        return _mean((model.jump(z, start, torch.zeros_like(start), batch.context) - batch.x).square())

    def _samples(self, model: FlowMap, like: Tensor, context: Context, draw: Draw) -> Sample:
        """The student's, [batch, *event]: some jumps and fresh noise without gradients, then one jump with."""
        n, high = len(like), model.span[1]
        x = model.base.sample(n, draw.of("start"), context).to(like)
        stop = draw.of("jump").integers(n, self.steps)
        t = torch.full_like(x.flatten(1)[:, 0], high)
        for i in range(1, self.steps):
            now, later = (torch.full_like(t, high * (1 - k / self.steps)) for k in (i - 1, i))
            with torch.no_grad():
                made = model.jump(x, now, torch.zeros_like(t), context)
            fresh = draw.of("fresh").of(str(i)).normal(n, model.shape, x.dtype).to(x)
            go = stop >= i
            x, t = torch.where(per_sample(go, x), _STRAIGHT.mix(made, fresh, later), x), torch.where(go, later, t)
        return model.jump(x, t, torch.zeros_like(t), context)


def _mean(each: Tensor) -> PerSample:
    return each.flatten(1).mean(1)

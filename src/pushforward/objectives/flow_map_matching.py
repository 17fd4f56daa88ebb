"""The one regression behind flow maps: towards what two legs say of one jump.

    (t, s) ~ intervals,   x_t = (1 - t) x0 + t eps,
    e = mean_over_event ( (1 - t)**damping ( u(x_t, t, s) - target' ) )**2,       L = rho(e)

where the target comes from a rule (`flow_map_rules` has the table) and is not differentiated; where s = t it is the
velocity. How large errors count is one parameter, the power p:

    rho(e) = ( (e + c)**(1 - p) - c**(1 - p) ) / (1 - p),        log(1 + e / c) at p = 1

p = 0 is the square, p = 1/2 pseudo-Huber (2 sqrt(e + c) - 2 sqrt(c)), p = 1 MeanFlow's weights 1 / (e + c): rho has
the gradient of e / (e + c)'**p, which is how the papers write it.

With `features` (`features.py`) e compares where u and its target would end, x_t - t u and x_t - t target'.

References: see `flow_map_rules`; Lu and Song 2024 (arXiv 2410.11081) for damping, which is cos(t) of their clock.
"""

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model
from pushforward.objectives.features import FeatureLoss, off
from pushforward.objectives.flow_map_rules import Eulerian, Rule, Standing, velocity_of
from pushforward.objectives.intervals import Between, Intervals
from pushforward.objectives.objective import Objective, noise_of
from pushforward.paths import Coupling, Independent, Linear

_STRAIGHT: Final = Linear()


@dataclass(frozen=True, slots=True)
class FlowMapMatching(Objective):
    """Train a `FlowMap`, from data or from a teacher; `few_steps` has the recipes of the papers.

    Args:
        rule: how the target is made.
        intervals: which jumps are trained.
        teacher: a `Diffusion` on any path, guided or not, or a `FlowMap`; it is not trained. None: the data alone.
        coupling: how noise is paired with data where the batch brings none.
        power: p, how little large errors count.
        c: the error at which p begins to matter, a mean square per dimension.
        damping: by which power of 1 - t the error fades towards noise.
        features: in what ends are compared, `Scales()` or `Hidden(teacher)`; None for the velocities themselves.

    Raises:
        ConfigError: a power outside [0, 1], or c that is not positive.
    """

    rule: Rule = Eulerian()
    intervals: Intervals = Between()
    teacher: Diffusion | FlowMap | None = field(default=None, repr=False)
    coupling: Coupling = Independent()
    power: float = 0.0
    c: float = 1e-3
    damping: float = 0.0
    features: FeatureLoss | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.power <= 1 and self.c > 0 and self.damping >= 0):
            got = f"power={self.power}, c={self.c}, damping={self.damping}"
            raise ConfigError(explain("a power in [0, 1], c > 0 and damping >= 0", got, "Change it."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        model = needs_flow_map(model)
        x0, context = batch.x, batch.context
        t, s = (each.to(x0) for each in self.intervals.sample(len(batch), draw, model.span))
        eps = noise_of(model, batch, self.coupling, draw)
        x = _STRAIGHT.mix(x0, eps, t)
        u = model.average(x, t, s, context)
        with torch.no_grad():
            slope = eps - x0 if self.teacher is None else velocity_of(self.teacher, context)(x, t)
            here = Standing(model, self.teacher, x, t, s, slope, context, draw)
            target = torch.where(per_sample(s == t, x), slope, self.rule.target(here, u.detach()))
        if self.features is not None:
            u, target = (x - per_sample(t, x) * each for each in (u, target))
        error = off(u, target, self.features, context, draw)
        return robust(error if not self.damping else error * (1 - t) ** (2 * self.damping), self.power, self.c)


def robust(error: Tensor, power: float, c: float) -> Tensor:
    """rho of the module's docstring, [batch].

    >>> robust(torch.tensor([0.0, 3.0]), 0.5, 1.0)
    tensor([0., 2.])
    """
    if power == 0:
        return error
    if power == 1:
        return torch.log1p(error / c)
    return ((error + c) ** (1 - power) - c ** (1 - power)) / (1 - power)


def needs_flow_map(model: Model) -> FlowMap:
    """The model as a `FlowMap`.

    Raises:
        ConfigError: for other models.
    """
    if not isinstance(model, FlowMap):
        fix = "Make it one: models.FlowMap.of(diffusion)."
        raise ConfigError(explain("a FlowMap for this objective", type(model).__name__, fix))
    return model

"""The one regression behind flow matching, score matching, DDPM and EDM.

    t ~ times,   eps ~ coupling,   x_t = alpha x0 + sigma eps
    loss = w(t) mean_over_event ( scale m(x_t, t) - (p x0 + q eps) )**2

with (p, q, scale) the network's row of the table. On the linear path with prediction velocity the target is
eps - x0: flow matching, or rectified flow. On given pairs (batch.eps) it is reflow.

References: Ho et al. 2020 (arXiv 2006.11239), Lipman et al. 2022 (arXiv 2210.02747), Liu et al. 2022
(arXiv 2209.03003).
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import PerSample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective, needs_diffusion
from pushforward.paths import Coefficients, Coupling, Independent, TimeDistribution, Uniform

Weighting = Callable[[Coefficients], Tensor]
"""Coefficients, each [batch] -> weight of the squared error, [batch]."""


@dataclass(frozen=True, slots=True)
class Regression(Objective):
    """Train a `Diffusion`'s network on its own path and prediction.

    Args:
        times: where t is drawn.
        coupling: how noise is paired with data where the batch brings none.
        weighting: weight over t; None is flat in the network's own units.
    """

    times: TimeDistribution = Uniform()
    coupling: Coupling = Independent()
    weighting: Weighting | None = None

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        model = needs_diffusion(model)
        low, high = model.span
        t = (low + (high - low) * self.times.sample(len(batch), draw.of("time"))).to(batch.x.dtype)
        eps = self.coupling.pair(batch.x, batch.context, draw.of("eps")) if batch.eps is None else batch.eps
        c = model.path.coefficients(t)
        x_t = per_sample(c.alpha, eps) * batch.x + per_sample(c.sigma, eps) * eps
        row = model.prediction.row(c)
        output = model.raw(x_t, t, batch.context)
        error = (per_sample(row.scale, eps) * output - row.target(batch.x, eps)).square().flatten(1).mean(1)
        return error if self.weighting is None else error * self.weighting(c)

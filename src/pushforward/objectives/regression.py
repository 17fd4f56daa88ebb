"""The one regression behind flow matching, score matching, DDPM and EDM.

    t ~ times,   eps ~ coupling,   x_t = alpha x0 + sigma eps
    L = weight(t) mean_over_event ( scale m(x_t, t) - (p x0 + q eps) )**2,        loss = L, or L exp(-u(t)) + u(t)

with (p, q, scale) the network's row of the table and u the model's `uncertainty`, if it learns one. On the linear path
with prediction velocity the target is eps - x0: flow matching, or rectified flow. On given pairs (batch.eps) it is
reflow. `presets` are the formulations of the papers.

Where a map tears the noise apart, some pairs near the tear belong to its other side. The mean of both, which the square
asks for, is a slope where there should be an edge; the pseudo-Huber loss of the mean square e over the event,

    sqrt(e + c**2) - c,

asks for what most of them say. That is for pairs alone: of fresh noise the mean is what a velocity is.

References: Ho et al. 2020 (arXiv 2006.11239), Lipman et al. 2022 (arXiv 2210.02747), Liu et al. 2022
(arXiv 2209.03003); Lee, Lin and Fanti 2024 (arXiv 2405.20320) for pseudo-Huber on the pairs of reflow.
"""

from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective, needs_diffusion, noise_of, pseudo_huber
from pushforward.objectives.weighting import Weighting
from pushforward.paths import Coupling, Independent, Spread, TimeDistribution, Uniform


@dataclass(frozen=True, slots=True)
class Regression(Objective):
    """Train a `Diffusion`'s network on its own path and prediction.

    Args:
        times: where t is drawn, within the model's span.
        coupling: how noise is paired with data where the batch brings none.
        weighting: weight over t; None is flat in the network's own units (scale times its output).
        spread: how evenly the times of a batch are spread.
        huber: c of the pseudo-Huber loss, above 0, per dimension and in the target's units (0.1, say), for given pairs;
            None for the square.

    Raises:
        ConfigError: another weighting than ours, or c of 0 or less; when called, c for noise that is drawn.
    """

    times: TimeDistribution = Uniform()
    coupling: Coupling = Independent()
    weighting: Weighting | None = None
    spread: Spread = "low-discrepancy"
    huber: float | None = None

    def __post_init__(self) -> None:
        if not (self.weighting is None or isinstance(self.weighting, Weighting)):
            fix = "Take one of objectives.weightings, or derive from Weighting: one method."
            raise ConfigError(explain("a Weighting, in units of the denoiser's error", repr(self.weighting), fix))
        if self.huber is not None and not self.huber > 0:
            raise ConfigError(explain("huber above 0, or None", f"{self.huber}", "Set huber=0.1, say."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        model = needs_diffusion(model)
        t = self.times.sample(len(batch), draw.of("time"), model.path, model.span, self.spread).to(batch.x.dtype)
        if self.huber is not None and batch.eps is None:
            fix = "Train on objectives.pairs or matched, or leave huber out: a velocity is the mean over fresh noise."
            raise ConfigError(explain("pairs of noise and data, for huber", "data alone", fix))
        eps = noise_of(model, batch, self.coupling, draw)
        c = model.path.coefficients(t)
        x_t = per_sample(c.alpha, eps) * batch.x + per_sample(c.sigma, eps) * eps
        row = model.prediction.row(c)
        output = model.raw(x_t, t, batch.context)
        error = (per_sample(row.scale, eps) * output - row.target(batch.x, eps)).square().flatten(1).mean(1)
        error = error if self.huber is None else pseudo_huber(error, self.huber)
        error = error if self.weighting is None else error * self.weighting.on(model.prediction, c)
        if model.uncertainty is None:
            return error
        u = model.uncertainty(t)
        return error * (-u).exp() + u

"""What trains a two-sided stochastic interpolant: its velocity and its noise, on both signs of the latent noise.

    x+- = alpha x0 + sigma x1 +- gamma z
    L = mean over +- and the event of ( b(x+-, t) - (alpha' x0 + sigma' x1 +- gamma' z) )**2 + ( eta(x+-, t) -+ z )**2

Its minimisers are E[. | x_t]. The two signs of one z cancel most of what gamma' z adds to the gradient's variance.

Reference: Albergo, Boffi, Vanden-Eijnden 2023 (arXiv 2303.08797), equations 2.13 and 2.19, section 6.1 for the signs.
"""

from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.interpolant import Interpolant
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective
from pushforward.paths import Coupling, Spread, TimeDistribution, Uniform


@dataclass(frozen=True, slots=True)
class Interpolation(Objective):
    """Train an `Interpolant`'s two networks.

    Args:
        times: where t is drawn, within the model's span.
        coupling: how source and data are paired where the batch brings no source; None draws from the model's base.
        spread: how evenly the times of a batch are spread.
    """

    times: TimeDistribution = Uniform()
    coupling: Coupling | None = None
    spread: Spread = "low-discrepancy"

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        if not isinstance(model, Interpolant):
            fix = "Train a Diffusion with objectives.Regression()."
            raise ConfigError(explain("an Interpolant for this objective", type(model).__name__, fix))
        x0, x1 = batch.x, batch.eps
        t = self.times.sample(len(batch), draw.of("time"), model.path, model.span, self.spread).to(x0.dtype)
        if x1 is None and self.coupling is not None:
            x1 = self.coupling.pair(x0, batch.context, draw.of("eps"))
        x1 = model.base.sample(len(x0), draw.of("eps"), batch.context).to(x0) if x1 is None else x1
        z = draw.of("latent").normal(len(x0), tuple(x0.shape[1:]), x0.dtype)
        c = model.path.coefficients(t)
        gamma, gamma_dot = (per_sample(each, x0) for each in model.latent.width(t))
        middle = per_sample(c.alpha, x0) * x0 + per_sample(c.sigma, x0) * x1
        moving = per_sample(c.alpha_dot, x0) * x0 + per_sample(c.sigma_dot, x0) * x1
        total = t.new_zeros(len(t))
        for sign in (1, -1):
            x_t = middle + sign * gamma * z
            velocity = model.velocity(x_t, t, batch.context) - (moving + sign * gamma_dot * z)
            noise = model.noise_net(x_t, t, batch.context) - sign * z
            total = total + (velocity.square() + noise.square()).flatten(1).mean(1) / 2
        return total

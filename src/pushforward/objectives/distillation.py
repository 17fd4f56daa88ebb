"""Distillation: learn to jump where the teacher walks.

On pairs (eps, x0) of a teacher, the student stands at x_t = alpha x0 + sigma eps for t on a grid of k times, 1 first,
and its denoiser must name the end:

    loss = rho( denoiser(x_t, t) - x0 ),      t in {1, (k-1)/k, ..., 1/k}

so that k Euler steps reproduce the teacher; for k = 1 the only time is t = 1 and one network call is a sample.
The loss rho is the square, or the pseudo-Huber sqrt(|r|**2 + c**2) - c, which does not let rare large errors lead.
|r|**2 is a mean over the event, or an error in other features (`features.py`).

References: Liu et al. 2022 (arXiv 2209.03003, section 3.2); Song and Dhariwal 2023 (arXiv 2310.14189) for pseudo-Huber.
"""

from dataclasses import dataclass
from typing import Literal

from pushforward._errors import ConfigError, ShapeError
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.features import FeatureLoss, off
from pushforward.objectives.objective import Objective, needs_diffusion, pseudo_huber


@dataclass(frozen=True, slots=True)
class Distillation(Objective):
    """Train a student to reach the data end of given pairs in `steps` jumps.

    Args:
        steps: network calls the student will be sampled with (Euler on the uniform grid).
        loss: "square" or "huber".
        c: the scale of the pseudo-Huber loss, per dimension, in the data's units.
        features: in what the ends are compared: `Scales()`, `Hidden(teacher)`, or None for the numbers themselves.
    """

    steps: int = 1
    loss: Literal["square", "huber"] = "square"
    c: float = 0.03
    features: FeatureLoss | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.loss not in ("square", "huber") or self.c <= 0:
            raise ConfigError(f"Expected steps >= 1, loss 'square' or 'huber' and c > 0; got {self}. Change it.")

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        model = needs_diffusion(model)
        if batch.eps is None:
            raise ShapeError(
                "Expected batches with paired noise; got data alone. Train on objectives.pairs(teacher, n)."
            )
        low, high = model.span
        stops = draw.of("time").integers(len(batch), self.steps)
        t = high - (high - low) * stops.to(batch.x.dtype) / self.steps
        x_t = model.path.mix(batch.x, batch.eps, t)
        error = off(model.denoiser(x_t, t, batch.context), batch.x, self.features, batch.context, draw)
        return error if self.loss == "square" else pseudo_huber(error, self.c)

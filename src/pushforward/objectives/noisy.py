"""Another objective, on data with noise added.

    x + std eps,      eps ~ N(0, 1)       fresh at every step, a function of its draw

A flow fitted to data on a thin set runs its density to infinity there; noise gives the set a width. Samples of the
flow are noisy then, and `models.tarflow.denoised` takes the noise off.
"""

from dataclasses import dataclass, replace

from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Noisy(Objective):
    """The objective, of data plus noise.

    Args:
        objective: what is asked of the noisy batch.
        std: the noise's standard deviation, in the model's units.
    """

    objective: Objective
    std: float

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        eps = draw.of("noisy").normal(len(batch), tuple(batch.x.shape[1:]), batch.x.dtype).to(batch.x.device)
        return self.objective(model, replace(batch, x=batch.x + self.std * eps), draw)

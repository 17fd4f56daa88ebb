"""Maximum likelihood: minus log-density, in nats per dimension.

    loss = -log p(x) / D

Divided by the number of dimensions so that learning rates carry over between data sets.
"""

import math
from dataclasses import dataclass

from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Likelihood(Objective):
    """The objective of normalizing flows (and of diffusions, where each step integrates the ODE)."""

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        return -model.log_prob(batch.x, batch.context) / math.prod(model.shape)

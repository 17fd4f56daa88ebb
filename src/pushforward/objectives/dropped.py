"""Another objective, of batches that have lost some of their contexts: one network learns both, as guidance asks.

    context or `nothing`       a share of the samples, drawn anew at every step, is told `nothing`

Classifier-free guidance (`models.guided`) goes away from what a network says without a context. It means something only
if the network was trained that way: a tenth of the samples is usual.

Reference: Ho and Salimans 2022 (arXiv 2207.12598), algorithm 1.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, per_sample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Dropped(Objective):
    """The objective, of samples of which some have lost their context.

    Args:
        objective: what is asked of the batch.
        nothing: the context that means "none": the index `classes` for a network of the library that has classes, a
            vector of zeros for one that is told a vector.
        share: how many lose theirs, 0 to 1.

    Raises:
        ConfigError: a share outside 0..1; at the call, a batch without contexts.

    >>> from pushforward.objectives import Regression
    >>> Dropped(Regression(), nothing=10, share=0.1).share
    0.1
    """

    objective: Objective
    nothing: int | tuple[float, ...]
    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(explain("a share from 0 to 1 of contexts to drop", f"{self.share}", "0.1 is usual."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        if batch.context is None:
            fix = "Leave Dropped out, or train on data with classes."
            raise ConfigError(explain("batches with a context to drop", "none", fix))
        return self.objective(model, replace(batch, context=self._some(batch.context, draw)), draw)

    def _some(self, context: Tensor, draw: Draw) -> Tensor:
        lost = draw.of("dropped").uniform(len(context)).to(context.device) < self.share
        return torch.where(per_sample(lost, context), torch.as_tensor(self.nothing).to(context), context)

"""A loss as a pure function of (model, batch, draw).

An objective is a frozen dataclass: calling it changes nothing, draws only from the address it is given and returns
one loss per sample, so the loop can weigh, accumulate and split batches as it likes.
"""

import abc

from pushforward._errors import ConfigError
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.diffusion import Diffusion
from pushforward.models.model import Model


class Objective(abc.ABC):
    """What training minimises; a frozen dataclass."""

    @abc.abstractmethod
    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        """The loss of each sample, [batch]."""


def needs_diffusion(model: Model) -> Diffusion:
    """The model as a `Diffusion`.

    Raises:
        ConfigError: for other models.
    """
    if not isinstance(model, Diffusion):
        raise ConfigError(
            f"Expected a Diffusion for this objective; got {type(model).__name__}. "
            f"Train normalizing flows with objectives.Likelihood()."
        )
    return model

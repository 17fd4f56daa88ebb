"""A loss as a pure function of (model, batch, draw).

An objective is a frozen dataclass: calling it changes nothing, draws only from the address it is given and returns
one loss per sample, so the loop can weigh, accumulate and split batches as it likes.
"""

import abc

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, Sample
from pushforward.data.batch import Batch
from pushforward.models.base import Normal
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model
from pushforward.paths import Coupling, Independent


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


def noise_of(model: Diffusion | FlowMap, batch: Batch, coupling: Coupling, draw: Draw) -> Sample:
    """The eps of each event: the batch's own, or what the coupling gives it, [batch, *event].

    Raises:
        ConfigError: normal noise, for a model whose samples start from something else.
    """
    if batch.eps is not None:
        return batch.eps
    if not isinstance(model.base, Normal) and isinstance(getattr(coupling, "source", coupling), Independent):
        got = f"{coupling}, which draws N(0, 1), and a model that starts from a {type(model.base).__name__}"
        fix = "Pass coupling=Source(events), ModelBase(flow).source() for a flow, or leave the base out."
        raise ConfigError(explain("the source of the model's own samples", got, fix))
    return coupling.pair(batch.x, batch.context, draw.of("eps"))

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
    if isinstance(getattr(coupling, "source", coupling), Independent):
        needs_noise(model, str(coupling))
    return coupling.pair(batch.x, batch.context, draw.of("eps"))


def needs_noise(model: Diffusion | FlowMap, drawing: str) -> None:
    """Refuse a model whose samples start from something else than N(0, 1) noise, in the path's units.

    Raises:
        ConfigError: it has a base of its own, another normal among them.
    """
    if model.has_its_own_base():
        base = model.base
        of = f" of deviation {base.std} around {base.mean}" if isinstance(base, Normal) else ""
        got = f"{drawing}, which draws N(0, 1), and a model that starts from a {type(base).__name__}{of}"
        fix = (
            "Pass coupling=Source(base.sample), ModelBase(flow).source() for a flow, or leave the base out: the data's "
            "moments are data_mean and data_var."
        )
        raise ConfigError(explain("the source of the model's own samples", got, fix))

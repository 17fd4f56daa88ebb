"""A loss as a pure function of (model, batch, draw).

An objective is a frozen dataclass: calling it changes nothing, draws only from the address it is given and returns
one loss per sample, so the loop can weigh, accumulate and split batches as it likes.
"""

import abc
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.data.batch import Batch
from pushforward.models.base import Base, Normal
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model
from pushforward.objectives.ends import Ends
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


def pseudo_huber(error: PerSample, c: float) -> PerSample:
    """sqrt(e + c**2) - c of mean squares e, [batch]: e / 2 c where they are small, their roots where they are large."""
    return (error + c**2).sqrt() - c


def noise_of(model: Diffusion | FlowMap, batch: Batch, coupling: Coupling, draw: Draw) -> Sample:
    """The eps of each event: the batch's own, or what the coupling gives it, [batch, *event].

    Where a coupling would draw N(0, 1) and the model's samples start from something else, it is drawn from that.

    Raises:
        ConfigError: the model's path keeps some of the data where its samples start, so that its base is not eps.
    """
    if batch.eps is not None:
        return batch.eps
    return from_base(model, coupling).pair(batch.x, batch.context, draw.of("eps"))


def from_base(model: Diffusion | FlowMap, coupling: Coupling) -> Coupling:
    """The coupling, its normal noise drawn from where the model's samples start.

    Raises:
        ConfigError: the model has a base of its own, which is not eps on its path.
    """
    source = getattr(coupling, "source", coupling)
    if not isinstance(source, Independent) or not model.has_its_own_base():
        return coupling
    if Ends.of(model) != Ends():
        got = f"one on {model.path}, where samples start from {_told(model.base)}"
        fix = "Take paths.Linear(), or leave the base out: the data's moments are data_mean and data_var."
        raise ConfigError(explain("a path that ends at eps alone, for a base of one's own", got, fix))
    own, outer = _FromBase(model.base), cast(Any, coupling)
    return own if source is coupling else replace(outer, source=own)


@dataclass(frozen=True, slots=True)
class _FromBase(Coupling):
    """Fresh draws of a base for each event, independent of it; what the base learns, it learns by likelihood alone.

    (A base that followed the error of a velocity would shrink: from one point, the way to the mean is easily told.)
    """

    base: Base

    @torch.no_grad()
    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        return self.base.sample(len(x0), draw, context).to(x0)


def needs_noise(model: Diffusion | FlowMap, drawing: str) -> None:
    """Refuse a model whose samples start from something else than N(0, 1) noise, in the path's units.

    Raises:
        ConfigError: it has a base of its own, another normal among them.
    """
    if model.has_its_own_base():
        got = f"{drawing}, which draws N(0, 1), and a model that starts from {_told(model.base)}"
        fix = (
            "Learn from pairs of its own instead, or leave the base out: the data's moments are data_mean and data_var."
        )
        raise ConfigError(explain("the source of the model's own samples", got, fix))


def _told(base: Base) -> str:
    of = f" of deviation {base.std} around {base.mean}" if isinstance(base, Normal) else ""
    return f"a {type(base).__name__}{of}"

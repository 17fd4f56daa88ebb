"""Families of models, as `pushforward train --model` names them: which recipe, how it starts, what it learns by."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, cast

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward._recipe import (
    FLOWS,
    KINDS,
    MLP,
    Circular,
    Diffusion,
    FlowMap,
    Recipe,
    ResidualFlow,
    Table,
    Transformer,
)

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal[
    "auto", "transformer", "mlp", "nice", "real_nvp", "nsf_couplings", "flowpp", "circular", "glow", "tarflow", "maf",
    "iaf", "nsf", "naf", "umnn", "sos", "bernstein", "bnaf", "planar", "radial", "sylvester", "gaussianization",
    "residual_flow", "ffjord",
]  # fmt: skip
"""The words of `--model`."""

NETS: Final[Mapping[str, type]] = MappingProxyType({"transformer": Transformer, "mlp": MLP})
"""Networks of diffusion models."""

FAMILIES: Final[Mapping[str, type]] = MappingProxyType({**NETS, **FLOWS})
"""The class of the options of each word."""


def objective_of(recipe: Recipe, classes: int = 0) -> "pf.objectives.Objective":
    """What a model of this recipe learns by from data alone, of so many classes."""
    objectives = pf.objectives
    if isinstance(recipe, Diffusion):
        return regression_of(recipe, classes)
    if isinstance(recipe, FlowMap):
        return objectives.few_steps.mean_flow(diagonal=0.5, times=pf.paths.Uniform())
    if isinstance(recipe, ResidualFlow) and recipe.log_det == "roulette":
        return objectives.Redrawn(objectives.Likelihood())
    return objectives.Likelihood()


def regression_of(recipe: Recipe | None, classes: int = 0, huber: float | None = None) -> "pf.objectives.Objective":
    """What a field learns by, from data or pairs; one that is to know its context and none, by both."""
    regression = pf.objectives.Regression(huber=huber)
    if isinstance(recipe, Diffusion) and recipe.dropped:
        return pf.objectives.Dropped(regression, classes, recipe.dropped)
    return regression


def started(
    recipe: Recipe, data: "pf.data.Dataset", seed: int, source: "pf.models.Rows | None" = None
) -> "pf.models.Model":
    """The untrained model, a flow's scales taken from data, what it starts from the rows of the source.

    Raises:
        ConfigError: a flow on circles, and data that are not angles in [-pi, pi).
    """
    from pushforward._random import Draw

    model = built(recipe, data.shape, data.classes, seed)
    if source is not None:
        cast(pf.models.Rows, model.base).load_state_dict(source.state_dict())
    if not isinstance(model, pf.NormalizingFlow):
        return model
    first = data.train_batch(Draw(seed, "start"), min(1024, len(data.values)))
    if isinstance(recipe, Circular):
        _require_angles(first.x)
    return pf.models.prepare(model, first)


def _require_angles(x: "Tensor") -> None:
    if x.min() < -math.pi or x.max() >= math.pi:
        got = f"{x.min().item():.4g} to {x.max().item():.4g}"
        fix = "Angles among the columns of a table are learned by --model nsf --kinds NAME=circular:PERIOD."
        raise ConfigError(explain("angles, from -pi to below pi in the model's units, for circular", got, fix))


def built(recipe: Recipe, shape: tuple[int, ...], classes: int, seed: int) -> "pf.models.Model":
    """The untrained model: its weights a function of the seed."""
    import torch

    from pushforward._random import Draw

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Draw(seed, "start").key())
        return pf.training.build(recipe, shape, classes)


def spelled(recipe: Recipe) -> str:
    """A recipe in a few words."""
    names = {cls: kind for kind, cls in KINDS.items()}
    if isinstance(recipe, Diffusion | FlowMap):
        kind = "diffusion" if isinstance(recipe, Diffusion) else "flow map"
        return f"{kind} ({names[type(recipe.net)]}, {recipe.path} path, {recipe.prediction})"
    if isinstance(recipe, Table):
        return f"{names[type(recipe.flow)]} of every conditional"
    return names[type(recipe)]

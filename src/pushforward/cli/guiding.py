"""`--guidance`: what a run says of a class, pushed further away from what it says of none (`models.guided`)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward._recipe import Diffusion

if TYPE_CHECKING:
    from pushforward.models import Model


def guided(model: "Model", run: Path, scale: float) -> "Model":
    """The run's model with classifier-free guidance; itself for a scale of 1.

    Raises:
        ConfigError: the run has not learned what it says without a class.
    """
    if scale == 1:
        return model
    recipe: Any = pf.training.read_run(run).model
    if not (isinstance(model, pf.Diffusion) and isinstance(recipe, Diffusion) and recipe.dropped):
        expected = "--guidance with a run that has learned with and without its classes"
        kind = f"a {type(model).__name__}" if not isinstance(model, pf.Diffusion) else "which never went without"
        fix = "Train one: pushforward train DATA --conditional --drop-labels 0.1."
        raise ConfigError(explain(expected, f"{str(run)!r}, {kind}", fix))
    return pf.models.guided(model, scale)


def said(scale: float) -> dict[str, float]:
    """What a plan says of guidance: nothing where there is none."""
    return {} if scale == 1 else {"guidance": scale}

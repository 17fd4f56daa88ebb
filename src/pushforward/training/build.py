"""From a recipe to a model.

Names are looked up in closed tables; nothing is imported because a file says so. The rooms a model is made of
are imported when it is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pushforward import _recipe
from pushforward._errors import ConfigError, explain
from pushforward.models.model import Model

if TYPE_CHECKING:
    from pushforward import models


def build(recipe: _recipe.Recipe, shape: tuple[int, ...], classes: int = 0) -> Model:
    """The model of a recipe, with fresh weights from torch's default generator.

    Args:
        recipe: which model.
        shape: the shape of one event.
        classes: how many classes the context counts; 0 is none.

    Raises:
        ConfigError: a recipe this library does not know.
    """
    for kind, make in _MODELS.items():
        if isinstance(recipe, kind):
            return make(recipe, tuple(shape), classes)
    raise ConfigError(explain("a recipe of a model", repr(recipe), "Use Diffusion, FlowMap, NICE or RealNVP."))


def _diffusion(
    recipe: "_recipe.Diffusion | _recipe.FlowMap", shape: tuple[int, ...], classes: int
) -> "models.Diffusion":
    from pushforward import models, paths

    path = {
        "linear": paths.Linear,
        "polynomial": paths.Polynomial,
        "vp": paths.VP,
        "sub_vp": paths.SubVP,
        "cosine": paths.Cosine,
        "discrete": paths.Discrete.scheduled,
        "ve": paths.VE,
        "edm": paths.EDM,
    }[recipe.path]()
    return models.Diffusion(_net(recipe.net, shape, classes), path, prediction=paths.named(recipe.prediction))


def _flow_map(recipe: _recipe.FlowMap, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models

    return models.FlowMap.of(_diffusion(recipe, shape, classes), critic=recipe.critic)


def _net(recipe: "_recipe.Transformer | _recipe.MLP", shape: tuple[int, ...], classes: int) -> Any:
    from pushforward import nets

    if isinstance(recipe, _recipe.MLP):
        return nets.MLP(shape, hidden=recipe.hidden, layers=recipe.layers, classes=classes)
    return nets.Transformer(
        shape,
        position=_position(recipe, shape),
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        patch=recipe.patch,
        classes=classes,
    )


def _position(recipe: _recipe.Transformer, shape: tuple[int, ...]) -> Any:
    from pushforward import positions

    width, heads, tokens = recipe.width, recipe.heads, _tokens(shape, recipe.patch)
    features = width // max(heads, 1)  # whether it divides is the network's to say
    makers: dict[str, Callable[[], Any]] = {
        "axial": positions.Axial,
        "rotary": positions.Rotary,
        "sinusoidal": positions.Sinusoidal,
        "learned": lambda: positions.Learned(tokens, width),
        "multiplicative": lambda: positions.Multiplicative(tokens, width),
        "conditional": lambda: positions.Conditional(width, columns=_columns(shape, recipe.patch)),
        "alibi": lambda: positions.ALiBi(heads),
        "kerple": lambda: positions.KERPLE(heads),
        "fire": lambda: positions.FIRE(heads),
        "t5": lambda: positions.T5(heads),
        "shaw": lambda: positions.Shaw(features),
        "transformer_xl": lambda: positions.TransformerXL(heads, features),
        "deberta": lambda: positions.DeBERTa(heads, features, farthest=tokens),
        "unordered": positions.Unordered,
    }
    return makers[recipe.position]()


def _columns(shape: tuple[int, ...], patch: int | None) -> int | None:
    """How many patches a row of an image has; None for a sequence."""
    from pushforward.nets.transformer import patch_side

    return shape[2] // patch_side(shape, patch) if len(shape) == 3 else None


def _tokens(shape: tuple[int, ...], patch: int | None) -> int:
    """How many tokens a transformer makes of an event: as many as it can need, if it chooses the patch."""
    if len(shape) != 3:
        return shape[0]
    side = patch or 1
    return (shape[1] // side) * (shape[2] // side)


def _nice(recipe: _recipe.NICE, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models

    said: dict[str, Any] = _said(recipe) | {"spread": recipe.spread or None}
    return models.nice(shape, **said, classes=classes)


def _real_nvp(recipe: _recipe.RealNVP, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models

    return models.real_nvp(shape, **_said(recipe), classes=classes)


def _said(recipe: Any) -> dict[str, Any]:
    """The recipe's fields, which are named as the function's arguments."""
    return {each.name: getattr(recipe, each.name) for each in fields(recipe)}


_MODELS: Final[Mapping[type, Callable[[Any, tuple[int, ...], int], Model]]] = MappingProxyType(
    {_recipe.Diffusion: _diffusion, _recipe.FlowMap: _flow_map, _recipe.NICE: _nice, _recipe.RealNVP: _real_nvp}
)

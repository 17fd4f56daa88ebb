"""From a recipe to a model.

Names are looked up in closed tables; nothing is imported because a file says so. The rooms a model is made of
are imported when it is built. A stranger's recipe may ask for any size: `fitting_in` builds no more than there are
weights for.
"""

import math
import threading
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pushforward import _recipe
from pushforward._errors import ConfigError, PushforwardError, RunError, explain
from pushforward._random import Draw
from pushforward.models.model import Model

if TYPE_CHECKING:
    from pushforward import models
    from pushforward.paths import Path

LARGEST: Final = 2**26
"""How many numbers an event may have."""


def build(recipe: _recipe.Recipe, shape: tuple[int, ...], classes: int = 0) -> Model:
    """The model of a recipe, with fresh weights from torch's default generator.

    Args:
        recipe: which model.
        shape: the shape of one event.
        classes: how many classes the context counts; 0 is none.

    Raises:
        ConfigError: a recipe this library does not know.
    """
    if any(side < 0 for side in shape) or math.prod(shape) > LARGEST:
        raise ConfigError(explain(f"events of at most {LARGEST:,} numbers", f"shape {tuple(shape)}", "Change it."))
    for kind, make in _MODELS.items():
        if isinstance(recipe, kind):
            return make(recipe, tuple(shape), classes)
    raise ConfigError(
        explain("a recipe of a model", repr(recipe), f"Use one of {', '.join(kind.__name__ for kind in _MODELS)}.")
    )


@contextmanager
def fitting_in(tensors: Mapping[str, Tensor], recipe: _recipe.Recipe | None = None) -> Generator[None]:
    """Within, a model is built that is to take these weights; it stops before it has become much larger than they are.

    Some models make long lists before they have weights, so the numbers that a recipe says are held to this as well.

    Raises:
        RunError: the recipe asks for more, or for what cannot be.
    """
    room, here = 2 * sum(each.numel() for each in tensors.values()) + 2**12, threading.get_ident()
    if (largest := max(_counts(recipe), default=0)) > room:
        raise RunError(explain(f"a recipe for about {room // 2:,} weights", f"one that says {largest:,}", _STRANGE))
    left = [room]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and threading.get_ident() == here:
            left[0] -= parameter.numel()
            if left[0] < 0:
                raise RunError(explain(f"a recipe for about {room // 2:,} weights", "one for more", _STRANGE))

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except PushforwardError:
        raise
    except (RuntimeError, MemoryError, OverflowError, TypeError, ArithmeticError, AssertionError) as error:
        got = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunError(explain("a recipe that can be built", got, _STRANGE)) from error
    finally:
        hook.remove()


def _counts(recipe: object) -> Generator[int]:
    """Every whole number in a recipe."""
    for each in fields(recipe) if is_dataclass(recipe) else ():
        value = getattr(recipe, each.name)
        if isinstance(value, int):
            yield value
        yield from _counts(value)


_STRANGE: Final = "Its configuration and its weights are not of one model: do not trust it."


def _diffusion(
    recipe: "_recipe.Diffusion | _recipe.FlowMap", shape: tuple[int, ...], classes: int
) -> "models.Diffusion":
    from pushforward import models, paths

    base = models.Rows(shape, recipe.source, classes) if recipe.source else None
    net, prediction = _net(recipe.net, shape, classes), paths.named(recipe.prediction)
    return models.Diffusion(net, path_of(recipe), prediction, base=base)


def path_of(recipe: "_recipe.Diffusion | _recipe.FlowMap") -> "Path":
    """The path that a recipe names."""
    from pushforward import paths

    return {
        "linear": paths.Linear,
        "polynomial": paths.Polynomial,
        "vp": paths.VP,
        "sub_vp": paths.SubVP,
        "cosine": paths.Cosine,
        "discrete": paths.Discrete.scheduled,
        "ve": paths.VE,
        "edm": paths.EDM,
    }[recipe.path]()


def _flow_map(recipe: _recipe.FlowMap, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models, solvers

    solver = solvers.Jumps(recipe.jumps, renoise=recipe.renoise)
    return models.FlowMap.of(_diffusion(recipe, shape, classes), recipe.critic, solver)


def _net(recipe: "_recipe.Transformer | _recipe.MLP", shape: tuple[int, ...], classes: int) -> Any:
    from pushforward import nets

    if isinstance(recipe, _recipe.MLP):
        return nets.MLP(shape, **_said(recipe), classes=classes)
    return nets.Transformer(
        shape,
        position=_position(recipe, shape),
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        patch=recipe.patch,
        classes=classes,
        fastest=recipe.fastest,
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


def _named(recipe: Any, shape: tuple[int, ...], classes: int) -> Model:
    """The flow of the function that its recipe is named after."""
    from pushforward import models

    makers: dict[type, Callable[..., Model]] = {
        _recipe.RealNVP: models.real_nvp,
        _recipe.NSFCouplings: models.nsf,
        _recipe.FlowPP: models.flowpp,
        _recipe.Circular: models.circular,
        _recipe.Glow: models.glow,
        _recipe.MAF: models.maf,
        _recipe.IAF: models.iaf,
        _recipe.NSF: models.nsf_autoregressive,
        _recipe.NAF: models.naf,
        _recipe.UMNN: models.umnn,
        _recipe.SOS: models.sos,
        _recipe.Bernstein: models.bernstein,
        _recipe.BNAF: models.bnaf,
        _recipe.Planar: models.planar,
        _recipe.Radial: models.radial,
        _recipe.Sylvester: models.sylvester,
        _recipe.Gaussianization: models.gaussianization,
        _recipe.FFJORD: models.ffjord,
    }
    return makers[type(recipe)](shape, **_said(recipe), classes=classes)


def _nice(recipe: _recipe.NICE, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models

    said: dict[str, Any] = _said(recipe) | {"spread": recipe.spread or None}
    return models.nice(shape, **said, classes=classes)


def _tarflow(recipe: _recipe.TarFlow, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models

    if len(shape) not in (2, 3):
        fix = "Take another flow for vectors, maf say."
        raise ConfigError(explain("images [c, h, w] or [tokens, features] for TarFlow", f"events {shape}", fix))
    return models.tarflow(shape, **_said(recipe), classes=classes)


def _residual_flow(recipe: _recipe.ResidualFlow, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models, transforms

    exact = transforms.ExactDet() if recipe.log_det == "exact" else transforms.Roulette(Draw(0, "build/log_det"))
    said: dict[str, Any] = _said(recipe) | {"log_det": exact}
    return models.residual_flow(shape, **said, classes=classes)


def _table(recipe: _recipe.Table, shape: tuple[int, ...], classes: int) -> Model:
    from pushforward import models, transforms

    said, monotone = _said(recipe.flow, but=("support", "alpha")), transforms.Affine(5.0)
    if isinstance(recipe.flow, _recipe.NSF):
        monotone = transforms.Composed(monotone, transforms.RationalQuadratic(said.pop("bins"), -4.0, 4.0))
    return models.AnyConditional(*shape, **said, monotone=monotone).flow


def _said(recipe: Any, but: Collection[str] = ()) -> dict[str, Any]:
    """The recipe's fields, which are named as the function's arguments."""
    return {each.name: getattr(recipe, each.name) for each in fields(recipe) if each.name not in but}


_MODELS: Final[Mapping[type, Callable[[Any, tuple[int, ...], int], Model]]] = MappingProxyType(
    {
        **dict.fromkeys(_recipe.FLOWS.values(), _named),
        _recipe.Diffusion: _diffusion,
        _recipe.FlowMap: _flow_map,
        _recipe.NICE: _nice,
        _recipe.TarFlow: _tarflow,
        _recipe.ResidualFlow: _residual_flow,
        _recipe.Table: _table,
    }
)

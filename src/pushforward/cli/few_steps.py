"""The recipes of `pushforward distill`, as stages: what is learned, from what, and how.

    recipe            stages                                                  learns from
    pairs-dmd         pairs, then dmd with a quarter of the steps             the teacher's pairs
    pairs             one jump is the pair's                                  the teacher's pairs
    dmd               the scores agree, with the pairs as an anchor           the teacher's pairs
    consistency-dmd   consistency, then dmd with a quarter of the steps       data
    progressive       8, 4, 2, ... times as many jumps, the same steps each   data
    all others        one                                                     data

A stage starts from the student of the one before. Each is a run of its own, in a folder beside the last one's, so that
an interrupted recipe goes on in the stage where it was. `objectives.few_steps` has the papers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward._recipe import MLP, Diffusion, Settings

if TYPE_CHECKING:
    from pushforward.models import FlowMap

    Model = pf.Diffusion | FlowMap
    Maker = Callable[[pf.Diffusion, Model], pf.objectives.Objective]

Recipe = Literal[
    "auto", "pairs-dmd", "pairs", "dmd", "consistency-dmd", "mean-flow", "shortcut", "lagrangian", "eulerian", "direct",
    "progressive", "consistency", "continuous", "trajectory",
]  # fmt: skip

_SLOW: Final = 4.0
"""Cycles of waves of the time whose derivative does no harm."""


class Error(NamedTuple):
    """How an error on pairs is weighed, and in which features it is seen."""

    loss: Literal["square", "huber"]
    features: Literal["none", "scales", "hidden"]


class Stage(NamedTuple):
    """One training of a recipe.

    Args:
        name: what its folder is called after; "" for the last one, which is the new run.
        objective: from the teacher, and what the stage starts from.
        settings: how it is trained.
        jumps: how many it is trained for.
        critic: with a model of the student's own samples beside it.
    """

    name: str
    objective: "Maker"
    settings: Settings
    jumps: int
    critic: bool = False


_FROM_NOISE: Final = ("pairs-dmd", "dmd", "consistency-dmd", "consistency", "continuous")
"""Recipes that take fresh noise on the way, or compare scores: samples must start from noise."""


def chosen(recipe: Recipe, jumps: int, noise: bool = True) -> Recipe:
    """The recipe, `auto` replaced by what suits so many jumps, by the tables of docs/few_steps.md.

    For one jump that is pairs-dmd, as good there as its teacher's fifty calls; for several trajectory, which is ahead
    of shortcut at two and four calls on the digits, in both distances, for half as much time again. Progressive is
    about its equal and takes four trainings here. Trained for long consistency-dmd is nearer to the digits than both,
    but not to points, and a short training spoils it. A run that does not start from noise learns one jump from pairs.

    Raises:
        ConfigError: no jumps, several by a recipe for one, or a recipe that wants noise for a run without.
    """
    if jumps < 1:
        raise ConfigError(explain("--jumps of 1 or more", str(jumps), "1, 2 and 4 are usual."))
    if recipe == "auto":
        return "trajectory" if jumps > 1 else "pairs-dmd" if noise else "pairs"
    if not noise and recipe in _FROM_NOISE:
        fix = "Choose --recipe pairs, trajectory or shortcut."
        raise ConfigError(explain(f"a run that starts from noise, for --recipe {recipe}", "one from data", fix))
    if jumps > 1 and recipe == "pairs-dmd":
        fix = "Its pairs know one jump: choose --recipe consistency-dmd for several."
        raise ConfigError(explain(f"--jumps 1 with --recipe {recipe}", f"--jumps {jumps}", fix))
    return recipe


def needs_pairs(recipe: Recipe) -> bool:
    """Whether a recipe learns from the teacher's pairs, and not from data."""
    return recipe in ("pairs-dmd", "pairs", "dmd")


def regresses(recipe: Recipe) -> bool:
    """Whether a recipe learns by an error on pairs."""
    return recipe in ("pairs-dmd", "pairs")


def advice(recipe: Recipe, of: Diffusion) -> tuple[str, ...]:
    """What to know before a recipe learns from a run of this kind, a sentence or two to a hint.

    >>> advice("shortcut", Diffusion(MLP())), advice("continuous", Diffusion(MLP(fastest=2.0)))
    ((), ())
    """
    hints = list[str]()
    if recipe in ("continuous", "eulerian", "mean-flow") and of.net.fastest > _SLOW:
        kind = "mlp" if isinstance(of.net, MLP) else "transformer"
        hints.append(
            f"Hint: the run is told the time in waves of up to {of.net.fastest:g} cycles, and --recipe {recipe} learns "
            f"from their derivative. It does better from a run trained with --{kind}.fastest 2."
        )
    if of.prediction in ("eps", "score"):
        hints.append(
            f"Hint: the run says {of.prediction}, which tells next to nothing of the data where all is noise, and "
            "there jumps begin. They do better from a run trained with --prediction v, or from what `pushforward "
            "reflow` makes of this one."
        )
    return tuple(hints)


def renoise(objective: "pf.objectives.Objective") -> float:
    """How several jumps are made: who learns jumps to data alone takes fresh noise in between."""
    matching = isinstance(objective, pf.objectives.DistributionMatching)
    return float(matching or isinstance(getattr(objective, "intervals", None), pf.objectives.ToData))


def stages(recipe: Recipe, jumps: int, error: Error, settings: Settings) -> list[Stage]:
    """The trainings of a recipe, in order; `error` is how one on pairs is seen."""
    if recipe == "progressive":
        counts = [jumps * 2**k for k in (3, 2, 1, 0)]
        return [Stage(f"{n}" if n > jumps else "", _progressive(n), settings, n) for n in counts]
    if recipe == "pairs":
        return [Stage("", _pairs(jumps, error), settings, jumps)]
    if recipe == "dmd":
        return [Stage("", _matching(jumps, anchor=1.0), settings, jumps, critic=True)]
    after = replace(settings, steps=settings.steps // 4, lr=settings.lr / 10)
    if recipe == "pairs-dmd":
        return [Stage("pairs", _pairs(1, error), settings, 1), Stage("", _matching(1, 1.0), after, 1, critic=True)]
    if recipe == "consistency-dmd":
        first = Stage("consistency", _of_data("consistency", settings), settings, jumps)
        return [first, Stage("", _matching(jumps, anchor=0.0), after, jumps, critic=True)]
    return [Stage("", _of_data(recipe, settings), settings, jumps)]


def _pairs(jumps: int, error: Error) -> "Maker":
    objectives, power = pf.objectives, 0.5 if error.loss == "huber" else 0.0
    rule, stops = objectives.Composition(1.0, "line"), objectives.Stops(jumps)

    def make(teacher: "pf.Diffusion", before: "Model") -> "pf.objectives.Objective":
        return objectives.FlowMapMatching(rule, stops, power=power, features=_features(error.features, before))

    return make


def _features(name: str, plain: "Model") -> "pf.objectives.FeatureLoss | None":
    assert isinstance(plain, pf.Diffusion)  # pairs are the first stage
    return {"none": lambda: None, "scales": pf.objectives.Scales, "hidden": lambda: pf.objectives.Hidden(plain)}[name]()


def _matching(jumps: int, anchor: float) -> "Maker":
    return lambda teacher, _: pf.objectives.DistributionMatching(teacher, jumps, anchor=anchor)


def _of_data(recipe: Recipe, settings: Settings) -> "Maker":
    make, eighth = _SINGLE[recipe], max(1, settings.steps // 8)
    return lambda teacher, _: make(teacher, eighth)


def _progressive(jumps: int) -> "Maker":
    def make(teacher: "pf.Diffusion", before: "Model") -> "pf.objectives.Objective":
        return pf.objectives.few_steps.progressive(before if isinstance(before, pf.models.FlowMap) else teacher, jumps)

    return make


_SINGLE: "Final[Mapping[str, Callable[[pf.Diffusion, int], pf.objectives.Objective]]]" = MappingProxyType(
    {
        "mean-flow": lambda teacher, _: pf.objectives.few_steps.mean_flow(teacher, 0.25, pf.paths.Uniform()),
        "shortcut": lambda teacher, _: pf.objectives.few_steps.shortcut(teacher),
        "lagrangian": lambda teacher, _: pf.objectives.few_steps.lagrangian(teacher),
        "eulerian": lambda teacher, _: pf.objectives.few_steps.eulerian(teacher),
        "direct": lambda teacher, _: pf.objectives.few_steps.direct(teacher),
        "consistency": lambda teacher, eighth: pf.objectives.few_steps.consistency(teacher, eighth),
        "continuous": lambda teacher, eighth: pf.objectives.few_steps.continuous_consistency(teacher, 2 * eighth),
        "trajectory": lambda teacher, _: pf.objectives.few_steps.consistency_trajectory(teacher),
    }
)
"""Recipes of one stage, from the teacher and an eighth of the steps."""

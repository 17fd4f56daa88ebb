"""`pushforward distill`: teach a run to reach in a few jumps what it walked in many steps."""

import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward import _recipe
from pushforward._errors import ConfigError, explain
from pushforward._recipe import Settings
from pushforward.cli.few_steps import Error, Recipe, Stage, advice, chosen, needs_pairs, regresses, renoise, stages
from pushforward.cli.guiding import guided
from pushforward.cli.options import FLAT, Session, Solve, starts_from_rows
from pushforward.cli.reflow import check_real, pairs_of, student_folder, teacher_of
from pushforward.cli.runs import Remembered, announce, beside, conclude, speak, trained
from pushforward.cli.steering import Steering
from pushforward.cli.units import Units, data_of, moved

if TYPE_CHECKING:
    from pushforward.models import FlowMap


@dataclass(frozen=True, slots=True)
class Distill:
    """Teach a run to reach in a few jumps what it walked in many steps.

    A copy of the run becomes a flow map, which knows where a jump ends and is sampled in one network call or a few.
    How it learns is --recipe. On the digits one call of the default is as good as fifty of its teacher.

    Examples:
      pushforward distill runs/digits --real --out runs/one-step    one call: pairs first, then distribution matching
      pushforward sample runs/one-step -o grid.png                  jumps, as often as it was trained to
      pushforward distill runs/digits --jumps 4 -o runs/four        four calls
      pushforward distill runs/digits --recipe mean-flow --jumps 2 --steps 4000
      pushforward distill runs/classes --guidance 2.5               what --guidance does, without its cost
      pushforward compare runs/digits runs/one-step runs/four       was it worth it?
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a diffusion model: the teacher."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The new run folder; by default runs/NAME-distilled. An interrupted run in it is continued."""
    recipe: Recipe = "auto"
    """auto: pairs-dmd for one jump (pairs for a run that starts from other data), trajectory for several. From pairs of
    noise and sample that the teacher makes: pairs (regression), dmd (distribution matching), pairs-dmd (one after the
    other). From data and the teacher's velocity: shortcut, mean-flow, lagrangian, eulerian, direct (the teacher walks
    each jump), trajectory, consistency, continuous (sCM), consistency-dmd (distribution matching after consistency,
    for any number of jumps: the best on digits at two and four, and no recipe for few --steps) and progressive (stages
    of 8, 4, 2 and 1 times the jumps, each with all --steps)."""
    jumps: int = 1
    """Network calls that a sample of the new run will take; flow maps can also be sampled with other numbers."""
    loss: Literal["square", "huber"] = "huber"
    """How an error on pairs is weighed: huber does not let rare large errors lead."""
    features: Literal["none", "scales", "hidden"] = "none"
    """In what it is seen besides: scales compares means over larger and larger squares too, hidden what the teacher's
    own network makes of both samples (twice the time)."""
    pairs: int = 16_384
    """Pairs of noise and sample that the teacher makes, for recipes that learn from pairs. They are kept in the new
    run's folder, and made once."""
    pairs_shard: Annotated[str | None, arg(metavar="I/N")] = None
    """Make this share of the pairs only, counted from 0; the same command without it goes on with all of them."""
    real: bool = False
    """Add pairs that start from real training data, whose data end is exact: as many as --pairs, but at most one for
    each training event."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """Where the run's data are now, if they have moved."""
    guidance: float = 1.0
    """How far the teacher is pushed towards each class, for runs trained with --conditional --drop-labels: the student
    samples like that by itself, in one pass where the teacher takes two. 1 is not at all."""
    teacher: Solve = Solve()
    settings: Annotated[Settings, FLAT] = field(
        default_factory=lambda: Settings(steps=2_000, lr=1e-3, batch=128, betas=(0.9, 0.99), ema=0.995)
    )
    steering: Annotated[Steering, FLAT] = Steering()
    session: Annotated[Session, FLAT] = Session()


def run(options: Distill) -> None:
    """Make pairs if the recipe wants some, train a flow map stage by stage, say what to do next."""
    path, of = student_folder(options.out, options.run, "distilled"), cast(Any, pf.training.read_run(options.run).model)
    recipe = chosen(options.recipe, options.jumps, not starts_from_rows(of))
    refuse_unused(options, recipe)
    units, plain = teacher_of(options.run, options.settings)
    units = moved(units, options.data)
    if isinstance(of, _recipe.FFJORD):
        fix = "Straighten it by `pushforward reflow`, or train a diffusion model: leave --model out."
        raise ConfigError(explain("a run whose network can be told two times", "one of ffjord, whose cannot", fix))
    teacher: Any = guided(plain, options.run, options.guidance)
    if options.features == "scales" and len(units.shape) == 1:
        fix = "Choose --features hidden or leave it out."
        raise ConfigError(explain("images or sequences, for --features scales", f"events of {units.shape}", fix))
    source, before = source_of(options, recipe, units, teacher, path), plain
    if source is None:  # a share of the pairs was made
        return
    for hint in advice(recipe, of):
        speak(hint)
    *first, last = stages(recipe, options.jumps, Error(options.loss, options.features), options.settings)
    work = _Work(options, units, source, of, teacher, plain)
    for stage in first:
        before, history = work.done(stage, beside(path, f"-{stage.name}"), before)
        if history.steps:
            speak(f"loss {history.losses[-1]:.4f} after {history.steps[-1]:,} steps, {history.seconds[-1]:.0f} s")
    _, history = work.done(last, path, before)
    conclude(history, path, units, options.run)


_OF_PAIRS: Final = ("pairs", "pairs_shard", "real", "teacher")
"""Options of recipes that learn from pairs,"""
_OF_THE_ERROR: Final = ("loss", "features")
"""and of those that regress on them."""
_DEFAULT: Final = Distill(Path())


def refuse_unused(options: Distill, recipe: Recipe) -> None:
    """Refuse what the recipe would ignore.

    Raises:
        ConfigError: an option of other recipes.
    """
    wanted = "a recipe that learns from pairs" if not needs_pairs(recipe) else "a recipe that regresses on pairs"
    unused = (() if needs_pairs(recipe) else _OF_PAIRS) + (() if regresses(recipe) else _OF_THE_ERROR)
    given = [flag for name in unused if (flag := _given(name, getattr(options, name), getattr(_DEFAULT, name)))]
    if given:
        why = f", which is --recipe auto for --jumps {options.jumps}" if options.recipe == "auto" else ""
        fix = "Choose --recipe pairs or leave it out."
        raise ConfigError(
            explain(f"{wanted}, for {given[0].split()[0]}", f"{given[0]} with --recipe {recipe}{why}", fix)
        )


def _given(name: str, value: Any, default: Any) -> str:
    """An option as it was given; "" if it was not."""
    if value == default:
        return ""
    if isinstance(value, Solve):
        parts = ((each.name, getattr(value, each.name), getattr(default, each.name)) for each in fields(value))
        return next(filter(None, (_given(f"{name}.{part}", mine, usual) for part, mine, usual in parts)))
    return f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")


def source_of(options: Distill, recipe: Recipe, units: Units, teacher: "pf.Diffusion", path: Path) -> Any:
    """What the recipe learns from: the teacher's pairs, or its data; None if a share of the pairs was asked for."""
    if not needs_pairs(recipe):
        _, data = data_of(options.run, options.data)
        return data if units.labels else data.unlabelled()
    check_real(options)
    return pairs_of(teacher, options, units, path, options.real)


def student_of(
    before: "pf.Diffusion | FlowMap", teacher: "pf.Diffusion", critic: bool, solver: "pf.solvers.Jumps", seed: int
) -> "FlowMap":
    """The flow map that a stage starts with; what is new in it is a function of the seed."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = pf.models.FlowMap.of(before, solver=solver)
    student.critic = copy.deepcopy(teacher) if critic else None
    return student


@dataclass(frozen=True, slots=True)
class _Work:
    """What all stages share.

    Args:
        options: of the verb.
        units: of the data.
        source: what is learned from.
        of: the recipe of the run.
        teacher: what is taught: the run's model, guided or not.
        plain: the run's model itself.
    """

    options: Distill
    units: Units
    source: Any
    of: Any
    teacher: "pf.Diffusion"
    plain: "pf.Diffusion"

    def done(
        self, stage: Stage, place: Path, before: "pf.Diffusion | FlowMap"
    ) -> "tuple[FlowMap, pf.training.History]":
        """A stage as a run of its own, from the model before it."""
        options, units, settings = self.options, self.units, stage.settings
        of = self.of
        objective = stage.objective(self.teacher, before)
        jumps = pf.solvers.Jumps(stage.jumps, renoise=renoise(objective))
        recipe = _recipe.FlowMap(
            of.net, of.path, of.prediction, stage.critic, jumps.steps, jumps.renoise, options.guidance, of.source
        )
        student = student_of(before, self.plain, stage.critic, jumps, options.settings.seed)
        what = f"{units.name}: {len(self.source):,} {'events' if isinstance(self.source, pf.data.Dataset) else 'pairs'}"
        announce(what, student, f"a flow map of {options.run}", settings, place)
        data = Remembered(self.source, units, place)
        facts: dict[str, Any] = {"recipe": recipe, "start": before, **options.steering.arguments()}
        return student, trained(student, data, objective, settings, **facts)

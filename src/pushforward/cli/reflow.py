"""`pushforward reflow`: straighten a run's trajectories.

The run carries noise to samples; trained again on those pairs, its paths straighten (Liu et al. 2022, arXiv
2209.03003), and fewer steps are as good as many were.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward._recipe import Settings
from pushforward.cli.options import FLAT, Session, Solve, prepare
from pushforward.cli.runs import Remembered, announce, conclude, run_folder
from pushforward.cli.units import Units, data_of, read_units

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Reflow:
    """Straighten a run's trajectories, so that it needs fewer steps.

    The run makes pairs of noise and sample; a copy of it is trained on them and written as a new run. Repeat it on the
    new run to straighten further.

    Examples:
      pushforward reflow runs/digits --out runs/straight
      pushforward reflow runs/digits --pairs 50000 --steps 2000 --teacher.solver rk4
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a diffusion model."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The new run folder; by default runs/NAME-reflow. An interrupted run in it is continued."""
    pairs: int = 10_000
    """Pairs of noise and sample that the run makes."""
    real: bool = False
    """Add as many pairs that start from the real training data: their data end is exact."""
    teacher: Solve = Solve()
    settings: Annotated[Settings, FLAT] = field(default_factory=lambda: Settings(steps=1_000, lr=3e-4))
    session: Annotated[Session, FLAT] = Session()


def run(options: Reflow) -> None:
    """Make the pairs, train a copy on them, say what to do next."""
    objectives = pf.objectives
    path = student_folder(options.out, options.run, "reflow")
    units, model = teacher_of(options.run, options.settings)
    pairs = pairs_of(model, options, units)
    if options.real:
        pairs = pairs + real_pairs(model, options, units)
    train_student(options, path, units, model, pairs, objectives.Regression())


def student_folder(out: Path | None, teacher: Path, suffix: str) -> Path:
    """Where the new run goes.

    Raises:
        ConfigError: into the run that it is made from.
    """
    path = run_folder(out, f"{teacher.resolve().name}-{suffix}")
    if path.resolve() == teacher.resolve():
        got = f"the run itself, {str(path)!r}"
        raise ConfigError(explain("--out to be a new folder", got, "Choose another."))
    return path


def teacher_of(path: Path, settings: Settings) -> "tuple[Units, pf.Diffusion]":
    """The run's units and model, on the device of the settings.

    Raises:
        ConfigError: the run is no diffusion model.
    """
    device = prepare(settings.device, settings.threads)
    units, model = read_units(path), pf.load(path, device=str(device))
    if not isinstance(model, pf.Diffusion):
        got = f"{str(path)!r}, a {type(model).__name__}"
        raise ConfigError(explain("the run of a diffusion model, which has paths", got, "Train one without --model."))
    return units, model


def pairs_of(model: "pf.Diffusion", options: Any, units: Units) -> "pf.objectives.Pairs":
    """Pairs of noise and sample; a conditioned model makes them of all classes in turn."""
    import torch

    if options.pairs < 1:
        raise ConfigError(explain("--pairs of 1 or more", str(options.pairs), "Ask for thousands."))
    labels = len(units.labels)
    context = torch.arange(options.pairs).to(model.device) % labels if labels else None
    made = pf.objectives.pairs(
        model, options.pairs, options.teacher.build(), options.settings.seed, context, progress=True
    )
    return replace(made, x=made.x.cpu(), eps=made.eps.cpu(), context=_on_cpu(made.context))


def real_pairs(model: "pf.Diffusion", options: Reflow, units: Units) -> "pf.objectives.Pairs":
    """Pairs of real training events and the noise that the run carries them from."""
    from pushforward._random import Draw

    _, data = data_of(options.run)
    real = data.train_batch(Draw(options.settings.seed, "reflow"), min(options.pairs, len(data)))
    context = real.context if units.labels else None
    there = context.to(model.device) if context is not None else None
    made = pf.objectives.pairs_from(model, real.x.to(model.device), options.teacher.build(), there)
    return replace(made, x=made.x.cpu(), eps=made.eps.cpu(), context=_on_cpu(made.context))


def train_student(
    options: Any, path: Path, units: Units, model: "pf.Diffusion", pairs: "pf.objectives.Pairs", objective: Any
) -> None:
    """Train the model on the pairs as a new run."""
    recipe, data = pf.training.read_run(options.run).model, Remembered(pairs, units, path)
    announce(f"{units.name}: {len(pairs):,} pairs", model, f"a copy of {options.run}", options.settings, path)
    history = pf.train(model, data, objective, settings=options.settings, run=path, recipe=recipe)
    conclude(history, path, units)


def _on_cpu(context: "torch.Tensor | None") -> "torch.Tensor | None":
    return None if context is None else context.cpu()

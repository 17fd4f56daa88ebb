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
from pushforward.cli.options import FLAT, Session, Solve, carries_divergence, follows_the_ode, prepare
from pushforward.cli.runs import Remembered, announce, conclude, run_folder
from pushforward.cli.steering import Steering
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
    steering: Annotated[Steering, FLAT] = Steering()
    session: Annotated[Session, FLAT] = Session()


def run(options: Reflow) -> None:
    """Make the pairs, train a copy on them, say what to do next."""
    objectives = pf.objectives
    path = student_folder(options.out, options.run, "reflow")
    units, model = teacher_of(options.run, options.settings)
    if options.real and not carries_divergence(options.teacher.build(options.run)):
        expected = "a teacher that also goes from data to noise, for --real (euler, midpoint, heun, rk4, adaptive)"
        raise ConfigError(explain(expected, f"--teacher.solver {options.teacher.solver}", "Choose one of them."))
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
    return diffusion_of(path, prepare(settings.device, settings.threads))


def diffusion_of(path: Path, device: "torch.device") -> "tuple[Units, pf.Diffusion]":
    """The run's units and model, on this device.

    Raises:
        ConfigError: the run is no diffusion model.
    """
    units, model = read_units(path), pf.load(path, device=str(device))
    if not isinstance(model, pf.Diffusion):
        got = f"{str(path)!r}, a {type(model).__name__}"
        raise ConfigError(explain("the run of a diffusion model, which has paths", got, "Train one without --model."))
    return units, model


def pairs_of(model: "pf.Diffusion", options: Any, units: Units) -> "pf.objectives.Pairs":
    """Pairs of noise and sample; a conditioned model makes them of all classes in turn."""
    if options.pairs < 1:
        raise ConfigError(explain("--pairs of 1 or more", str(options.pairs), "Ask for thousands."))
    solver, context = teaching(options), units.classes(options.pairs, 0, None)
    there = None if context is None else context.to(model.device)
    made = pf.objectives.pairs(model, options.pairs, solver, options.settings.seed, there, progress=True)
    return replace(made, x=made.x.cpu(), eps=made.eps.cpu(), context=_on_cpu(made.context))


def teaching(options: Any) -> "pf.solvers.Solver":
    """The teacher's solver.

    Raises:
        ConfigError: it adds noise, so that a start has no one end.
    """
    solver = options.teacher.build(options.run)
    if not follows_the_ode(solver):
        got = f"--teacher.solver {options.teacher.solver}, which adds noise on the way"
        raise ConfigError(explain("a solver that carries each noise to one sample", got, "Choose another."))
    return solver


def real_pairs(model: "pf.Diffusion", options: Reflow, units: Units) -> "pf.objectives.Pairs":
    """Pairs of real training events and the noise that the run carries them from."""
    from pushforward._random import Draw

    _, data = data_of(options.run)
    real = data.train_batch(Draw(options.settings.seed, "reflow"), min(options.pairs, len(data)))
    context = real.context if units.labels else None
    there = context.to(model.device) if context is not None else None
    made = pf.objectives.pairs_from(model, real.x.to(model.device), options.teacher.build(options.run), there)
    return replace(made, x=made.x.cpu(), eps=made.eps.cpu(), context=_on_cpu(made.context))


def train_student(
    options: Any, path: Path, units: Units, model: "pf.Diffusion", pairs: "pf.objectives.Pairs", objective: Any
) -> None:
    """Train the model on the pairs as a new run."""
    recipe, data = pf.training.read_run(options.run).model, Remembered(pairs, units, path)
    announce(f"{units.name}: {len(pairs):,} pairs", model, f"a copy of {options.run}", options.settings, path)
    steering = options.steering.arguments()
    history = pf.train(model, data, objective, settings=options.settings, run=path, recipe=recipe, **steering)
    conclude(history, path, units)


def _on_cpu(context: "torch.Tensor | None") -> "torch.Tensor | None":
    return None if context is None else context.cpu()

"""`pushforward reflow`: straighten a run's trajectories.

The run carries noise to samples; trained again on those pairs, its paths straighten (Liu et al. 2022, arXiv
2209.03003), and fewer steps are as good as many were.
"""

import copy
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward._recipe import Diffusion, Recipe, Settings
from pushforward.cli.families import regression_of
from pushforward.cli.guiding import said
from pushforward.cli.options import FLAT, Session, Solve, carries_divergence, prepare
from pushforward.cli.parts import told
from pushforward.cli.reflowed import tell_stages
from pushforward.cli.runs import Remembered, announce, conclude, run_folder, speak, trained
from pushforward.cli.steering import Steering
from pushforward.cli.units import Units, data_of, moved, read_units

if TYPE_CHECKING:
    import torch

_HUBER: Final = 0.07
"""Per dimension, where data are of size 1: of `benchmarks/straightening.py`."""


@dataclass(frozen=True, slots=True)
class Reflow:
    """Straighten a run's trajectories, so that it needs fewer steps.

    The run makes pairs of noise and sample; a copy of it is trained on them and written as a new run. Repeat it on the
    new run to straighten further. Whatever the path of the run, the new one is a velocity on the straight path.

    Examples:
      pushforward reflow runs/digits --out runs/straight
      pushforward reflow runs/digits --pairs 50000 --steps 2000 --teacher.solver rk4
      pushforward reflow runs/digits --out runs/straight --pairs 1000000 --pairs-shard 3/16    on each machine
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a diffusion model."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The new run folder; by default runs/NAME-reflow. An interrupted run in it is continued."""
    pairs: int = 10_000
    """Pairs of noise and sample that the run makes. They are kept in the new run's folder, and made once."""
    pairs_shard: Annotated[str | None, arg(metavar="I/N")] = None
    """Make this share of the pairs only, counted from 0; the same command without it goes on with all of them."""
    real: bool = False
    """Add pairs that start from real training data, whose data end is exact: as many as --pairs, but at most one for
    each training event."""
    loss: Literal["square", "huber"] = "square"
    """How an error is weighed: huber follows most of the pairs where some are of the other side of a tear."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """Where the run's data are now, if they have moved."""
    measure: int = 512
    """Samples by which teacher and student are then compared, with advice whether to go on; 0 leaves it out."""
    teacher: Solve = Solve()
    settings: Annotated[Settings, FLAT] = field(default_factory=lambda: Settings(steps=1_000, lr=3e-4))
    steering: Annotated[Steering, FLAT] = Steering()
    session: Annotated[Session, FLAT] = Session()


def run(options: Reflow) -> None:
    """Make the pairs, train a copy on them, say what to do next."""
    path = student_folder(options.out, options.run, "reflow")
    units, model = teacher_of(options.run, options.settings)
    units = moved(units, options.data)
    check_real(options)
    pairs = pairs_of(model, options, units, path, options.real)
    if pairs is not None:
        train_student(options, path, units, model, pairs)
        tell_stages(options, path)


def check_real(options: Any) -> None:
    """Refuse, before anything is made, a teacher that cannot go from real data to noise.

    Raises:
        ConfigError: its solver is none of those that can.
    """
    if options.real and not carries_divergence(options.teacher.build(options.run)):
        expected = "a teacher that also goes from data to noise, for --real (euler, midpoint, heun, rk4, adaptive)"
        raise ConfigError(explain(expected, f"--teacher.solver {options.teacher.solver}", "Choose one of them."))


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
        got, fix = f"{str(path)!r}, a {type(model).__name__}", "Train one without --model."
        if isinstance(model, pf.models.FlowMap):
            fix = "It jumps already: name the run that it was made from."
        raise ConfigError(explain("the run of a diffusion model, which has paths", got, fix))
    return units, model


def pairs_of(
    model: "pf.Diffusion", options: Any, units: Units, path: Path, real: bool = False
) -> "pf.training.StoredPairs | None":
    """Pairs of noise and sample, on disk in the new run's folder; None if a share of them was asked for.

    A conditioned model makes them of all classes in turn. The processes of torchrun share the work.

    Args:
        model: the teacher.
        options: of the verb.
        units: of the teacher's data.
        path: the new run's folder.
        real: add pairs of real training events and the noise that the run carries them from.
    """
    from pushforward.training.run_folder import claim
    from pushforward.training.shards import share

    if options.pairs < 1:
        raise ConfigError(explain("--pairs of 1 or more", str(options.pairs), "Ask for thousands."))
    alone = options.pairs_shard is None
    worker, workers = _place() if alone else share(options.pairs_shard)
    solver, context = teaching(options), units.classes(options.pairs, 0, None)
    claim(path)
    made: dict[str, Any] = {"solver": solver, "worker": worker, "workers": workers}
    made |= {"progress": worker == 0 or not alone, "about": said(getattr(options, "guidance", 1.0))}
    training, folders, seed = pf.training, [path / "pairs"], options.settings.seed
    training.store_pairs(model, folders[0], options.pairs, seed=seed, context=context, **made)
    if real:
        folders.append(path / "real-pairs")
        x, given = _real(options, units)
        if len(x) < options.pairs:
            speak(f"--real: {len(x):,} pairs, one for each training event; --pairs is {options.pairs:,}")
        training.store_real_pairs(model, folders[1], x, context=given, **made)
    for folder in folders:
        if not alone:
            told(training.Shards.open(folder), (worker, workers), "pairs")
        elif workers > 1:
            training.Shards.open(folder).wait()
    return training.StoredPairs.open(*folders) if alone else None


def teaching(options: Any) -> "pf.solvers.Solver":
    """The teacher's solver.

    Raises:
        ConfigError: it adds noise, so that a start has no one end.
    """
    solver = options.teacher.build(options.run)
    if pf.solvers.adds_noise(solver):
        got = f"--teacher.solver {options.teacher.solver}, which adds noise on the way"
        raise ConfigError(explain("a solver that carries each noise to one sample", got, "Choose another."))
    return solver


def _real(options: Any, units: Units) -> "tuple[torch.Tensor, torch.Tensor | None]":
    """Real training events, and their classes if the model is conditioned on them."""
    from pushforward._random import Draw

    _, data = data_of(options.run, options.data)
    real = data.train_batch(Draw(options.settings.seed, "reflow"), min(options.pairs, len(data.values)))
    return real.x, real.context if units.labels else None


def _place() -> tuple[int, int]:
    """This process's number among those of torchrun, and how many they are."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def train_student(
    options: Any, path: Path, units: Units, teacher: "pf.Diffusion", pairs: "pf.training.StoredPairs"
) -> None:
    """Train a straight copy of the teacher on the pairs as a new run; what learned without its classes goes on so."""
    student, recipe = straightened(teacher, options.run)
    objective = regression_of(recipe, len(units.labels), _HUBER if options.loss == "huber" else None)
    data = Remembered(pairs, units, path)
    announce(f"{units.name}: {len(pairs):,} pairs", student, f"a copy of {options.run}", options.settings, path)
    facts: dict[str, Any] = {"recipe": recipe, "start": teacher, **options.steering.arguments()}
    conclude(trained(student, data, objective, options.settings, **facts), path, units, options.run)


def straightened(teacher: "pf.Diffusion", run: Path) -> "tuple[pf.Diffusion, Recipe | None]":
    """What a reflow trains, and its recipe: a velocity on the straight path, where lines between pairs are lines.

    The run's own model if it says what the velocity is at both ends of that path; of any other the weights alone, for a
    start. (Its map could be kept by `Diffusion.on`, but what says eps knows nothing of x0 where all is noise, where the
    one step begins, and what says x0 nothing of eps at the data, where it bends by all that it is wrong.)
    """
    linear, recipe = pf.paths.Linear(), pf.training.read_run(run).model
    if teacher.path == linear and teacher.span == (0, 1):
        return teacher, recipe
    assert isinstance(recipe, Diffusion)  # all other recipes of a diffusion model are straight
    student = pf.Diffusion(copy.deepcopy(teacher.net), linear, pf.paths.velocity)
    return student, replace(recipe, path="linear", prediction="velocity")

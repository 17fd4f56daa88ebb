"""`pushforward distill`: teach a run to reach in a few jumps what it walked in many steps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._recipe import Settings
from pushforward.cli.options import FLAT, Session, Solve
from pushforward.cli.reflow import pairs_of, student_folder, teacher_of, train_student
from pushforward.cli.steering import Steering


@dataclass(frozen=True, slots=True)
class Distill:
    """Teach a run to reach in a few jumps what it walked in many steps.

    The run makes pairs of noise and sample; a copy of it learns to jump from one to the other. It works best on a run
    that `pushforward reflow` has straightened. Sample the new run with --solver euler and as many steps as jumps.

    Examples:
      pushforward distill runs/straight --jumps 1 --out runs/one-step
      pushforward sample runs/one-step --solver euler --steps 1 -o grid.png
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a diffusion model."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The new run folder; by default runs/NAME-distilled. An interrupted run in it is continued."""
    jumps: int = 1
    """Network calls that a sample of the new run will take."""
    loss: Literal["square", "huber"] = "huber"
    """How an error is weighed: huber does not let rare large errors lead."""
    pairs: int = 10_000
    """Pairs of noise and sample that the run makes."""
    teacher: Solve = Solve()
    settings: Annotated[Settings, FLAT] = field(default_factory=lambda: Settings(steps=1_000, lr=3e-4))
    steering: Annotated[Steering, FLAT] = Steering()
    session: Annotated[Session, FLAT] = Session()


def run(options: Distill) -> None:
    """Make the pairs, train a copy to jump, say what to do next."""
    path = student_folder(options.out, options.run, "distilled")
    objective = pf.objectives.Distillation(steps=options.jumps, loss=options.loss)
    units, model = teacher_of(options.run, options.settings)
    pairs = pairs_of(model, options, units)
    train_student(options, path, units, model, pairs, objective)

"""What verbs have in common: where to compute, how to solve, and what to do when something fails."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

from tyro.conf import OmitArgPrefixes, arg

import pushforward as pf
from pushforward import _config
from pushforward._errors import ConfigError, explain
from pushforward._recipe import Diffusion, FlowMap, Recipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Session:
    """Options of every verb."""

    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """Take options from this TOML file (a run's config.toml, say); flags given here win over it."""
    debug: bool = False
    """Show the whole traceback of an error."""
    pdb: bool = False
    """Open the debugger where an error was raised."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to compute."""

    seed: int = 0
    """The same seed gives the same result."""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """cpu, cuda, cuda:1, mps; auto is a GPU where there is one."""
    threads: Annotated[int | None, arg(metavar="INT")] = None
    """CPU threads; by default as many as torch chooses."""

    def prepare(self) -> "torch.device":
        """Set the number of threads and find the device.

        Raises:
            ConfigError: there is no such device, or the number of threads is not positive.
        """
        return prepare(self.device, self.threads)


def prepare(device: str, threads: int | None) -> "torch.device":
    """Set the number of CPU threads and find the device."""
    import torch

    if threads is not None and threads < 1:
        raise ConfigError(explain("--threads of 1 or more", str(threads), "Change it or leave it out."))
    if threads is not None:
        torch.set_num_threads(threads)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    try:
        found = (accelerator or torch.device("cpu")) if device == "auto" else torch.device(device)
        if found.type != "cpu" and ":" not in str(found) and "LOCAL_RANK" in os.environ:
            found = torch.device(found.type, int(os.environ["LOCAL_RANK"]))  # torchrun: a device for each process
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = " or ".join(["cpu", *([accelerator.type] if accelerator else [])])
        got = f"--device {device}"
        raise ConfigError(explain(f"a device of this machine ({here})", got, "Leave it out for auto.")) from error
    return found


SOLVERS: Final["Mapping[str, Callable[[int, float], pf.solvers.Solver]]"] = MappingProxyType(
    {
        "euler": lambda steps, _: pf.solvers.Euler(steps),
        "midpoint": lambda steps, _: pf.solvers.Midpoint(steps),
        "heun": lambda steps, _: pf.solvers.Heun(steps),
        "rk4": lambda steps, _: pf.solvers.RK4(steps),
        "adaptive": lambda _, tolerance: pf.solvers.Adaptive(rtol=tolerance, atol=tolerance),
        "ddim": lambda steps, _: pf.solvers.DDIM(steps),
        "exponential": lambda steps, _: pf.solvers.Exponential(steps, correct=True),
        "dpm": lambda steps, _: pf.solvers.DPMSolver(steps),
        "karras": lambda steps, _: pf.solvers.Karras(steps),
        "reversible": lambda steps, _: pf.solvers.Reversible(steps),
        "ancestral": lambda steps, _: pf.solvers.Ancestral(steps),
        "sde": lambda steps, _: pf.solvers.DPMSolver(steps, eta=1.0),
        "jump": lambda steps, _: pf.solvers.Jumps(steps),
        "renoise": lambda steps, _: pf.solvers.Jumps(steps, renoise=1.0),
    }
)
"""The solvers that have a name, made from steps and tolerance."""

JUMPS: Final = ("jump", "renoise")
"""Those of flow maps."""

AUTO: Final = "auto"
"""The name of whichever suits the run."""


@dataclass(frozen=True, slots=True)
class Solve:
    """How to follow the velocity field. Normalizing flows need no solver and ignore it."""

    solver: Annotated[str, arg(metavar="NAME|FILE")] = "auto"
    """auto: jumps where the run is a flow map, else heun, or midpoint where the prediction is x0, or eps on a path that
    ends in noise alone.
    euler, ddim, exponential (UniPC), dpm (DPM-Solver++): one network call a step.
    midpoint, heun, karras (EDM): two. rk4, reversible: four. adaptive: as many as needed.
    ancestral (DDPM), sde: one, and noise on the way.
    jump: of flow maps, one call a jump; renoise: the same with fresh noise after each, as consistency models do.
    Or what `pushforward tune` saved: its name in the run (tuned-8, say) or a .json file."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps from noise to data, by default 20, and for jumps as many as the run was trained for; not for adaptive, nor
    for saved solvers, which have their own."""
    tolerance: float = 1e-5
    """Error allowed in each step, relative and absolute (adaptive alone)."""

    def build(self, run: Path) -> "pf.solvers.Solver":
        """The solver these options name, for a run.

        Raises:
            ConfigError: no solver has that name or is saved under it, or steps for a saved one.
        """
        if self.solver in (AUTO, *JUMPS):
            return self._suited(pf.training.read_run(run).model)
        if self.solver in SOLVERS:
            return SOLVERS[self.solver](20 if self.steps is None else self.steps, self.tolerance)
        file = self._file(run)
        if self.steps is not None:
            expected, got = "no --steps with a saved solver, which has its own", f"--steps {self.steps}"
            raise ConfigError(explain(expected, got, "Leave it out, or find another by `pushforward tune`."))
        return pf.solvers.load(file)

    def _suited(self, recipe: Recipe | None) -> "pf.solvers.Solver":
        """The solver that suits a model of this recipe; the jumps of a flow map are those it learned."""
        if not isinstance(recipe, FlowMap) and self.solver == AUTO:
            steps = 20 if self.steps is None else self.steps
            return _walk(recipe, steps) if isinstance(recipe, Diffusion) else pf.solvers.Heun(steps)
        if isinstance(recipe, Diffusion):
            fix = "Try heun, or make one that jumps: pushforward distill RUN."
            raise ConfigError(explain(f"a run that jumps, for --solver {self.solver}", "one that does not", fix))
        learned, fresh = (recipe.jumps, recipe.renoise) if isinstance(recipe, FlowMap) else (1, 0.0)
        fresh = {"jump": 0.0, "renoise": 1.0}.get(self.solver, fresh)
        return pf.solvers.Jumps(learned if self.steps is None else self.steps, renoise=fresh)

    def _file(self, run: Path) -> Path:
        if self.solver.endswith(".json"):
            return Path(self.solver)
        saved = saved_solvers(run)
        if self.solver not in saved:
            expected = f"a solver, one saved in {str(run)!r}, or a .json file"
            raise ConfigError(
                explain(expected, repr(self.solver), _config.suggest(self.solver, [AUTO, *SOLVERS, *saved]))
            )
        return saved[self.solver]


def _walk(recipe: Diffusion, steps: int) -> "pf.solvers.Solver":
    """How to follow the ODE of a run of this recipe."""
    from pushforward.models.straight import walk
    from pushforward.training.build import path_of

    return walk(path_of(recipe), pf.paths.named(recipe.prediction), steps)


def saved_solvers(run: Path) -> dict[str, Path]:
    """The solvers that `pushforward tune` saved in a run, by name."""
    return {file.stem: file for file in sorted((run / "solvers").glob("*.json"))}


def starts_from_rows(recipe: Recipe | None) -> bool:
    """Whether a model of this recipe starts from other data, not from noise."""
    return isinstance(recipe, Diffusion | FlowMap) and recipe.source > 0


def carries_divergence(solver: "pf.solvers.Solver") -> bool:
    """Whether a solver can follow more than events alone, as likelihoods and straightness need."""
    return isinstance(solver, pf.solvers.RungeKutta | pf.solvers.Adaptive)


FLAT = OmitArgPrefixes
"""Marks a group of options whose flags have no prefix."""

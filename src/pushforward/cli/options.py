"""What verbs have in common: where to compute, how to solve, and what to do when something fails."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain

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


@dataclass(frozen=True, slots=True)
class Solve:
    """How to follow the velocity field. Normalizing flows need no solver and ignore it."""

    solver: Literal["euler", "midpoint", "heun", "rk4", "adaptive"] = "heun"
    """euler calls the network once a step, midpoint and heun twice, rk4 four times; adaptive chooses its steps."""
    steps: int = 20
    """Steps from noise to data (not for adaptive)."""
    tolerance: float = 1e-5
    """Error allowed in each step, relative and absolute (adaptive alone)."""

    def build(self) -> "pf.solvers.Solver":
        """The solver these options name."""
        solvers = pf.solvers
        if self.solver == "adaptive":
            return solvers.Adaptive(rtol=self.tolerance, atol=self.tolerance)
        fixed = {"euler": solvers.Euler, "midpoint": solvers.Midpoint, "heun": solvers.Heun, "rk4": solvers.RK4}
        return fixed[self.solver](steps=self.steps)


FLAT = OmitArgPrefixes
"""Marks a group of options whose flags have no prefix."""

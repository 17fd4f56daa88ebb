"""Solvers as files: what a search has found is kept as JSON and used again by name.

A file holds the solver's settings and nothing else. Kinds are looked up in one closed table, so reading a stranger's
file runs none of their code."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pushforward._config import LARGEST, from_table, to_table
from pushforward._durable import write_text
from pushforward._errors import ConfigError, explain
from pushforward.solvers import grids, noise
from pushforward.solvers.adaptive import Adaptive
from pushforward.solvers.adjoint import Adjoint
from pushforward.solvers.ancestral import DDIM, Ancestral
from pushforward.solvers.dpm import DPMSolver
from pushforward.solvers.exponential import Exponential
from pushforward.solvers.jumps import Jumps
from pushforward.solvers.retraced import Retraced
from pushforward.solvers.reversible import Reversible
from pushforward.solvers.runge_kutta import RK4, Euler, Heun, Midpoint
from pushforward.solvers.state import Solver
from pushforward.solvers.stochastic import EulerMaruyama, Karras, PredictorCorrector
from pushforward.solvers.tuned import Tuned

_SOLVERS = (
    Adaptive, Adjoint, Ancestral, DDIM, DPMSolver, Euler, EulerMaruyama, Exponential, Heun, Jumps, Karras, Midpoint,
    PredictorCorrector, RK4, Retraced, Reversible, Tuned,
)  # fmt: skip
_GRIDS = (
    grids.Angle, grids.Angles, grids.Chain, grids.Karras, grids.LogSNR, grids.Power, grids.Share, grids.Times,
    grids.Uniform,
)  # fmt: skip

KINDS: Final[Mapping[str, type]] = MappingProxyType(
    {f"solver.{kind.__name__}": kind for kind in _SOLVERS}
    | {f"grid.{kind.__name__}": kind for kind in _GRIDS}
    | {f"noise.{kind.__name__}": kind for kind in (noise.Brownian, noise.White)}
)
"""The closed table: which word in a file stands for which class."""


def save(solver: Solver, file: Path) -> None:
    """Write a solver as JSON, whole or not at all."""
    write_text(file, json.dumps(to_table(solver, KINDS), indent=1) + "\n")


def load(file: Path) -> Solver:
    """The solver that `save` wrote.

    Raises:
        ConfigError: there is no such file, or it does not hold a solver.
    """
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise ValueError(f"it is no file of at most {LARGEST:,} bytes")
        said = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, RecursionError) as error:
        got = f"{str(file)!r}: {error}"
        raise ConfigError(explain("a solver that `save` wrote", got, "Check the path, or save it again.")) from error
    found = from_table(None, said, KINDS, where=str(file))
    if not isinstance(found, Solver):
        raise ConfigError(explain("a solver", f"a {type(found).__name__} in {str(file)!r}", "Name another file."))
    return found

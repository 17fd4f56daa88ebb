"""Solvers: follow a velocity field and stream the states on the way.

`Euler`, `Midpoint`, `Heun`, `RK4` take fixed steps over a `grids` of times, `Adaptive` chooses its own for each
sample. All are generators of `State` that accept edits by `send`; they see fields f(x, t), never networks.
`Exact`, `Hutchinson`, `HutchPlus` and `ByDimension` compute the divergence that likelihoods need. May import `paths`.
"""

from pushforward.solvers.adaptive import Adaptive
from pushforward.solvers.divergence import ByDimension, Exact, Hutchinson, HutchPlus, Trace, augmented
from pushforward.solvers.grids import Grid, Power, Uniform
from pushforward.solvers.runge_kutta import RK4, Euler, Heun, Midpoint, RungeKutta, Tableau
from pushforward.solvers.state import Field, Solver, State, Trajectory, drain

__all__ = [
    "Adaptive", "ByDimension", "Euler", "Exact", "Field", "Grid", "Heun", "HutchPlus", "Hutchinson", "Midpoint",
    "Power", "RK4", "RungeKutta", "Solver", "State", "Tableau", "Trace", "Trajectory", "Uniform", "augmented", "drain",
]  # fmt: skip

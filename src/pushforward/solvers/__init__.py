"""Solvers: follow a velocity field and stream the states on the way.

`Euler`, `Midpoint`, `Heun`, `RK4` take fixed steps over a `grids` of times, `Adaptive` chooses its own for each
sample. All are generators of `State` that accept edits by `send`; they see fields f(x, t), never networks.
`Exact` and `Hutchinson` compute the divergence that likelihoods need, `Checkpointed` without keeping it in memory.
May import `paths`.
"""

from pushforward.solvers.adaptive import Adaptive
from pushforward.solvers.checkpointed import Checkpointed
from pushforward.solvers.divergence import Exact, Hutchinson, Trace, augmented
from pushforward.solvers.grids import Grid, Power, Uniform
from pushforward.solvers.runge_kutta import RK4, Euler, Heun, Midpoint, RungeKutta, Tableau
from pushforward.solvers.state import Field, Solver, State, Trajectory, drain

__all__ = [
    "Adaptive", "Checkpointed", "Euler", "Exact", "Field", "Grid", "Heun", "Hutchinson", "Midpoint", "Power", "RK4",
    "RungeKutta", "Solver", "State", "Tableau", "Trace", "Trajectory", "Uniform", "augmented", "drain",
]  # fmt: skip

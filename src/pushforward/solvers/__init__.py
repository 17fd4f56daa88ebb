"""Solvers: follow what a model says along a path and stream the states on the way.

One-step methods (`Euler`, `Midpoint`, `Heun`, `RK4`), an adaptive pair (`Adaptive`), multistep methods whose steps are
rows of numbers (`DDIM`, `Exponential`, `DPMSolver`, `Tuned`), one that can be undone exactly (`Reversible`), and those
of the reverse SDE (`Ancestral`, `EulerMaruyama`, `Karras`, `PredictorCorrector`), whose noise is a function of seed,
sample and time (`White`, `Brownian`). `Jumps` is the one of flow maps, which need no integration. All are generators of
`State` that accept edits by `send`; they see fields f(x, t), never networks. `grids` say where they stop, `progress`
shows how far they are, `save` and `load` keep one as JSON. `Exact`, `Hutchinson`, `HutchPlus` and `ByDimension` compute
the divergence that likelihoods need, `Checkpointed` without keeping it in memory; the `Frugal` ones,
`Retraced` and `Adjoint`, differentiate a whole solve in constant memory. May import `paths`.
"""

from pushforward.solvers import grids
from pushforward.solvers.adaptive import Adaptive
from pushforward.solvers.adjoint import Adjoint
from pushforward.solvers.ancestral import DDIM, Ancestral
from pushforward.solvers.checkpointed import Checkpointed
from pushforward.solvers.divergence import ByDimension, Exact, Hutchinson, HutchPlus, Trace, augmented
from pushforward.solvers.dpm import DPMSolver
from pushforward.solvers.exponential import Exponential
from pushforward.solvers.files import load, save
from pushforward.solvers.grids import Grid, Power, Uniform
from pushforward.solvers.jumps import FlowField, Jumps
from pushforward.solvers.multistep import Linear, Step
from pushforward.solvers.noise import Brownian, Noise, White
from pushforward.solvers.progress import progress
from pushforward.solvers.retraced import Retraced
from pushforward.solvers.reversible import Pair, Reversible
from pushforward.solvers.runge_kutta import RK4, Euler, Heun, Midpoint, RungeKutta, Tableau
from pushforward.solvers.state import Field, Frugal, Solver, State, Trajectory, counted, drain
from pushforward.solvers.stochastic import EulerMaruyama, Karras, PredictorCorrector, adds_noise
from pushforward.solvers.tuned import Tuned, weights_of

__all__ = [
    "Adaptive", "Adjoint", "Ancestral", "Brownian", "ByDimension", "Checkpointed", "DDIM", "DPMSolver", "Euler",
    "EulerMaruyama", "Exact", "Exponential", "Field", "FlowField", "Frugal", "Grid", "Heun", "HutchPlus", "Hutchinson",
    "Jumps", "Karras", "Linear", "Midpoint", "Noise", "Pair", "Power", "PredictorCorrector", "RK4", "Retraced",
    "Reversible", "RungeKutta", "Solver", "State", "Step", "Tableau", "Trace", "Trajectory", "Tuned", "Uniform",
    "White", "adds_noise", "augmented", "counted", "drain", "grids", "load", "progress", "save", "weights_of",
]  # fmt: skip

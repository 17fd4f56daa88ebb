"""Every solver, and the order it promises."""

from pushforward import solvers
from pushforward.solvers import grids

FIXED = {
    "euler": (solvers.Euler, 1),
    "midpoint": (solvers.Midpoint, 2),
    "heun": (solvers.Heun, 2),
    "rk4": (solvers.RK4, 4),
}

# on a path of finite noise levels; correction raises the order by one
ORDERS = {
    "ddim": (solvers.DDIM(), 1),
    "karras": (solvers.Karras(grid=grids.Uniform()), 2),
    "reversible": (solvers.Reversible(), 2),
    "dpm-1": (solvers.DPMSolver(order=1), 1),
    "dpm-2": (solvers.DPMSolver(order=2), 2),
    "dpm-3": (solvers.DPMSolver(order=3), 2),  # published with half the weight of the second difference
    **{
        f"exponential-{hold}-{clock}-{order}{'c' * correct}": (
            solvers.Exponential(order=order, hold=hold, clock=clock, correct=correct),
            order + correct,
        )
        for hold, clock, order, correct in [
            ("x0", "log_snr", 1, False), ("x0", "log_snr", 2, False), ("x0", "log_snr", 3, False),
            ("x0", "angle", 2, False), ("x0", "ratio", 2, False), ("x0", "log_snr", 2, True),
            ("eps", "log_snr", 2, False), ("eps", "ratio", 3, False), ("eps", "angle", 2, True),
            ("v", "angle", 1, False), ("v", "angle", 2, False), ("v", "angle", 3, False), ("v", "angle", 3, True),
            ("v", "log_snr", 2, False),
        ]
    },
}  # fmt: skip

STOCHASTIC = {
    "ancestral": solvers.Ancestral(steps=6),
    "euler-maruyama": solvers.EulerMaruyama(steps=6, form="sigma"),
    "sde-dpm-2": solvers.DPMSolver(steps=6, order=2, eta=1.0),
    "sde-dpm-3": solvers.DPMSolver(steps=6, order=3, eta=1.0),
    "karras-churn": solvers.Karras(steps=6, churn=3.0),
    "predictor-corrector": solvers.PredictorCorrector(steps=6),
}

NEED_PATH = {name: type(solver)(**{**vars(solver), "steps": 6}) for name, (solver, _) in ORDERS.items()} | STOCHASTIC

SOLVERS = {
    **{name: make(steps=6) for name, (make, _) in FIXED.items()},
    "heun-power": solvers.Heun(steps=6, grid=solvers.Power(2.0)),
    "adaptive": solvers.Adaptive(rtol=1e-6, atol=1e-8),
    "retraced": solvers.Retraced(steps=6),
    "adjoint": solvers.Adjoint(solvers.Adaptive(rtol=1e-6, atol=1e-8)),
    **NEED_PATH,
}

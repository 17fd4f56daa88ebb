"""Every solver, and the order it promises."""

from pushforward import solvers

FIXED = {
    "euler": (solvers.Euler, 1),
    "midpoint": (solvers.Midpoint, 2),
    "heun": (solvers.Heun, 2),
    "rk4": (solvers.RK4, 4),
}

SOLVERS = {
    **{name: make(steps=6) for name, (make, _) in FIXED.items()},
    "heun-power": solvers.Heun(steps=6, grid=solvers.Power(2.0)),
    "adaptive": solvers.Adaptive(rtol=1e-6, atol=1e-8),
}

"""Oracles: models that are exact, to see what a solver, a likelihood or a network gets wrong.

Every number here has a known answer: the data are normals on a circle, so their density is a formula at every time.
"""

import torch

import pushforward as pf
from pushforward import models, solvers

oracle = models.ring(modes=8, radius=1.0, std=0.1)  # a Diffusion whose network is the exact posterior mean
x = oracle.sample(2_000, seed=0, solver=solvers.RK4(steps=100))
now = torch.zeros(len(x))

print("solver     calls   error of its samples")
errors = {}
for solver in (solvers.Euler(steps=32), solvers.Heun(steps=16), solvers.RK4(steps=8)):
    y = oracle.sample(2_000, seed=0, solver=solver)
    errors[type(solver).__name__] = (y - x).norm(dim=1).mean().item()
    print(f"{type(solver).__name__:8} {solver.nfe:6d}   {errors[type(solver).__name__]:.4f}")

careful = solvers.Adaptive(rtol=1e-5, atol=1e-6)
error = oracle.log_prob(x[:200], solver=careful) - oracle.net.log_prob(x, now)[:200]
print(f"log-likelihood, largest error over 200 points: {error.abs().max():.1e} nats")

# A true field obeys the continuity equation; one that is bent a little does not.
t = torch.full((200,), 0.3, dtype=torch.float64)
there = oracle.path.mix(x[:200].double(), pf.Draw(1).normal(200, (2,), torch.float64), t)
true = models.residual(oracle, there, t).relative.max()
bent = pf.Diffusion(lambda x, t, c: 1.05 * oracle.net(x, t, c), oracle.path, oracle.prediction, shape=(2,))
off = models.residual(bent, there, t).relative.median()
print(f"continuity equation: {true:.0e} for the oracle, {off:.2f} for a field 5 % too strong")

# The optimum of a finite training set knows nothing else: what it samples are the training events.
digits = pf.data.digits().train_batch(pf.Draw(0))
optimum = models.empirical(digits.x, labels=digits.context)
threes = optimum.sample(16, context=torch.full((16,), 3), seed=0)
nearest = torch.cdist(threes.flatten(1), digits.x.flatten(1)).min(1)
print(f"optimum of 1,437 digits: its samples lie {nearest.values.max():.3f} or less from a training event")

assert errors["Heun"] < errors["Euler"]
assert error.abs().max() < 0.05
assert true < 1e-9 < 1e-2 < off
assert (digits.context[nearest.indices] == 3).all()

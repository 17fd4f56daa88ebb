"""Reflow: train again on the pairs that a model makes, and its paths straighten.

Straightness 0 means straight lines at constant speed, where one Euler step is exact.
"""

import copy

import pushforward as pf

data = pf.data.gaussian_mixture(n=4_000)
model = pf.Diffusion(pf.nets.MLP(data.shape, hidden=48, layers=2), pf.paths.Linear())
regression = pf.objectives.Regression()
pf.train(model, data, regression, steps=100, ema=0.95, progress=False, device="cpu")

pairs = pf.objectives.pairs(model, 2_000, solver=pf.solvers.Heun(steps=10), seed=0)
straight = copy.deepcopy(model)
pf.train(straight, pairs, regression, steps=100, ema=0.95, progress=False, device="cpu")

bent = {}
for name, each in {"before": model, "after": straight}.items():
    bent[name] = pf.report.straightness(each, pf.solvers.Heun(steps=10), n=128).total
    one = each.sample(256, solver=pf.solvers.Euler(steps=1), seed=1)
    many = each.sample(256, solver=pf.solvers.RK4(steps=10), seed=1)
    print(f"{name:<6}  straightness {bent[name]}   error of one Euler step {(one - many).norm(dim=1).mean():.3f}")
assert bent["after"].value < bent["before"].value / 2

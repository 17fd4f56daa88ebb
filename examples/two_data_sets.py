"""From one data set to another: a rectified flow that starts from rows, not from noise, and is straightened by reflow.

Eight Gaussians are carried to two moons. Rows of both are paired at random; the pairs of reflow are rows of the source
and where the flow carries them, which one Euler step then nearly reaches. On the command line the first half is
`pushforward train moons --source eight_gaussians`.
"""

import copy

import pushforward as pf

moons, gaussians = pf.data.moons(), pf.data.eight_gaussians()
rows = moons.scaling.to_model(gaussians.values)  # both in one unit
fresh = moons.scaling.to_model(gaussians.held_out[:1_000])
held_out = moons.scaling.to_model(moons.held_out[:1_000])

model = pf.Diffusion(pf.nets.MLP(moons.shape, hidden=64, layers=3), base=pf.models.Rows.of(rows))
often = {"steps": 300, "ema": 0.98, "progress": False, "device": "cpu"}
pf.train(model, moons, pf.objectives.Regression(), **often)

walk, leap = pf.solvers.Heun(steps=10), pf.solvers.Euler(steps=1)
pairs = pf.objectives.pairs(model, 10_000, walk, seed=0)
straight = copy.deepcopy(model)
pf.train(straight, pairs, pf.objectives.Regression(), **often)

far = {}
for name, each in {"source": None, "flow": model, "after reflow": straight}.items():
    for solver in (walk, leap) if each else ("nothing done",):
        x = each.decode(fresh, solver=solver) if each else fresh
        far[name, solver] = pf.report.energy_distance(x, held_out).value
        print(f"{name:<13} {solver!s:<36} energy distance {far[name, solver]:.4f}")
assert far["after reflow", walk] < far["source", "nothing done"] / 20
assert far["after reflow", leap] < far["flow", leap] / 5

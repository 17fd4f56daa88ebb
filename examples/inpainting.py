"""Inpainting by `send`: a sampler is a generator, and whoever iterates it may edit the sample in flight.

The points lie on a circle. We insist that the first coordinate is 0.6 and leave the second free: after each step
the known coordinate is put back, noised to the time of the state. What comes out lies on the circle.
"""

import torch

import pushforward as pf

turns = torch.rand(4_000, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
data = pf.data.from_array(torch.stack([turns.cos(), turns.sin()], 1), name="circle")
model = pf.Diffusion(pf.nets.MLP(data.shape, hidden=64, layers=2), pf.paths.Linear())
pf.train(model, data, pf.objectives.Regression(), steps=400, ema=0.98, progress=False, device="cpu")

known = data.scaling.to_model(torch.tensor([[0.6, 0.0]])).float().expand(200, 2)
free = torch.tensor([False, True])
noise = model.noise(200, seed=1)

trajectory = model.trajectory(200, solver=pf.solvers.Heun(steps=50), seed=1)
state = next(trajectory)
while True:
    there = model.path.mix(known, noise, state.t)
    edited = torch.where(free, state.x, there)
    try:
        state = trajectory.send(edited)
    except StopIteration as stop:
        x = data.scaling.to_values(stop.value)
        break

radius = x.norm(dim=1)
print(f"first coordinate: {x[:, 0].mean():.3f} (asked for 0.600)")
print(f"second: {x[x[:, 1] > 0, 1].median():+.2f} or {x[x[:, 1] < 0, 1].median():+.2f} (the circle says +-0.80)")
print(f"median distance from the circle: {(radius - 1).abs().median():.3f}")
assert (x[:, 0] - 0.6).abs().max() < 1e-4
assert 0.2 < (x[:, 1] > 0).float().mean() < 0.8
assert (radius - 1).abs().median() < 0.15

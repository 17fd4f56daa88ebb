"""One model, any path and any prediction: `model.on` needs no training, and the samples stay the same.

The model predicts the velocity of straight lines (flow matching); seen on the cosine path it is a DDPM that
predicts the noise. Both follow the same curves, at another speed and scale.
"""

import torch

import pushforward as pf

data = pf.data.eight_gaussians(n=4_000)
model = pf.Diffusion(pf.nets.MLP(data.shape, hidden=64, layers=2), pf.paths.Linear(), pf.paths.velocity)
pf.train(model, data, pf.objectives.Regression(), steps=150, batch=256, ema=0.9, progress=False, device="cpu")

moved = model.on(pf.paths.Cosine(), pf.paths.eps)
solver = pf.solvers.RK4(steps=100)
ours = model.sample(256, solver=solver, seed=0)
theirs = moved.sample(256, solver=solver, seed=0)
difference = (ours - theirs).abs().mean().item()
print(f"trained as: velocity on {model.path}")
print(f"used as:    {moved.prediction.name} on {moved.path}")
print(f"mean difference of the samples: {difference:.4f} (their spread is {ours.std().item():.2f})")
assert difference < 0.02

t = torch.full((256,), 0.5)
there = moved.path.coefficients(t)
same = model.path.time_at(there.alpha, there.sigma)
scale = torch.hypot(there.alpha, there.sigma) / torch.hypot(*model.path.coefficients(same)[:2])
there_x0 = moved.denoiser(ours * scale[:, None], t)
gap = (model.denoiser(ours, same) - there_x0).abs().max().item()
print(f"largest difference of E[x0 | x_t] at one signal-to-noise ratio: {gap:.1e}")
assert gap < 1e-3

"""A path of your own: two functions of t. Derivatives, targets, samples and conversions follow from them.

This one bends: alpha = 1 - t^2, sigma = t (2 - t), so that noise comes early.
"""

import torch

import pushforward as pf

path = pf.paths.Custom(alpha=lambda t: 1 - t**2, sigma=lambda t: t * (2 - t))
t = torch.tensor([0.25, 0.5, 0.75])
c = path.coefficients(t)
print("alpha'", c.alpha_dot.tolist(), " sigma'", c.sigma_dot.tolist())
assert torch.allclose(c.alpha_dot, -2 * t)
assert torch.allclose(c.sigma_dot, 2 - 2 * t)

data = pf.data.gaussian_mixture(n=4_000)
model = pf.Diffusion(pf.nets.MLP(data.shape, hidden=64, layers=2), path, pf.paths.v)
pf.train(model, data, pf.objectives.Regression(), steps=120, ema=0.95, progress=False, device="cpu")

x = model.sample(1_000, solver=pf.solvers.Heun(steps=10), seed=0)
left, right = x[x[:, 0] < 0], x[x[:, 0] >= 0]
print(f"{len(left)} samples around {left.mean(0).tolist()}, {len(right)} around {right.mean(0).tolist()}")
print("the data: half around (-2, 0), half around (2, 0)")
assert abs(len(left) - 500) < 100
assert (left.mean(0) - torch.tensor([-2.0, 0.0])).norm() < 0.3
assert (right.mean(0) - torch.tensor([2.0, 0.0])).norm() < 0.3

straight = model.on(pf.paths.Linear(), pf.paths.velocity)
same = straight.sample(1_000, solver=pf.solvers.RK4(steps=20), seed=0)
gap = (same - model.sample(1_000, solver=pf.solvers.RK4(steps=20), seed=0)).abs().mean().item()
print(f"on straight lines instead, the same samples to {gap:.4f}")
assert gap < 0.05

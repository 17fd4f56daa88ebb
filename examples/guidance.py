"""Guidance: the same network pushed further towards a class, or towards a measurement, as a model like any other.

One network learns two moons with their classes, a tenth of which are hidden from it. Around it go classifier-free
guidance, and the posterior given that the first coordinate was measured.
"""

import torch

import pushforward as pf
from pushforward import models

angle = torch.rand(4_000, generator=torch.Generator().manual_seed(0)) * torch.pi
side = torch.arange(4_000) % 2
moons = torch.stack([angle.cos() + side - 0.5, angle.sin() * (1 - 2 * side) + 0.25 * side], 1)
moons = moons + 0.1 * torch.randn(4_000, 2, generator=torch.Generator().manual_seed(1))
hidden = torch.rand(4_000, generator=torch.Generator().manual_seed(2)) < 0.1
labels = torch.where(hidden, 2, side)  # index `classes` means "no class"

torch.manual_seed(0)
net = pf.nets.MLP((2,), hidden=64, layers=3, classes=2)
model = pf.Diffusion(net, pf.paths.Linear(), pf.paths.velocity)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for step in range(800):
    rows = pf.Draw(0, "rows", step).integers(256, len(moons))
    batch = pf.data.Batch(moons[rows], labels[rows])
    optimizer.zero_grad()
    pf.objectives.Regression()(model, batch, pf.Draw(0, "train", step)).mean().backward()
    optimizer.step()
model.eval()

upper = torch.zeros(1_000, dtype=torch.long)
print("scale   median distance to the asked moon   spread along it")
far = {}
for scale in (0.0, 1.0, 3.0):
    x = models.guided(model, scale, interval=(0.1, 0.9)).sample(1_000, context=upper, seed=0)
    ring = ((x - torch.tensor([-0.5, 0.0])).norm(dim=1) - 1).abs()
    far[scale] = ring.median().item()
    print(f"{scale:5.1f} {far[scale]:20.3f} {x[:, 0].std():31.3f}")

seen = models.Measurement.masked(torch.tensor([True, False]), torch.tensor([-0.5, 0.0]), std=0.05)
given = models.posterior(model, seen)
x = given.sample(1_000, context=upper, seed=0)
print(f"first coordinate measured as -0.50 +- 0.05: {x[:, 0].mean():+.2f} +- {x[:, 0].std():.2f}")
print(f"second: {x[:, 1].median():.2f} (the top of the upper moon is at 1.00)")

assert far[1.0] < far[0.0]
assert abs(x[:, 0].mean() + 0.5) < 0.1
assert abs(x[:, 1].median() - 1) < 0.2

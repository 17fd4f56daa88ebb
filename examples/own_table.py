"""Your own CSV, end to end: open it, train, sample, and get rows in the units of the file.

The file is made here: heights in cm and weights in kg that rise together. Replace it by yours.
"""

import random
import tempfile
from pathlib import Path

import torch

import pushforward as pf

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "people.csv"
    chance = random.Random(0)
    heights = [chance.gauss(170, 8) for _ in range(2_000)]
    lines = [f"{h:.1f},{0.9 * h - 83 + chance.gauss(0, 5):.1f}" for h in heights]
    file.write_text("\n".join(["height,weight", *lines]) + "\n", encoding="utf-8")

    data = pf.data.open_data(file)
    print(data)

model = pf.Diffusion(pf.nets.MLP(data.shape, hidden=64, layers=2))
pf.train(model, data, pf.objectives.Regression(), steps=300, ema=0.98, progress=False, device="cpu")

rows = data.scaling.to_values(model.sample(2_000, solver=pf.solvers.Heun(steps=10), seed=0).double())
for name, theirs, ours in zip(data.columns, data.held_out.mean(0), rows.mean(0)):
    print(f"mean {name}: held-out rows {theirs:.1f}, samples {ours:.1f}")
correlation = torch.corrcoef(data.held_out.T)[0, 1].item(), torch.corrcoef(rows.T)[0, 1].item()
print(f"correlation: held-out rows {correlation[0]:.2f}, samples {correlation[1]:.2f}")
assert torch.allclose(rows.mean(0), data.held_out.double().mean(0), rtol=0, atol=2.0)
assert abs(correlation[0] - correlation[1]) < 0.1

"""Eight gaussians to two moons, each moon a class: what optimal transport with and without care for classes does.

    python benchmarks/couplings.py [steps] [seeds]

Three couplings of the same source and data train the same network: independent, optimal over the whole batch (labels
follow the data, as minibatch optimal transport is commonly used), and `OptimalTransport`, which matches each class
alone. Then each class is sampled from the whole source with 1, 2 and 100 Euler steps: exact W2 to fresh points of its
moon, 1,000 against 1,000, the worse of the two classes. The floor is W2 between two fresh sets of a moon.
"""

import statistics
import sys
from dataclasses import dataclass

import ot
import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import Context, Sample
from pushforward.data.batch import Batch
from pushforward.models import Diffusion
from pushforward.nets import MLP
from pushforward.objectives import Regression
from pushforward.paths import Coupling, OptimalTransport, Source
from pushforward.solvers import Euler


@dataclass(frozen=True)
class Careless(Coupling):
    """A coupling that is not shown the classes."""

    coupling: Coupling

    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        return self.coupling.pair(x0, None, draw)


def blobs(n: int, draw: Draw) -> Tensor:
    """Eight of them on a circle of radius 4, std 0.3."""
    angle = draw.of("blob").integers(n, 8) * (torch.pi / 4)
    return 4 * torch.stack([angle.cos(), angle.sin()], 1) + 0.3 * draw.of("in").normal(n, (2,))


def moons(n: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Points of the two half circles in the source's frame, and which they are on."""
    label, turn = draw.of("moon").integers(n, 2), torch.pi * draw.of("turn").uniform(n)
    sign = 1.0 - 2 * label
    circle = torch.stack([turn.cos() * sign + label, turn.sin() * sign + 0.5 * label], 1)
    noise = 0.1 * draw.of("noise").normal(n, (2,))
    return 3 * (circle + noise - torch.tensor([0.5, 0.25])), label


def w2(x: Tensor, y: Tensor) -> float:
    """The exact distance of two sets of equal size."""
    return ot.emd2([], [], torch.cdist(x.double(), y.double()).square().numpy(), numItermax=10**7) ** 0.5


def trained(coupling: Coupling, steps: int, seed: int) -> Diffusion:
    """The same network and batches, whatever the coupling."""
    torch.manual_seed(seed)
    model, objective = Diffusion(MLP((2,), hidden=64, layers=3, classes=2)), Regression(coupling=coupling)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        batch = Batch(*moons(256, Draw(seed, "data", step)))
        objective(model, batch, Draw(seed, "train", step)).mean().backward()
        optimizer.step()
        schedule.step()
    return model


def errors(model: Diffusion, seed: int, n: int = 1000) -> list[float]:
    """W2 of the worse class after 1, 2 and 100 steps."""
    x, label = moons(3 * n, Draw(seed, "fresh"))
    start = blobs(n, Draw(seed, "start"))
    classes = [(torch.full((n,), moon), x[label == moon][:n]) for moon in (0, 1)]
    solvers = [Euler(steps=steps) for steps in (1, 2, 100)]
    with torch.no_grad():
        return [max(w2(model.decode(start, each, solver), y) for each, y in classes) for solver in solvers]


def main(steps: int = 1500, seeds: int = 2) -> None:
    source = Source(blobs)
    couplings = {
        "independent": source,
        "optimal, classes mixed": Careless(OptimalTransport(source=source)),
        "optimal within classes": OptimalTransport(source=source),
    }
    (x, label), (y, other) = moons(3000, Draw(0, "floor")), moons(3000, Draw(1, "floor"))
    floor = max(w2(x[label == moon][:1000], y[other == moon][:1000]) for moon in (0, 1))
    print(f"W2 of the worse class, mean over {seeds} seeds (each); floor {floor:.3f}\n")
    print(f"{'coupling':24} {'1 step':>20} {'2 steps':>20} {'100 steps':>20}")
    for name, coupling in couplings.items():
        rows = [errors(trained(coupling, steps, seed), seed) for seed in range(seeds)]
        cells = [f"{statistics.mean(c):.3f} ({', '.join(f'{v:.2f}' for v in c)})" for c in zip(*rows)]
        print(f"{name:24} " + " ".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""The smallest model, data and objective that keep their contracts: points on a circle, a net."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models.base import Normal
from pushforward.models.model import Model


class Straight(Model):
    """A velocity field; only what training touches is real."""

    def __init__(self, hidden: int = 16, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.base = Normal((2,))
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(3, hidden), nn.Dropout(dropout), nn.SiLU()),
                nn.Sequential(nn.Linear(hidden, hidden), nn.Dropout(dropout), nn.SiLU()),
            ]
        )
        self.leave = nn.Linear(hidden, 2)
        with torch.no_grad():
            for i, (_, p) in enumerate(sorted(self.named_parameters())):
                g = torch.Generator().manual_seed(1000 * seed + i)
                p.copy_(torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        h = torch.cat([x, t[:, None].to(x)], 1)
        for block in self.blocks:
            h = block(h)
        return self.leave(h)

    def decoding(self, z, context=None, solver=None):
        yield from ()
        return z

    def encode(self, x, context=None, solver=None):
        return x

    def encode_and_ladj(self, x, context=None, solver=None):
        return x, torch.zeros(len(x))

    def decode_and_ladj(self, z, context=None, solver=None):
        return z, torch.zeros(len(z))


@dataclass(frozen=True)
class Circle:
    """Noisy points on a circle, in epochs of `rows` keyed by the draw; `poison` is a step with a NaN."""

    rows: int = 100
    name: str = "circle"
    poison: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        angle = torch.arange(self.rows) * (2 * torch.pi / self.rows)
        points = torch.stack([angle.cos(), angle.sin()], 1)
        low, high = size * rank // world, size * (rank + 1) // world
        step, orders = start, {}
        while True:
            rows = []
            for position in range(step * size + low, step * size + high):
                epoch = position // self.rows
                if epoch not in orders:
                    orders = {epoch: draw.of("order").at(epoch).permutation(self.rows).tolist()}
                rows.append(orders[epoch][position % self.rows])
            noise = replace(draw.of("noise").at(step), first=low).normal(high - low, (2,))
            x = points[rows] + 0.05 * noise
            if step == self.poison and low == 0:
                x[1] = torch.nan
            yield Batch(x)
            step += 1


def flow_matching(model: Straight, batch: Batch, draw: Draw) -> Tensor:
    """Per-sample losses of the straight path."""
    n = len(batch)
    t, eps = draw.of("t").uniform(n), draw.of("eps").normal(n, batch.x.shape[1:])
    x_t = (1 - t)[:, None] * batch.x + t[:, None] * eps
    return (model.velocity(x_t, t) - (eps - batch.x)).square().mean(1)

"""The complete step against a naive bare loop, on models small enough for the loop itself to matter.

    python benchmarks/training.py [rounds]

Complete: fused AdamW, clipping, averaged weights, a finite check before every update, draws that are
functions of the step, logging every 50 steps. Naive: plain AdamW and torch's global generator, nothing else.
Both index the same points and compute the same loss. Rounds alternate; thread CPU time; median and quartiles.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.training import Settings
from pushforward.training.distributed import World
from pushforward.training.engine import Engine
from pushforward.training.loop import Loop
from pushforward.training.memory import frozen_heap
from pushforward.training.progress import Progress
from pushforward.training.signals import StopNote


class Net(nn.Module):
    """An MLP over a point and its time."""

    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [features, *[hidden] * layers]
        pairs = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*pairs, nn.Linear(hidden, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class Points:
    """Rows of a table, indexed in memory, shuffled anew every epoch."""

    rows: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.rows.shape[1:])

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        n, step, known, order = len(self.rows) // size, start, -1, torch.empty(0)
        while True:
            if step // n != known:
                known = step // n
                order = draw.at(known).permutation(len(self.rows))
            low = step % n * size
            yield Batch(self.rows[order[low : low + size]])
            step += 1


def loss_of(model: nn.Module, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Flow matching without the time as an input: the cheapest objective there is."""
    x_t = torch.lerp(x, eps, t[:, None])
    return (model(x_t) - (eps - x)).square().mean(1)


def objective(model: nn.Module, batch: Batch, draw: Draw) -> Tensor:
    """The same with counted noise."""
    n = len(batch)
    return loss_of(model, batch.x, draw.of("t").uniform(n), draw.of("eps").normal(n, batch.x.shape[1:]))


def naive(model: nn.Module, data: Points, batch: int) -> Callable[[int], float]:
    """The loop everybody writes first."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def run(steps: int) -> float:
        began = time.thread_time()
        for _ in range(steps):
            x = data.rows[torch.randint(len(data.rows), (batch,))]
            loss = loss_of(model, x, torch.rand(batch), torch.randn_like(x)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (time.thread_time() - began) / steps

    return run


def complete(model: nn.Module, data: Points, batch: int) -> Callable[[int], float]:
    """This library's loop, from batch to log, without its set-up and its end."""
    world = World(torch.device("cpu"))
    settings = Settings(batch=batch, steps=10**9, device="cpu", checkpoint_every=0)
    loop = Loop(Engine(model, objective, settings, world), data, settings, world, None, StopNote())

    def run(steps: int) -> float:
        loop.settings = replace(settings, steps=loop.start + steps)
        with Progress(10**9, 0, shown=False) as progress, frozen_heap():
            began = time.thread_time()
            loop._steps(progress)
            loop.start += steps
            return (time.thread_time() - began) / steps

    return run


def main(rounds: int) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    cases = {"2-64-64-2, batch 128": (2, 64, 2, 128, 100), "0.5 M weights, batch 256": (64, 450, 3, 256, 20)}
    print(f"torch {torch.__version__}, 1 thread, {rounds} interleaved rounds; microseconds per step")
    print(f"{'':26}{'naive':>20}{'complete':>20}{'ratio':>16}")
    for name, (features, hidden, layers, batch, steps) in cases.items():
        data = Points(torch.randn(10_000, features))
        runs = [make(Net(features, hidden, layers), data, batch) for make in (naive, complete)]
        times: list[list[float]] = [[], []]
        for run in runs:
            run(steps)
        for _ in range(rounds):
            for run, kept in zip(runs, times):
                kept.append(1e6 * run(steps))
        ratios = [b / a for a, b in zip(*times)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        cells = [f"{statistics.median(kept):.0f} ({min(kept):.0f}-{max(kept):.0f})" for kept in times]
        print(f"{name:26}{cells[0]:>20}{cells[1]:>20}{f'{middle:.2f} ({low:.2f}-{high:.2f})':>18}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)

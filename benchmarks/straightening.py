"""Straight flows in the plane: independent pairs, optimal transport, and reflow, at 1, 2, 5 and 100 Euler steps.

    python benchmarks/straightening.py [--seeds 0 1 2 3 4] [--steps 6000] [--tasks ...] [--flows ...] [--out FILE.json]

The protocol of torchcfm's two-dimensional experiments (Tong et al. 2023, arXiv 2302.00482): a source, a target, a small
network, minibatches of 256; here without noise on the lines. Distributions: eight gaussians of standard deviation 0.56
on a circle of radius 5, two moons 3 (x + 0.2 noise) - 1, a normal, and an S of 1.5 by 3 with noise 0.1 (all below).

    independent, optimal     one flow each
    optimal, 4096            as optimal, but 32,768 pairs are matched beforehand, 4,096 at once, and times lean towards
                             noise, where the one step starts: LogitNormal(1.5, 2.5), chosen on seed 0 of the first task
    optimal, even            the same of points that fill both distributions evenly (Sobol'), whose plans differ little
                             from the plan of the whole, and twice the updates with a falling rate; chosen on seed 0
    optimal, edges           that by the pseudo-Huber loss (c = 0.07), which leaves edges where plans tear the source,
                             at three times the rate, with four times the updates of four times the batch and still
                             nearer to noise, LogitNormal(6, 6); chosen on seeds 0 to 2 of the last task
    optimal, by cells        trained as optimal, edges, but each of 2**19 points of the source goes to the point of the
                             data in whose cell it lies: by the potentials of one plan of 32,768 by 32,768 even points,
                             which hold for all others (semi-discrete transport: Mousavi-Hosseini et al. 2025, arXiv
                             2509.25519). No two pairs disagree then, so that some may be drawn more often: a tenth of
                             all draws lies beside tears. Chosen on seed 3 of the last task
    reflow k                 the independent flow trained again on pairs of its own, k times
    reflow k, real           half of those pairs start from real data, the other half from the real source

W2 is exact, between 2,000 of the flow's ends and 2,000 of the target, both stratified (Sobol' points), the mean of five
such pairs of sets: 10,000 points. (--sets 1 --points 10000 is one pair of 10,000, five seconds a distance.) The floor
is W2 between two sets of the target. Straightness is E int |x1 - x0 - v|**2 dt, the energy's excess
|E int |v|**2 dt - W2(source, target)**2| / W2(source, target)**2.
Cells already in FILE.json are not made again. One thread.
"""

import argparse
import functools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from exact_transport import solved, squared_w2, tightest
from torch import Tensor

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.models import Diffusion, FromTorch
from pushforward.nets import MLP
from pushforward.objectives import Pairs, Regression, matched
from pushforward.paths import Coupling, LogitNormal, OptimalTransport, Source, TimeDistribution, Uniform
from pushforward.report import straightness
from pushforward.solvers import Euler, Heun
from pushforward.training import train

SETS, POINTS, STEPS, PAIRS = 5, 2_000, (1, 2, 5, 100), 32_768
GENERATIONS: Final = ("reflow 1", "reflow 2", "reflow 1, real", "reflow 2, real")
MATCHED: Final = ("optimal, 4096", "optimal, even", "optimal, edges")
FLOWS: Final = ("independent", "optimal", *MATCHED, "optimal, by cells", *GENERATIONS)
EVEN: Final[dict[str, dict[str, Any]]] = {
    "optimal, even": {"longer": 2, "schedule": "cosine"},
    "optimal, edges": {
        "longer": 4,
        "batch": 1024,
        "schedule": "cosine",
        "huber": 0.07,
        "lr": 6e-3,
        "times": LogitNormal(6.0, 6.0),
    },
}
Places = Callable[[Tensor], Tensor]
"""Points of a distribution from uniforms, [n, 4] -> [n, 2]."""


def blobs(u: Tensor) -> Tensor:
    """Eight gaussians."""
    angle = (8 * u[:, 0]).floor() * (math.pi / 4)
    return 5 * torch.stack([angle.cos(), angle.sin()], 1) + 0.1**0.25 * normal(u)


def moons(u: Tensor) -> Tensor:
    """Two half circles."""
    side, turn = (2 * u[:, 0]).floor(), math.pi * u[:, 1]
    sign = 1 - 2 * side
    line = torch.stack([turn.cos() * sign + side, turn.sin() * sign + 0.5 * side], 1)
    return 3 * (line + 0.2 * normal(u)) - 1


def normal(u: Tensor) -> Tensor:
    """The standard normal."""
    return math.sqrt(2) * torch.erfinv((2 * u[:, 2:] - 1).clamp(-1 + 1e-7, 1 - 1e-7))


def curve(u: Tensor) -> Tensor:
    """An S."""
    t = 3 * math.pi * (u[:, 0] - 0.5)
    return 1.5 * (torch.stack([t.sin(), t.sign() * (t.cos() - 1)], 1) + 0.1 * normal(u))


TASKS: dict[str, tuple[Places, Places]] = {
    "8 gaussians to moons": (blobs, moons),
    "normal to moons": (normal, moons),
    "normal to 8 gaussians": (normal, blobs),
    "normal to S": (normal, curve),
}


@dataclass(frozen=True)
class Fresh:
    """A data set without end."""

    places: Places
    shape: tuple[int, ...] = (2,)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Fresh points for each step."""
        step = start
        while True:
            yield Batch(self.places(draw.of("fresh").at(step).uniform(size, (4,))))
            step += 1


def stratified(places: Places, seed: int, sets: int, points: int) -> list[Tensor]:
    """Sets of points, each of which fills the distribution evenly."""
    engines = (torch.quasirandom.SobolEngine(4, scramble=True, seed=1000 * seed + i) for i in range(sets))
    return [places(engine.draw(points)) for engine in engines]


def least_energy(x: Tensor, y: Tensor) -> float:
    """Of any transport from one set to the other, W2 squared."""
    return squared_w2(x.double().numpy(), y.double().numpy())


def w2(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> float:
    """The mean over pairs of sets."""
    return statistics.mean(least_energy(x, y) ** 0.5 for x, y in zip(xs, ys))


def flow(source: Places) -> Diffusion:
    """The same network for all."""
    base = None
    if source is blobs:
        angle = torch.arange(8) * (math.pi / 4)
        each = torch.distributions.Normal(5 * torch.stack([angle.cos(), angle.sin()], 1), 0.1**0.25)
        parts = torch.distributions.Independent(each, 1)
        base = FromTorch(torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(8)), parts))
    return Diffusion(MLP((2,), hidden=64, layers=3), base=base)


def fitted(
    model: Diffusion, data: object, coupling: Coupling, steps: int, seed: int, times: TimeDistribution | None = None,
    schedule: Literal["constant", "cosine"] = "constant", huber: float | None = None, lr: float = 2e-3,
    longer: int = 1, batch: int = 256,
) -> Diffusion:  # fmt: skip
    """The model, trained."""
    objective = Regression(times or Uniform(), coupling, huber=huber)
    train(
        model, data, objective, steps=longer * steps, batch=batch, lr=lr, ema=0.999,
        clip=0.0, schedule=schedule, seed=seed, progress=False, threads=1,
    )  # fmt: skip
    return model


def best_of_many(name: str, source: Places, target: Places, independent: Coupling, steps: int, seed: int) -> Diffusion:
    """The flow of pairs matched 4,096 at once, of points as they fall or of even ones, by the square or with edges."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = flow(source)
    x, ends = target(Draw(seed, "matched").uniform(PAIRS, (4,))), independent
    if name in EVEN:
        (x,), (eps,) = stratified(target, 50 + seed, 1, PAIRS), stratified(source, 60 + seed, 1, PAIRS)
        ends = Source(lambda n, draw: eps[n * draw.step :][:n])
    pairs = matched(x, OptimalTransport(source=ends, iterations=10**7), seed, among=4096)
    return fitted(model, pairs, independent, steps, seed, **{"times": LogitNormal(1.5, 2.5), **EVEN.get(name, {})})


def best_of_cells(source: Places, target: Places, independent: Coupling, steps: int, seed: int) -> Diffusion:
    """The flow of points that go to the data of their cells, those beside a tear drawn more often."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = flow(source)
    (x,), (eps,) = stratified(target, 50 + seed, 1, PAIRS), stratified(source, 60 + seed, 1, PAIRS)
    y = x.double().numpy()
    v = solved(eps.double().numpy(), y, allowed_breaks=20)[2]
    (eps,) = stratified(source, 70 + seed, 1, 2**19)
    index, left = tightest(eps.double().numpy(), y, v, 24)
    jump = np.linalg.norm(y[index] - y[index[:, :1]], axis=2)
    away = np.where(jump > 0.5, (left - left[:, :1]) / (2 * jump.clip(0.5)), np.inf).min(1)
    torn = np.flatnonzero(away < 0.05)
    rows, draw = torch.arange(len(eps)), torch.Generator().manual_seed(seed)
    if len(torn):
        often = torch.from_numpy(1 / (away[torn] + 0.002))
        rows = torch.cat([rows, torch.from_numpy(torn)[often.multinomial(len(eps) // 9, True, generator=draw)]])
    rows = rows[torch.randperm(len(rows), generator=draw)]
    pairs = Pairs(x[torch.from_numpy(index[:, 0])][rows], eps[rows])
    return fitted(model, pairs, independent, steps, seed, **EVEN["optimal, edges"])


@torch.no_grad()
def paired(model: Diffusion, source: Places, target: Places, real: bool, seed: int, n: int = 20_000) -> Pairs:
    """What the flow carries where; half of it backwards from real data, if wanted."""
    eps = source(Draw(seed, "pairs/source").uniform(n, (4,)))
    pairs = Pairs(model.decode(eps, solver=Heun(steps=50)), eps)
    if not real:
        return pairs
    x = target(Draw(seed, "pairs/target").uniform(n, (4,)))
    return pairs + Pairs(x, model.encode(x, solver=Heun(steps=50)))


@functools.cache
def bounds(source: Places, target: Places, seed: int, size: tuple[int, int]) -> tuple[float, float]:
    """What the flows are held against: W2 between two sets of the target, and the least energy of any transport."""
    starts, ends, seen = (
        stratified(places, first + seed, *size) for places, first in ((source, 10), (target, 20), (target, 30))
    )
    return w2(seen, ends), statistics.mean(least_energy(x, y) for x, y in zip(starts, ends))


def figures(model: Diffusion, source: Places, target: Places, seed: int, size: tuple[int, int]) -> dict[str, float]:
    """W2 at each number of steps, straightness, excess energy; `size` is (sets, points of each)."""
    starts, ends = stratified(source, 10 + seed, *size), stratified(target, 20 + seed, *size)
    found: dict[str, float] = {}
    with torch.no_grad():
        for steps in STEPS:
            found[f"w2 {steps}"] = w2([model.decode(x, solver=Euler(steps=steps)) for x in starts], ends)
    found["floor"], least = bounds(source, target, seed, size)
    bend = straightness(model, Heun(steps=100), n=POINTS, seed=seed, chunk=POINTS)
    found["straightness"], found["transport"] = bend.total.value, bend.transport.value
    energy = bend.total.value + bend.transport.value
    found["excess"] = abs(energy - least) / least
    return found


def rows(
    task: str, steps: int, seed: int, wanted: set[str], size: tuple[int, int]
) -> Iterator[tuple[str, dict[str, float]]]:
    """The figures of the flows that are wanted, and of those that had to be made for them."""
    source, target = TASKS[task]

    def fresh(n: int, draw: Draw) -> Tensor:
        return source(draw.uniform(n, (4,)))

    torch.manual_seed(seed)
    data, independent = Fresh(target), Source(fresh)
    if "optimal" in wanted:
        best = fitted(flow(source), data, OptimalTransport(source=independent), steps, seed)
        yield "optimal", figures(best, source, target, seed, size)
    for name in MATCHED:
        if name in wanted:
            best = best_of_many(name, source, target, independent, steps, seed)
            yield name, figures(best, source, target, seed, size)
    if "optimal, by cells" in wanted:
        best = best_of_cells(source, target, independent, steps, seed)
        yield "optimal, by cells", figures(best, source, target, seed, size)
    if not wanted & {"independent", *GENERATIONS}:
        return
    first = fitted(flow(source), data, independent, steps, seed)
    yield "independent", figures(first, source, target, seed, size)
    for real in (False, True):
        model = first
        for k in (1, 2):
            pairs = paired(model, source, target, real, 100 * seed + k)
            again = flow(source)
            again.load_state_dict(model.state_dict())
            model = fitted(again, pairs, independent, steps, seed + k)
            yield f"reflow {k}{', real' if real else ''}", figures(model, source, target, seed, size)


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown: mean and standard deviation over the seeds."""
    names = [*(f"w2 {steps}" for steps in STEPS), "floor", "straightness", "excess", "transport"]
    lines = ["| task | flow | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for task in TASKS:
        for method in FLOWS:
            cells = [value for key, value in found.items() if key.startswith(f"{task} | {method} | ")]
            if not cells:
                continue
            texts = []
            for name in names:
                values = [cell[name] for cell in cells]
                spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
                texts.append(f"{statistics.mean(values):.3g}{spread}")
            lines.append(f"| {task} | {method} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--flows", nargs="+", choices=FLOWS, default=FLOWS)
    parser.add_argument("--sets", type=int, default=SETS, help="pairs of sets that W2 is the mean of")
    parser.add_argument("--points", type=int, default=POINTS, help="points of each set")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="one task, one seed, 300 steps")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.seeds, options.steps = ["normal to moons"], [0], 300
    torch.set_num_threads(1)
    file: Path | None = options.out
    found = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.exists() else {}
    for seed in options.seeds:
        for task in options.tasks:
            wanted = {name for name in options.flows if f"{task} | {name} | {seed}" not in found}
            for method, cell in rows(task, options.steps, seed, wanted, (options.sets, options.points)):
                found[f"{task} | {method} | {seed}"] = cell
                print(task, method, seed, {k: round(v, 4) for k, v in cell.items()}, flush=True)
                if file is not None:
                    file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()

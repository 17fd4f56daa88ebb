"""Every few-step recipe on the same network, data and budget: how good are 1, 2 and 4 network calls?

    python benchmarks/few_steps.py [--data digits|PATH] [--seeds 0 1 2] [--recipes mean_flow shortcut ...]
                                   [--steps 1000] [--teacher-steps 2000] [--patch 7] [--samples 2000] [--out FOLDER]
                                   [--quick] [--drop]

For each seed a rectified flow is trained (the demonstration's recipe). Every student starts from its weights
(`FlowMap.of`) and gets `steps` updates at the same batch; those called "from scratch" start from nothing and get the
teacher's updates as well. Rows with "slow times" have a teacher of their own, which is told the time in waves of at
most 2 cycles in place of 64. Then 2,000 samples from the same noise are compared with held-out data by the two
distances of the demonstration, lower is better. Seconds are of the processor, in training: updates, and the pairs where
a recipe makes some.

FOLDER holds a run folder for each training and `cells.json`, one cell for each recipe and seed. What is there is not
done again, and a training that was cut short goes on, so the same command continues after any interruption. With --drop
the cells of these recipes and seeds are forgotten and nothing is measured: the command without it then does them again,
from the run folders where they are there. The table, Markdown, is printed and written to `table.md`: means over the
seeds, and half the range.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

import pushforward as pf
from pushforward import _recipe
from pushforward._random import Draw
from pushforward.cli.demo import FLOW, FULL
from pushforward.cli.few_steps import renoise
from pushforward.cli.train import started
from pushforward.models import Diffusion, FlowMap
from pushforward.objectives import (
    Composition,
    DistributionMatching,
    FeatureLoss,
    FlowMapMatching,
    Hidden,
    Objective,
    Pairs,
    Regression,
    Scales,
    Stops,
    few_steps,
    pairs,
    pairs_from,
)
from pushforward.paths import Uniform
from pushforward.report.compare import Samples, compare
from pushforward.solvers import Euler, Heun, Jumps

CALLS = (1, 2, 4)
TEACHER, SLOW = "teacher", ", slow times"
"""The row of the teacher, and how those end whose networks are told the time in slow waves."""


@dataclass(frozen=True)
class Budget:
    """What every recipe gets."""

    data: str = "digits"
    teacher_steps: int = FULL.flow.steps
    steps: int = 1_000
    batch: int = FULL.flow.batch
    samples: int = 2_000
    pairs: int = 16_384
    patch: int | None = None


@dataclass(frozen=True)
class Studio:
    """One seed's teacher, data and budget.

    Args:
        folder: where the run folders are.
        seed: of everything.
        budget: how much of everything.
        data: with labels.
        slow: whether networks are told the time in slow waves.
        clock: processor seconds of training so far, an entry for each part.
    """

    folder: Path
    seed: int
    budget: Budget
    data: pf.data.Dataset
    slow: bool = False
    clock: list[float] = field(default_factory=list)

    @property
    def recipe(self) -> _recipe.Diffusion:
        """The demonstration's network, with patches of the budget's size on other data."""
        net = FLOW.net if self.budget.data == "digits" else replace(FLOW.net, patch=self.budget.patch)
        return replace(FLOW, net=replace(net, fastest=2.0) if self.slow else net)

    def teacher(self) -> Diffusion:
        """The trained flow."""
        model = started(self.recipe, self.data.unlabelled(), self.seed)
        self.train(
            "teacher-slow" if self.slow else "teacher",
            model,
            Regression(),
            self.recipe,
            self.budget.teacher_steps,
            FULL.flow.lr,
        )
        assert isinstance(model, Diffusion)
        return model

    def untrained(self) -> Diffusion:
        """The same network before training."""
        model = started(self.recipe, self.data.unlabelled(), self.seed)
        assert isinstance(model, Diffusion)
        return model

    def student(
        self, name: str, start: Diffusion | FlowMap, objective: Objective, steps: int | None = None,
        source: Pairs | None = None, critic: bool = False, lr: float = 1e-3,
    ) -> FlowMap:  # fmt: skip
        """A flow map that starts from a model and has learned by an objective."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # of what is new in it, the embedding of the second time
            model = FlowMap.of(start, critic, Jumps(renoise=renoise(objective)))
        kind = _recipe.FlowMap(self.recipe.net, critic=model.critic is not None, renoise=renoise(objective))
        self.train(name, model, objective, kind, self.budget.steps if steps is None else steps, lr, source)
        return model

    def train(
        self, name: str, model: pf.models.Model, objective: Objective, recipe: _recipe.Recipe, steps: int, lr: float,
        source: Pairs | None = None,
    ) -> None:  # fmt: skip
        """Train in a run folder of this name, or take what is there."""
        began, kept = time.process_time(), self.folder / name / "cpu_seconds.txt"
        pf.train(
            model, self.data.unlabelled() if source is None else source, objective, run=self.folder / name,
            recipe=recipe, steps=steps, lr=lr, batch=self.budget.batch, betas=(0.9, 0.99), ema=0.995, seed=self.seed,
            progress=False,
        )  # fmt: skip
        before = float(kept.read_text(encoding="utf-8")) if kept.exists() else 0.0
        self.clock.append(before + time.process_time() - began)
        kept.write_text(f"{self.clock[-1]:.2f}", encoding="utf-8")

    def pairs(self, teacher: Diffusion) -> Pairs:
        """Noise and the sample the teacher carries it to; and real events, with the noise it carries them from."""
        begun, count = time.process_time(), min(len(self.data), self.budget.pairs // 8)
        real = self.data.train_batch(Draw(self.seed, "few_steps/real"), count).x.to(teacher.device)
        made = pairs(teacher, self.budget.pairs, Heun(steps=12), self.seed + 1)
        made = made + pairs_from(teacher, real, Heun(steps=12))
        self.clock.append(time.process_time() - begun)
        return made

    @property
    def stage(self) -> int:
        """Steps of one of the eight stages of a shrinking schedule."""
        return max(1, self.budget.steps // 8)


Maker = Callable[[Studio, Diffusion], Mapping[int, FlowMap]]
"""The models to sample with 1, 2 and 4 calls."""


def same(model: FlowMap) -> Mapping[int, FlowMap]:
    """One model for every number of calls."""
    return dict.fromkeys(CALLS, model)


def from_teacher(name: str, objective: Callable[[Studio, Diffusion], Objective]) -> Maker:
    """A student of a recipe that takes the teacher, or its weights alone."""
    return lambda studio, teacher: same(studio.student(name, teacher, objective(studio, teacher)))


def from_scratch(name: str, objective: Callable[[Studio], Objective]) -> Maker:
    """A student that starts untrained, with the teacher's updates besides its own."""

    def make(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
        steps = studio.budget.steps + studio.budget.teacher_steps
        return same(studio.student(name, studio.untrained(), objective(studio), steps))

    return make


def on_pairs(name: str, features: Callable[[Diffusion], FeatureLoss | None], jumps: int = 1) -> Maker:
    """Distillation on pairs (pseudo-Huber) in so many jumps along the line between both; no other number is trained."""

    def make(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
        objective = FlowMapMatching(Composition(1.0, "line"), Stops(jumps), power=0.5, features=features(teacher))
        return {jumps: studio.student(name, teacher, objective, source=studio.pairs(teacher))}

    return make


def progressive(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
    """Stages of 8, 4, 2 and 1 steps, a quarter of the updates each; a call count is sampled with its own stage."""
    stages: dict[int, FlowMap] = {}
    before: Diffusion | FlowMap = teacher
    for steps in (8, 4, 2, 1):
        objective = few_steps.progressive(before, steps)
        name = f"progressive-{steps}"
        before = stages[steps] = studio.student(name, before, objective, studio.budget.steps // 4)
    return {calls: stages[calls] for calls in CALLS}


def scores_alone(jumps: int) -> Maker:
    """Distribution matching from the teacher's weights, anchored to its pairs, in so many jumps."""

    def make(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
        objective = DistributionMatching(teacher, jumps, anchor=1.0)
        return {jumps: studio.student(f"dmd-{jumps}", teacher, objective, None, studio.pairs(teacher), critic=True)}

    return make


def after_consistency(jumps: int) -> Maker:
    """Four fifths of the updates by consistency, once for any number of jumps; the rest on the scores, for this one."""

    def make(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
        rest = studio.budget.steps // 5
        first = studio.budget.steps - rest
        objective = few_steps.consistency(teacher, max(1, first // 8))
        start = studio.student("consistency-then-dmd", teacher, objective, first, critic=True)
        then = DistributionMatching(teacher, jumps)
        return {jumps: studio.student(f"consistency-then-dmd-{jumps}", start, then, rest, lr=1e-4)}

    return make


def after_pairs(studio: Studio, teacher: Diffusion) -> Mapping[int, FlowMap]:
    """Four fifths of the updates on pairs, the rest on the scores, for one call."""
    rest, made = studio.budget.steps // 5, studio.pairs(teacher)
    first = FlowMapMatching(Composition(1.0, "line"), Stops(1), power=0.5)
    start = studio.student("pairs-then-dmd-1", teacher, first, studio.budget.steps - rest, made, critic=True)
    then = DistributionMatching(teacher, anchor=1.0)
    return {1: studio.student("pairs-then-dmd-2", start, then, rest, made, lr=1e-4)}


RECIPES: Mapping[str, Maker] = {
    "mean_flow": from_teacher("mean_flow", lambda s, t: few_steps.mean_flow(t)),
    "mean_flow, uniform": from_teacher("mean_flow-uniform", lambda s, t: few_steps.mean_flow(t, 0.25, Uniform())),
    "mean_flow, data": from_teacher("mean_flow-data", lambda s, t: few_steps.mean_flow()),
    "mean_flow, from scratch": from_scratch("mean_flow-scratch", lambda s: few_steps.mean_flow()),
    "eulerian": from_teacher("eulerian", lambda s, t: few_steps.eulerian(t)),
    "eulerian, slow times": from_teacher("eulerian-slow", lambda s, t: few_steps.eulerian(t)),
    "lagrangian": from_teacher("lagrangian", lambda s, t: few_steps.lagrangian(t)),
    "shortcut": from_teacher("shortcut", lambda s, t: few_steps.shortcut(t)),
    "shortcut, from scratch": from_scratch("shortcut-scratch", lambda s: few_steps.shortcut()),
    "consistency": from_teacher("consistency", lambda s, t: few_steps.consistency(t, s.stage)),
    "consistency, data": from_teacher("consistency-data", lambda s, t: few_steps.consistency(None, s.stage)),
    "continuous": from_teacher("continuous", lambda s, t: few_steps.continuous_consistency(t, 2 * s.stage)),
    "continuous, slow times": from_teacher(
        "continuous-slow", lambda s, t: few_steps.continuous_consistency(t, 2 * s.stage)
    ),
    "continuous, data": from_teacher(
        "continuous-data", lambda s, t: few_steps.continuous_consistency(None, 2 * s.stage)
    ),
    "trajectory": from_teacher("trajectory", lambda s, t: few_steps.consistency_trajectory(t)),
    "direct": from_teacher("direct", lambda s, t: few_steps.direct(t)),
    "progressive": progressive,
    "pairs": on_pairs("pairs", lambda t: None),
    "pairs, 2 jumps": on_pairs("pairs-2", lambda t: None, 2),
    "pairs, 4 jumps": on_pairs("pairs-4", lambda t: None, 4),
    "pairs, scales": on_pairs("pairs-scales", lambda t: Scales()),
    "pairs, hidden": on_pairs("pairs-hidden", Hidden),
    "pairs, then dmd": after_pairs,
    "dmd": scores_alone(1),
    "dmd, 2 jumps": scores_alone(2),
    "dmd, 4 jumps": scores_alone(4),
    "consistency, then dmd": after_consistency(1),
    "consistency, then dmd, 2 jumps": after_consistency(2),
    "consistency, then dmd, 4 jumps": after_consistency(4),
}

TEACHERS = (TEACHER, TEACHER + SLOW)


# the measurement ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One recipe and seed: training seconds, and by calls the two distances (energy, Frechet)."""

    recipe: str
    seed: int
    seconds: float
    calls: Mapping[str, tuple[float, float]]


def measured(studio: Studio, name: str, critic: pf.report.Judge) -> Cell:
    """Train, sample and compare."""
    teacher, n, seed = studio.teacher(), studio.budget.samples, studio.seed
    if name in TEACHERS:
        made = {k: teacher.sample(n, solver=Euler(k), seed=seed) for k in (*CALLS, 50)}
    else:
        studio.clock.clear()  # the teacher has a row of its own
        made = {k: model.sample(n, steps=k, seed=seed) for k, model in RECIPES[name](studio, teacher).items()}
    rows = compare([Samples(str(k), k, x.cpu()) for k, x in made.items()], studio.data, critic)
    found = {row.title: (row.energy.value, row.frechet.value) for row in rows[:-1]}
    return Cell(name, seed, sum(studio.clock), found)


def table(cells: list[Cell]) -> str:
    """The cells as Markdown, means over the seeds."""
    counts = sorted({int(k) for cell in cells for k in cell.calls})
    head = [f"{k} call{'s' if k > 1 else ''}" for k in counts]
    lines = ["| recipe | " + " | ".join(f"energy, {h} | Fréchet, {h}" for h in head) + " | seconds |"]
    lines.append("|---|" + "---|" * (2 * len(counts) + 1))
    for name in dict.fromkeys(cell.recipe for cell in cells):
        mine = [cell for cell in cells if cell.recipe == name]
        columns: list[str] = []
        for k in counts:
            found = [cell.calls[str(k)] for cell in mine if str(k) in cell.calls]
            columns += [spread([each[i] for each in found], digits) for i, digits in ((0, 4), (1, 2))]
        columns.append(f"{statistics.mean(cell.seconds for cell in mine):.0f}")
        lines.append(f"| {name} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def spread(numbers: list[float], digits: int) -> str:
    """The mean and half the range."""
    if not numbers:
        return ""
    mean, half = statistics.mean(numbers), (max(numbers) - min(numbers)) / 2
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(numbers) > 1 else "")


class Cells:
    """What has been measured, in a file that is written whole after every cell."""

    def __init__(self, file: Path, budget: Budget) -> None:
        self.file, self.budget = file, asdict(budget)
        said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"budget": self.budget, "cells": []}
        if asdict(Budget(**said["budget"])) != self.budget:
            raise SystemExit(f"{file} was measured with {said['budget']}. Use another folder for {self.budget}.")
        self.cells = [Cell(**each) for each in said["cells"]]

    def have(self, recipe: str, seed: int) -> bool:
        """Whether this cell is there."""
        return any((cell.recipe, cell.seed) == (recipe, seed) for cell in self.cells)

    def add(self, cell: Cell) -> None:
        """One more."""
        self._write([*self.cells, cell])

    def drop(self, recipes: Collection[str], seeds: Collection[int]) -> int:
        """Forget the cells of these recipes and seeds; how many there were."""
        left = [cell for cell in self.cells if cell.recipe not in recipes or cell.seed not in seeds]
        gone = len(self.cells) - len(left)
        self._write(left)
        return gone

    def _write(self, cells: list[Cell]) -> None:
        self.cells = cells
        text = json.dumps({"budget": self.budget, "cells": [asdict(each) for each in self.cells]}, indent=1)
        part = self.file.with_name(f".{self.file.name}.part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.file)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=[*TEACHERS, *RECIPES], choices=[*TEACHERS, *RECIPES])
    parser.add_argument("--steps", type=int, default=Budget.steps)
    parser.add_argument("--teacher-steps", type=int, default=Budget.teacher_steps)
    parser.add_argument("--samples", type=int, default=Budget.samples)
    parser.add_argument("--pairs", type=int, default=Budget.pairs, help="that the teacher makes for `pairs` and `dmd`")
    parser.add_argument("--patch", type=int, help="pixels a side, not on digits; the network's own choice if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/few_steps"))
    parser.add_argument("--quick", action="store_true", help="seconds, to see that everything runs")
    parser.add_argument("--drop", action="store_true", help="forget the cells of these recipes and seeds, and stop")
    return parser.parse_args()


def main() -> None:
    """Fill the cells that are missing, seed by seed, and print the table."""
    asked = options()
    budget = Budget(
        Path(asked.data).name,
        asked.teacher_steps,
        asked.steps,
        samples=asked.samples,
        pairs=asked.pairs,
        patch=asked.patch,
    )
    seeds, out = asked.seeds, asked.out
    if asked.quick:
        budget, seeds = Budget(budget.data, 20, 8, 32, 100, 64), asked.seeds[:1]
        out = out / "quick"
    out.mkdir(parents=True, exist_ok=True)
    cells = Cells(out / "cells.json", budget)
    if asked.drop:
        print(f"{cells.drop(asked.recipes, seeds)} cells dropped from {cells.file}")
        return
    torch.set_num_threads(1)
    data = pf.data.open_data(asked.data)
    critic = pf.report.judge(data)
    for seed in seeds:
        for name in asked.recipes:
            if not cells.have(name, seed):
                studio = Studio(out / f"seed-{seed}", seed, budget, data, name.endswith(SLOW))
                cell = measured(studio, name, critic)
                cells.add(cell)
                print(f"seed {seed}, {name}: {dict(cell.calls)}, {cell.seconds:.0f} s", flush=True)
    text = table(cells.cells)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    main()

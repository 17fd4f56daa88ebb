"""What the demo found, as values: the table, the verdict, and the page.

Two distances between 2,000 samples and the held-out images, neither of which needs weights from elsewhere: the energy
distance on pixels (a proper metric between distributions, blind to nothing) and the Frechet distance on the features
of a classifier trained here on the training split (what makes a digit a digit). Each stands beside its floor, what as
many real training images get.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pushforward as pf
from pushforward.models import Model
from pushforward.report import Estimate, Facts, Figure, Judge, Page, Section, Table, Text, picture, plots, straightness
from pushforward.report.bits import bits_per_dim
from pushforward.report.compare import Row, Samples, compare
from pushforward.report.page import Cell
from pushforward.report.sections import paths_section, reproduce_section, samples_section
from pushforward.report.straightness import Straightness
from pushforward.solvers import RK4, Euler, Hutchinson

if TYPE_CHECKING:
    from pushforward.data import Dataset
    from pushforward.training import History

PROBES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One model of the demo.

    Args:
        name: what it is called.
        model: the trained model.
        history: how training went.
        calls: numbers of network calls to sample with; none for a chain of transforms.
        scored: held-out images to compute the likelihood of; 0 where the model has none worth the name.
    """

    name: str
    model: Model
    history: "History"
    calls: tuple[int, ...]
    scored: int


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that was measured.

    Args:
        parts: the models.
        data: what they learned from.
        sets: samples, one set per model and number of calls; `rows` has their distances, and last the floor.
        bits: bits per dimension of held-out images, by model.
        seconds: per thousand samples, one per set.
        straight: of the flow before and after reflow.
    """

    parts: tuple[Part, ...]
    data: "Dataset"
    sets: tuple[Samples, ...]
    rows: tuple[Row, ...]
    bits: tuple[Estimate | None, ...]
    seconds: tuple[float, ...]
    straight: tuple[Straightness, Straightness]
    judge: Judge
    seed: int

    @classmethod
    def told(cls, parts: tuple[Part, ...], data: "Dataset", n: int, paths: int, seed: int) -> "Story":
        """Sample, score and measure."""
        judge, sets, seconds = pf.report.judge(data, seed), list[Samples](), list[float]()
        for part in parts:
            for calls in part.calls or (0,):
                begun = time.perf_counter()
                x = part.model.eval().sample(n, solver=Euler(steps=calls) if calls else None, seed=seed)
                seconds.append((time.perf_counter() - begun) * 1000 / n)
                spent = f"{calls} call{'s' if calls > 1 else ''}" if calls else "one pass"
                sets.append(Samples(f"{part.name}, {spent}", calls or 1, x.cpu()))
        before, after = (straightness(_diffusion(part.model), RK4(steps=12), paths, seed) for part in parts[:2])
        bits = tuple(_bits(part, data, seed) for part in parts)
        rows = compare(sets, data, judge, seed)
        return cls(parts, data, tuple(sets), rows, bits, tuple(seconds), (before, after), judge, seed)

    def owners(self) -> list[int]:
        """For each set of samples, which model it is of."""
        return [i for i, part in enumerate(self.parts) for _ in part.calls or (0,)]

    def distance(self, model: int, calls: int) -> float:
        """The energy distance of one set of samples."""
        found = zip(self.owners(), self.sets, self.rows)
        return next(row.energy.value for owner, each, row in found if owner == model and each.calls == calls)

    def gain(self) -> float:
        """How many times straighter the flow became."""
        return self.straight[0].total.value / self.straight[1].total.value

    def verdict(self) -> list[str]:
        """What was found, in sentences."""
        many, one = self.distance(0, 8), self.distance(2, 1)
        return [
            f"Straightness {self.straight[0].total} before reflow, {self.straight[1].total} after: "
            f"{self.gain():.1f} times straighter.",
            f"Energy distance of the flow at 8 calls {many:.4f}, of the distilled flow at ONE call {one:.4f}.",
        ]


def _diffusion(model: Model) -> "pf.Diffusion":
    assert isinstance(model, pf.Diffusion)
    return model


def _bits(part: Part, data: "Dataset", seed: int) -> Estimate | None:
    if not part.scored:
        return None
    trace = Hutchinson(probes=PROBES) if part.calls else None
    return bits_per_dim(part.model, data, part.scored, RK4(steps=6), trace, seed)


HEADER = ("Model", "Calls", "Energy distance", "Fréchet distance", "Bits/dim", "Training s", "s/1,000")


def cells(story: Story) -> list[tuple[Cell, ...]]:
    """The rows of the one table, the floor last."""
    told: set[int] = set()
    table: list[tuple[Cell, ...]] = []
    for owner, samples, row, seconds in zip(story.owners(), story.sets, story.rows, story.seconds):
        part, first = story.parts[owner], owner not in told
        told.add(owner)
        bits = story.bits[owner] if first else None
        trained = f"{part.history.seconds[-1]:.0f}" if first and part.history.seconds else ""
        table.append(
            (part.name, samples.calls, row.energy, row.frechet, bits or "", trained, f"{seconds:.2f}")
        )  # fmt: skip
    floor = story.rows[-1]
    return [*table, ("floor: real training images", "", floor.energy, floor.frechet, "", "", "")]


def table(story: Story) -> str:
    """The table as text, columns aligned."""
    rows = [HEADER, *(tuple(str(cell) for cell in row) for row in cells(story))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def page(story: Story, command: str, seconds: float) -> Page:
    """The page."""
    flow, straight = story.parts[0], story.parts[1]
    sections = (
        _glance(story, seconds),
        _samples(story),
        _results(story),
        paths_section(_diffusion(straight.model), story.data, flow.model, story.seed),
        _training(story),
        reproduce_section(story.data, f"{command}\n\n{_afterwards()}", story.seed),
    )
    lead = (
        "A flow learns to push noise forward to handwritten digits; reflow straightens its paths; distillation makes "
        f"one network call enough. {story.data.describe()}."
    )
    return Page("Noise to digits in one step", lead, sections, "Made by pushforward demo.")


def _glance(story: Story, seconds: float) -> Section:
    nice = story.bits[3]
    items: tuple[tuple[str, Cell, str], ...] = (
        ("At one call", story.distance(2, 1), f"energy distance; the flow at 8 calls: {story.distance(0, 8):.4f}"),
        ("Times straighter", f"{story.gain():.1f}", "after one reflow"),
        ("Bits per dimension", story.bits[0] or "", f"the flow, on held-out digits; NICE: {nice}"),
        ("Seconds in all", f"{seconds:.0f}", "four models trained, sampled and scored"),
    )
    return Section("At a glance", (Facts(items),))


def _samples(story: Story) -> Section:
    held = samples_section(story.sets, story.data, story.seed, shown=48)
    return Section("Samples by network calls", held.blocks)


def _results(story: Story) -> Section:
    rows = tuple(cells(story))
    caption = (
        f"{len(story.sets[0].x):,} samples (Euler; the last column is seconds for 1,000 of them) against "
        f"{len(story.data.held_out)} held-out images, ± one standard error; lower is better, and the floor is what as "
        "many real training images get. Bits per dimension are of held-out, dequantised images: NICE exactly, the "
        f"flows by the probability-flow ODE (RK4, {PROBES} fixed Hutchinson probes, unbiased). The one-step student "
        "has no paths left to integrate, hence no likelihood."
    )
    why = (
        "Two distances that need no downloaded weights. The energy distance sees every pixel and vanishes only if the "
        "distributions are equal. The Fréchet distance sees what a classifier of the same training images looks at. "
        f"{story.judge.statement}"
    )
    return Section("Results", (Table(HEADER, rows, caption, quiet=(len(rows) - 1,)), Text(why)))


def _training(story: Story) -> Section:
    drawn = tuple(
        picture(plots.curves({"loss": (part.history.steps, part.history.losses)}), part.name, f"loss of {part.name}")
        for part in story.parts
        if len(part.history.steps) > 1
    )
    caption = "Training losses: regression for the flows, squared error of the jump, nats per dimension for NICE."
    return Section("Training", (Figure(caption, drawn),))


def _afterwards() -> str:
    return (
        "# each model is a run folder that every verb takes\n"
        "pushforward sample runs/demo/one-step -n 64 --solver euler --steps 1 -o grid.png\n"
        "pushforward evaluate runs/demo/nice\n"
        "pushforward info runs/demo/flow"
    )

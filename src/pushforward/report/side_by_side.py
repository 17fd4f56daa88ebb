"""Several models of the same data, side by side: one table and one picture.

Every model is sampled from the same seed, so sample i of all of them starts from the same noise (scaled as each one's
base is), and at the same numbers of network calls, so that quality is a curve over what it costs. Distances are those
of `compare`, with the floor of real data. Bits are of the density that a model integrates; a flow map is sampled by
jumps, which have none. Seconds are for a thousand samples on the device where the model is.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.models import Diffusion, FlowMap, Model
from pushforward.report import plots
from pushforward.report.bits import bits_per_dim
from pushforward.report.classifier import Judge, judge
from pushforward.report.compare import Row, Samples, compare, draw_samples, is_conditional, shown
from pushforward.report.estimate import Estimate
from pushforward.report.page import Cell, Figure, Page, Section, Table, picture
from pushforward.report.sections import reproduce_section, samples_section
from pushforward.solvers import RK4, ByDimension, Hutchinson

if TYPE_CHECKING:
    from pushforward.data import Dataset

HEADER = ("Model", "Calls", "Energy distance", "Fréchet distance", "Bits per dimension", "Seconds per 1,000")
_SHOWN = 10
_MARKS = "os^Dv*"


@dataclass(frozen=True, slots=True)
class Line:
    """One model at one number of calls.

    Args:
        model: its name.
        samples: what it made.
        row: the distances of these.
        bits: of the model, on its first line; None where there are none.
        seconds: for a thousand samples.
    """

    model: str
    samples: Samples
    row: Row
    bits: Estimate | None
    seconds: float

    def cells(self) -> tuple[Cell, ...]:
        """The line of a table."""
        row = self.row
        return self.model, self.samples.calls, row.energy, row.frechet, self.bits or "", f"{self.seconds:.3g}"


@dataclass(frozen=True, slots=True)
class SideBySide:
    """What was found.

    Args:
        lines: model by model, fewest calls first.
        floor: the distances of as many real events.
        data: what all are compared with.
        critic: whose features the Fréchet distance is of.
        n: samples of each set.
        seed: of the noise.
    """

    lines: tuple[Line, ...]
    floor: Row
    data: "Dataset"
    critic: Judge
    n: int
    seed: int

    @property
    def table(self) -> Table:
        """All lines, and the floor last."""
        floor = ("floor: real data", "", self.floor.energy, self.floor.frechet, "", "")
        caption = (
            f"{self.n:,} samples from the same noise against {len(self.data.held_out):,} held-out events, ± one "
            f"standard error; lower is better, and the floor is what as many training events get. "
            f"{self.critic.statement}"
        )
        return Table(HEADER, (*(each.cells() for each in self.lines), floor), caption, quiet=(len(self.lines),))

    def __str__(self) -> str:
        """The table as text."""
        rows = [HEADER, *(tuple(map(str, row)) for row in self.table.rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)

    def picture(self) -> Drawing:
        """Samples of all models from the same noise, a line each, beside quality over network calls."""
        shown = self.lines
        figure = Drawing(figsize=(11, max(3.6, 0.62 * len(shown) + 0.6)), dpi=150, layout="constrained")
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.5, 1))[0]
        axes = left.subplots(len(shown), 1, squeeze=False)[:, 0]
        held = self.data.held_out_batch(Draw(self.seed, "report")).x.cpu()
        drawer = _strip if self.data.kind == "image" else _Cloud(plots.principal(held), held)
        for each, line in zip(axes, shown):
            drawer(each, line.samples.x)
            label = f"{line.model}\n{line.row.title}"
            each.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7, color=plots.INK)
        self.quality(right.subplots())
        return figure

    def quality(self, axes: Axes) -> None:
        """Energy distance against network calls, on logarithmic scales but for distances within noise."""
        names = list(dict.fromkeys(each.model for each in self.lines))
        for i, name in enumerate(names):
            mine = [each for each in self.lines if each.model == name]
            calls, far = [each.samples.calls for each in mine], [each.row.energy for each in mine]
            axes.errorbar(
                calls, [each.value for each in far], [each.error for each in far], label=name, capsize=2, linewidth=1.4,
                marker=_MARKS[i % len(_MARKS)], markersize=4.5, color=plots.SERIES[i % len(plots.SERIES)],
            )  # fmt: skip
        axes.axhline(self.floor.energy.value, color=plots.INK, linewidth=0.8, linestyle=":", label="floor: real data")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        least = 2 * max(self.floor.energy.error, 1e-6)  # below it numbers are noise: the scale is linear there
        axes.set_yscale("symlog", linthresh=least)
        axes.set_ylim(
            min(-least, 1.5 * self.floor.energy.value), 2 * max(e.row.energy.value for e in self.lines) + least
        )
        axes.set_xlabel("network calls", color=plots.INK, fontsize=9)
        axes.set_ylabel("energy distance", color=plots.INK, fontsize=9)
        axes.tick_params(which="both", colors=plots.INK, labelsize=8)
        for side in axes.spines.values():
            side.set_color(plots.INK)
        axes.grid(True, color=plots.INK, linewidth=0.4, alpha=0.35)
        axes.legend(frameon=False, labelcolor=plots.INK, fontsize=8)

    def page(self, code: str = "") -> Page:
        """The table and the pictures as a page."""
        curve = Drawing(figsize=(7.2, 3.6), dpi=200, layout="constrained")
        self.quality(curve.subplots())
        caption = "Energy distance to held-out data over network calls; bars are one standard error."
        named = [Samples(f"{e.model}, {e.row.title}", e.samples.calls, e.samples.x) for e in self.lines]
        sections = (
            Section("Side by side", (self.table, Figure(caption, (picture(curve, "", "quality over calls"),)))),
            samples_section(named, self.data, self.seed),
            reproduce_section(self.data, code, self.seed),
        )
        names = dict.fromkeys(each.model for each in self.lines)
        return Page(" / ".join(names), f"{self.data.describe()}.", sections, "Made by pushforward.")


def side_by_side(
    models: Mapping[str, Model],
    data: "Dataset",
    calls: Sequence[int] = (1, 2, 4, 8),
    n: int | None = None,
    seed: int = 0,
    scored: int = 256,
    progress: bool = False,
) -> SideBySide:
    """Sample all models from the same noise, and measure.

    Args:
        models: by name; all of this data's events.
        data: what they learned from; its held-out events are what samples are compared with.
        calls: numbers of network calls, for models that integrate or jump; others take one pass.
        n: samples of each; as many as there are training events, at most 1,000, if None.
        seed: of the noise.
        scored: held-out events whose likelihood is integrated; 0 for no bits.
        progress: show on a terminal how far it is.

    Raises:
        ConfigError: no model, or a model of other events.
    """
    if not models or not calls or min(calls) < 1:
        raise ConfigError(explain("models, and calls of 1 or more", f"{[*models]} and {tuple(calls)}", "Give some."))
    for name, model in models.items():
        if model.shape != tuple(data.shape):
            got = f"{name!r}, of events {model.shape}"
            raise ConfigError(explain(f"models of events of shape {tuple(data.shape)}", got, "Leave it out."))
    count, critic = min(len(data.values), 1000) if n is None else n, judge(data, seed)
    found: list[tuple[str, Samples, Estimate | None, float]] = []
    asked = {
        name: sorted(set(calls)) if isinstance(model, Diffusion | FlowMap) else [1] for name, model in models.items()
    }
    with tqdm(total=sum(map(len, asked.values())), desc="comparing", disable=shown(progress), leave=False) as bar:
        for name, model in models.items():
            given = is_conditional(model, data)
            bar.set_postfix_str(f"{name}, bits")
            bits = _bits(model, data, scored, seed, given)
            for each in asked[name]:
                bar.set_postfix_str(f"{name}, calls={each}")
                begun = time.perf_counter()
                made = draw_samples(model, data, (each,), count, seed, given)[0]
                found.append((name, made, bits, (time.perf_counter() - begun) * 1000 / count))
                bits = None
                bar.update()
    *rows, floor = compare([each[1] for each in found], data, critic, seed)
    lines = tuple(Line(name, made, row, bits, spent) for (name, made, bits, spent), row in zip(found, rows))
    return SideBySide(lines, floor, data, critic, count, seed)


def _bits(model: Model, data: "Dataset", n: int, seed: int, conditional: bool) -> Estimate | None:
    if not n or isinstance(model, FlowMap) or not model.base.has_density:
        return None
    n = min(n, len(data.held_out))
    if not isinstance(model, Diffusion):
        return bits_per_dim(model, data, n, seed=seed, conditional=conditional)
    return bits_per_dim(model, data, n, RK4(steps=10), ByDimension(above=Hutchinson(probes=2)), seed, conditional)


def _strip(axes: Axes, x: Tensor) -> None:
    """The first images in a row."""
    shown = x[:_SHOWN].float().clamp(-1, 1).add(1).div(2)
    wide = torch.nn.functional.pad(shown, (0, 1), value=1.0).movedim(0, 2).flatten(2, 3).movedim(0, -1)
    axes.imshow(wide.expand(-1, -1, 3).numpy() if wide.shape[-1] == 1 else wide.numpy(), interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])


@dataclass(frozen=True, slots=True)
class _Cloud:
    """Points over held-out data, to one scale."""

    project: plots.Projection
    held: Tensor

    def __call__(self, axes: Axes, x: Tensor) -> None:
        limits = plots.limits_of(self.project(self.held))
        for points, colour in ((self.held[:500], plots.INK), (x[:500], plots.BLUE)):
            axes.scatter(*self.project(points).T.numpy(), s=1.5, color=colour, linewidths=0)
        axes.set(xlim=limits[:2], ylim=limits[2:], xticks=[], yticks=[], aspect="equal")

"""The sections of a report, each a function of its own, so that other pages are made of the same parts."""

import math
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import Context
from pushforward._version import __version__
from pushforward.models import Diffusion, Model
from pushforward.models.straight import walk
from pushforward.report import plots
from pushforward.report.classifier import Judge
from pushforward.report.estimate import Estimate
from pushforward.report.page import Cell, Code, Facts, Figure, Section, Table, picture
from pushforward.report.straightness import Straightness, on_lines, straightness
from pushforward.solvers import RK4

if TYPE_CHECKING:
    from pushforward.data import Dataset


from pushforward.report.compare import Row, Samples, contexts


class Curve(Protocol):
    """What a training run remembers: a loss per logged step."""

    @property
    def steps(self) -> Sequence[int]:
        """Which steps were logged."""
        ...

    @property
    def losses(self) -> Sequence[float]:
        """Their losses."""
        ...


def glance_section(model: Model, bits: Estimate | None, rows: Sequence[Row]) -> Section:
    """The few numbers a reader came for."""
    best, floor = rows[-2], rows[-1]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    scored: list[tuple[str, Cell, str]] = [("Bits per dimension", bits or "", "of held-out data, lower is better")]
    items: list[tuple[str, Cell, str]] = [
        *(scored if bits is not None else []),
        ("Energy distance", best.energy, f"{best.title}; floor {floor.energy}".replace("-", "−")),
        ("Fréchet distance", best.frechet, f"{best.title}; floor {floor.frechet}".replace("-", "−")),
        ("Parameters", parameters, type(model).__name__),
    ]
    return Section("At a glance", (Facts(tuple(items)),))


def samples_section(sets: Sequence[Samples], data: "Dataset", seed: int = 0, shown: int = 64) -> Section:
    """Real data beside samples, drawn as the kind of data asks."""
    held = data.scaling.to_values(data.held_out_batch(Draw(seed, "report")).x.cpu())
    values = [(s.title, data.scaling.to_values(s.x)) for s in sets]
    same = "" if len(sets) == 1 else " All sets start from the same noise, so a place in the grid can be followed."
    if data.kind == "image" and data.shape[0] in (1, 3):
        high = float(data.scaling.levels - 1) if data.scaling.levels else float(data.values.max())
        low = 0.0 if data.scaling.levels else float(data.values.min())
        ink = data.shape[0] == 1 and float((held < low + 0.25 * (high - low)).double().mean()) > 0.5
        named = [("held-out data", held), *values]
        drawn = [picture(plots.images(v[:shown], 8, low, high, ink), name, ink=ink) for name, v in named]
        caption = f"Held-out images and samples; neither was chosen by hand.{same}"
    elif data.kind == "table":
        groups = {"held-out data": held[:1000], "samples": values[-1][1][:1000]}
        drawn = [picture(plots.pairs(groups, data.columns), "", "columns of the table against one another")]
        caption = "Columns against one another, in the units of the table: data above the diagonal, samples below."
    else:
        project = plots.principal(held)
        limits = plots.limits_of(project(held))
        drawn = [picture(plots.scatter(project(held[:2000]), limits, plots.INK), "held-out data")]
        drawn += [picture(plots.scatter(project(v[:2000]), limits), name) for name, v in values]
        view = "" if held.flatten(1).shape[1] <= 2 else " Seen on the data's first two principal components."
        caption = f"Held-out data and samples, to one scale.{view}"
    return Section("Samples", (Figure(caption, tuple(drawn)),))


def distances_section(rows: Sequence[Row], critic: Judge, held_out: int, n: int) -> Section:
    """The table of distances above their floors."""
    cells = tuple((r.title, r.energy, r.mmd, r.frechet, r.nearest) for r in rows)
    header = ("Samples", "Energy distance", "MMD²", "Fréchet distance", "To nearest training event")
    caption = (
        f"{n:,} samples against {held_out:,} held-out events, ± one standard error; lower is better, and the floor is "
        "what as many training events get. The last column is a median: far below the floor's, which is that of "
        f"held-out events, the model remembers its training data. {critic.statement}"
    )
    return Section("Distances", (Table(header, cells, caption, quiet=(len(rows) - 1,)),))


def paths_section(
    model: Diffusion,
    data: "Dataset",
    before: Model | None = None,
    seed: int = 0,
    conditional: bool = False,
    n: int = 64,
) -> Section:
    """The ways from noise to data, and how straight they are; `before` beside it if it integrates too.

    All of it is on the straight path, whatever the models' own, as in `stages`: nothing compares on two.
    """
    held = data.held_out_batch(Draw(seed, "report")).x.cpu()
    models = [("before", before)] if isinstance(before, Diffusion) else []
    models += [("after" if models else "", model)]
    own, models = models, [(title, on_lines(each)) for title, each in models]
    project = plots.principal(held)
    context = contexts(data, 256, seed) if conditional else None
    ways = [_ways(each, n, seed, None if context is None else context[:n]) for _, each in models]
    limits = plots.limits_of(torch.cat([project(held), *(project(way[0]) for way in ways)]), tail=0)
    start = "the source" if model.has_its_own_base() else "noise"
    drawn = [
        picture(plots.trajectories(way, held, project, limits), title, f"paths from {start} to data")
        for way, (title, _) in zip(ways, models)
    ]
    measured = [straightness(each, RK4(steps=12), 256, seed, context) for _, each in models]
    view = ", on the data's first two principal components" if math.prod(data.shape) > 2 else ""
    caption = (
        f"{n} paths from {start} (grey) to samples (orange) over held-out data{view}. "
        "A straight line at constant speed can be followed in one step."
    )
    names = [title or "this model" for title, _ in models]
    triples = zip(names, own, models)
    moved = [f"{name} ({type(old.path).__name__})" for name, (_, old), (_, new) in triples if new is not old]
    if moved:
        caption += f" Paths and numbers are of the straight path, not of the own path of {' and '.join(moved)}."
    return Section("Paths", (Figure(caption, tuple(drawn)), _straight_table(names, measured)))


def training_section(history: Curve) -> Section:
    """The loss against the step."""
    drawn = picture(plots.curves({"loss": (history.steps, history.losses)}), "", "training loss against step")
    return Section("Training", (Figure("Loss on the batches; the strong line is its running mean.", (drawn,)),))


def reproduce_section(data: "Dataset", code: str, seed: int = 0) -> Section:
    """What to type to get this page again, and with which versions it was made."""
    versions = (
        ("pushforward", __version__),
        ("torch", torch.__version__),
        ("Python", platform.python_version()),
        ("machine", f"{platform.machine()}, {torch.get_num_threads()} threads"),
        ("seed", str(seed)),
        ("data", data.source or data.name),
    )
    caption = "Equal seeds give equal pages on equal software; other machines may differ in the last digits."
    return Section("How to reproduce", (Code(code), Table(("Part", "Version"), versions, caption)))


def _straight_table(names: Sequence[str], measured: Sequence[Straightness]) -> Table:
    header = ("Paths", "Straightness", "per dimension", "Transport cost", "Lost to detours")
    rows = tuple((name, s.total, s.per_dimension, s.transport, f"{s.relative:.1%}") for name, s in zip(names, measured))
    caption = (
        "Straightness is E ∫ |(eps − x0) − v|² dt along the model's paths, 0 for straight lines; the transport "
        "cost is E |x0 − eps|²; the last column is their share S / (S + C), the kinetic energy spent on bends."
    )
    return Table(header, rows, caption)


@torch.no_grad()
def _ways(model: Diffusion, n: int, seed: int, context: Context) -> list[Tensor]:
    """The events along `n` paths, noise first."""
    here = None if context is None else context.to(model.device)
    ways = [model.noise(n, seed, context=here).cpu()]
    for state in model.trajectory(n, here, walk(model.path, model.prediction, 24), seed):
        ways.append(state.x.cpu())
    return ways

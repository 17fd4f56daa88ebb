"""Pictures as values: every function takes tensors and returns a matplotlib `Figure`.

No pyplot and no global state, so pictures can be drawn from any thread and are freed when dropped. Backgrounds are
transparent and the ink is one grey that reads on white and on black (the page swaps it for its own ink). Colours are
those of Okabe & Ito (2008), told apart by colour-blind readers; data are always grey, samples always blue.
Points are rasterised so that a page of scatter plots stays small; lines stay vectors.

Save one with `figure.savefig("name.svg")`, or hand it to `report.picture(figure)` for a page.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from pushforward._errors import ShapeError, explain

INK = "#6f7782"
BLUE, ORANGE, GREEN, PINK = "#2b83ba", "#d9622b", "#1b9e77", "#cc79a7"
SERIES = (BLUE, ORANGE, GREEN, PINK)
Limits = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Projection:
    """An affine map onto the first two principal components of some data.

    Args:
        mean: the data's mean, [dimensions].
        axes: orthonormal columns, [dimensions, 2]; each is turned so that its largest entry is positive.
    """

    mean: Tensor
    axes: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Events [..., *event] of matching size to coordinates [n, 2]."""
        return (x.detach().cpu().double().flatten(1) - self.mean) @ self.axes


def principal(x: Tensor) -> Projection:
    """The projection onto the first two principal components of events [n, *event]; the identity in a plane."""
    flat = x.detach().cpu().double().flatten(1)
    mean = flat.mean(0)
    if flat.shape[1] <= 2:
        return Projection(torch.zeros_like(mean), torch.eye(flat.shape[1], 2, dtype=torch.float64))
    axes = torch.linalg.eigh((flat - mean).T @ (flat - mean)).eigenvectors[:, -2:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return Projection(mean, axes * largest.sign())


def images(x: Tensor, columns: int = 8, low: float = -1.0, high: float = 1.0, ink: bool = False) -> Figure:
    """Images in a grid, each pixel drawn as a square.

    Args:
        x: images, [n, channels, height, width], one channel (grey) or three (red, green, blue).
        columns: images per row.
        low, high: the values shown as black and as white; others are clipped.
        ink: draw one channel as black ink on nothing, `high` the blackest: handwriting, on any paper.

    Raises:
        ShapeError: not images of one or three channels.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        fix = "Plot other events with scatter, pairs or trajectories."
        raise ShapeError(explain("images [n, 1 or 3, height, width]", str(tuple(x.shape)), fix))
    n, _, height, width = x.shape
    rows, gap = math.ceil(n / columns), max(1, round(min(height, width) / 8))
    shown = ((x.detach().cpu().float() - low) / (high - low)).clamp(0, 1).nan_to_num(0)
    canvas = torch.zeros(rows * (height + gap) - gap, columns * (width + gap) - gap, 4)
    for i, image in enumerate(shown):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width, :3] = 0 if ink else image.movedim(0, -1)
        canvas[top : top + height, left : left + width, 3] = image.mean(0) if ink else 1
    figure = _blank(2.3, 2.3 * canvas.shape[0] / canvas.shape[1])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas.numpy(), interpolation="none", aspect="auto")
    axes.set_axis_off()
    return figure


def scatter(x: Tensor, limits: Limits | None = None, colour: str = BLUE) -> Figure:
    """Points in a plane, [n, 2]. Pass `limits_of(data)` to draw several pictures to one scale."""
    figure = _blank(2.3, 2.3)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    _dots(axes, _plane(x), colour, limits or limits_of(x))
    _frame(axes)
    return figure


def limits_of(x: Tensor, margin: float = 0.06, tail: float = 0.002) -> Limits:
    """A square around points [n, 2] but for a `tail` on each side, so that both axes have one scale."""
    points = _plane(x).double()
    low, high = points.quantile(tail, 0), points.quantile(1 - tail, 0)
    middle, half = (low + high) / 2, float((high - low).max()) * (0.5 + margin) or 1.0
    return float(middle[0]) - half, float(middle[0]) + half, float(middle[1]) - half, float(middle[1]) + half


def pairs(groups: Mapping[str, Tensor], columns: Sequence[str] = (), most: int = 5) -> Figure:
    """A table's columns against one another: histograms on the diagonal, points elsewhere.

    Args:
        groups: name -> rows [n, columns]; the first (data) is drawn grey and above the diagonal, the others in
            colour and below it, so that mirror images compare.
        columns: names of the columns.
        most: at most so many columns are drawn, the first ones.
    """
    tables = {name: rows.detach().cpu().double() for name, rows in groups.items()}
    first = next(iter(tables.values()))
    count = min(most, first.shape[1])
    names = [columns[i] if i < len(columns) else f"column {i + 1}" for i in range(count)]
    edges = first.quantile(torch.tensor([0.002, 0.998], dtype=torch.float64), 0)
    spread = (edges[1] - edges[0]).clamp_min(1e-9)
    low, high = edges[0] - 0.1 * spread, edges[1] + 0.1 * spread
    figure = _blank(1.5 * count + 0.3, 1.5 * count + 0.5, constrained=True)
    grid = figure.subplots(count, count, squeeze=False)
    for row in range(count):
        for column in range(count):
            _pair(grid[row][column], tables, row, column, low, high)
            if row == count - 1:
                grid[row][column].set_xlabel(names[column], color=INK, fontsize=8)
        grid[row][0].set_ylabel(names[row], color=INK, fontsize=8)
    _legend(figure, list(tables))
    return figure


def trajectories(
    paths: Sequence[Tensor], data: Tensor, projection: Projection | None = None, limits: Limits | None = None
) -> Figure:
    """Ways from noise to data, seen on the data's first two principal components.

    Args:
        paths: the events at each time, noise first, each [n, *event].
        data: real events, drawn grey behind the paths.
        projection: where to look from; None is `principal(data)`. Share it to compare two pictures.
        limits: what part to show; None takes the data's and the noise's.
    """
    project = projection or principal(data)
    flat = torch.stack([project(x) for x in paths], dim=1)
    figure = _blank(4.0, 4.0)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    _dots(axes, project(data), INK, limits or limits_of(torch.cat([project(data), flat[:, 0]]), tail=0), alpha=0.35)
    axes.add_collection(LineCollection(list(flat.numpy()), colors=BLUE, linewidths=0.7, alpha=0.75))
    axes.plot(*flat[:, 0].T.numpy(), ".", color=INK, markersize=3.5, markeredgewidth=0)
    axes.plot(*flat[:, -1].T.numpy(), "o", color=ORANGE, markersize=3.6, markeredgewidth=0)
    _frame(axes)
    return figure


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str = "step") -> Figure:
    """Training curves: the raw numbers thin, their running mean strong; a log scale where all are positive.

    Args:
        series: name -> (x values, y values), at most four.
        xlabel: what x counts.
    """
    figure = _blank(7.2, 2.9, constrained=True)
    axes = figure.subplots()
    for (name, (x, y)), colour in zip(series.items(), SERIES):
        values = torch.tensor(list(y), dtype=torch.float64)
        axes.plot(list(x), values.numpy(), color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(list(x), _smooth(values).numpy(), color=colour, linewidth=1.8, label=name)
    if all(v > 0 for _, y in series.values() for v in y):
        axes.set_yscale("log")
        largest, least = (pick(v for _, y in series.values() for v in y) for pick in (max, min))
        fine = largest < 10 * least
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8) if fine else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(xlabel, color=INK, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(which="both", colors=INK, labelsize=8, width=0.6, labelcolor=INK)
    axes.grid(True, color=INK, linewidth=0.4, alpha=0.35)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _blank(width: float, height: float, constrained: bool = False) -> Figure:
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained" if constrained else None)
    figure.patch.set_alpha(0)
    return figure


def _plane(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] != 2:
        fix = "Project other events first: principal(data)(x)."
        raise ShapeError(explain("points [n, 2]", str(tuple(x.shape)), fix))
    return x.detach().cpu()


def _dots(axes: Axes, x: Tensor, colour: str, limits: Limits, alpha: float = 0.6) -> None:
    size = min(8.0, max(1.2, 4000 / max(1, len(x))))
    axes.scatter(x[:, 0].numpy(), x[:, 1].numpy(), s=size, color=colour, alpha=alpha, linewidths=0, rasterized=True)
    axes.set_xlim(limits[0], limits[1])
    axes.set_ylim(limits[2], limits[3])


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_linewidth(0.6)
        spine.set_alpha(0.4)


def _pair(axes: Axes, tables: Mapping[str, Tensor], row: int, column: int, low: Tensor, high: Tensor) -> None:
    across, up = (float(low[column]), float(high[column])), (float(low[row]), float(high[row]))
    for place, (rows, colour) in enumerate(zip(tables.values(), (INK, *SERIES))):
        if row == column:
            axes.hist(
                rows[:, column].numpy(), 40, range=across, density=True, histtype="step", color=colour, linewidth=1.2
            )
        elif (place == 0) == (column > row) or len(tables) == 1:
            points = rows[:, [column, row]].T.numpy()
            axes.scatter(points[0], points[1], s=2, color=colour, alpha=0.35, linewidths=0, rasterized=True)
            axes.set_ylim(*up)
    axes.set_xlim(*across)
    _frame(axes)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    keys = [Line2D([], [], marker="o", linestyle="", markersize=5, color=c) for c in (INK, *SERIES)]
    figure.legend(
        keys[: len(names)], names, loc="outside upper left", ncols=len(names), frameon=False, fontsize=9, labelcolor=INK
    )


def _smooth(values: Tensor) -> Tensor:
    """A centred running mean over a fortieth of the curve."""
    half = len(values) // 80
    sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
    middle = torch.arange(len(values))
    high, low = (middle + half + 1).clamp(max=len(values)), (middle - half).clamp(min=0)
    return (sums[high] - sums[low]) / (high - low)

"""Scores at several lengths over several seeds: as a table, and as a picture.

    mean over seeds ± standard deviation between seeds (n - 1), one row per encoding, one column per length

The best at the trained length comes first; where the shown digits agree, the next length decides. The deviation is
that of one training, so two rows that differ by less than it have not been told apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pushforward.report.plots import BLUE, GREEN, INK, ORANGE, PINK

COLOURS: Mapping[str, str] = {"none": INK, "tokens": ORANGE, "turns": BLUE, "biases": GREEN, "content": PINK}
"""The colour of each family of encodings."""

DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKS = "osD^vXP*"


@dataclass(frozen=True, slots=True)
class Scores:
    """What several trainings of one kind scored at each length.

    Args:
        name: what the row is called.
        family: what it acts on, a key of `COLOURS`.
        values: for each length, a value per seed.
    """

    name: str
    family: str
    values: Mapping[int, Sequence[float]]

    @property
    def means(self) -> tuple[float, ...]:
        """The mean over seeds at each length."""
        return tuple(fmean(each) for each in self.values.values())

    @property
    def deviations(self) -> tuple[float, ...]:
        """The standard deviation between seeds at each length; nan for one seed."""
        return tuple(stdev(each) if len(each) > 1 else math.nan for each in self.values.values())


def ranked(rows: Sequence[Scores], lower_is_better: bool) -> list[Scores]:
    """The best at the first length first."""
    sign = 1 if lower_is_better else -1
    return sorted(rows, key=lambda row: tuple(sign * round(mean, 3) for mean in row.means))


def table(rows: Sequence[Scores], unit: str, markdown: bool = False) -> str:
    """The rows as a table.

    Args:
        rows: in their order; all at the same lengths.
        unit: what is measured.
        markdown: with the bars of Markdown, for documents.

    >>> print(table([Scores("rope", "turns", {64: [2.0, 2.2], 128: [3.0, 3.1]})], "bits"))
    bits                 64            128
    rope      2.100 ± 0.141  3.050 ± 0.071
    """
    lengths = list(rows[0].values) if rows else []
    body = [[row.name, *map(_shown, row.means, row.deviations)] for row in rows]
    lines = [[unit, *(f"{length:,}" for length in lengths)], *body]
    if markdown:
        lines.insert(1, ["---", *("---:" for _ in lengths)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    names, others = widths[0], widths[1:]
    return "\n".join(
        f"{line[0]:<{names}}" + "".join(f"  {each:>{width}}" for each, width in zip(line[1:], others, strict=True))
        for line in lines
    )


def plot(rows: Sequence[Scores], unit: str, title: str = "", lower_is_better: bool = True) -> Figure:
    """Lines over the length, one per row, with the deviation between seeds as bars and the names at the right.

    Args:
        rows: in their order; all at the same lengths.
        unit: what is measured.
        title: above the picture.
        lower_is_better: whether less is better; scales fit the best eight tenths of such values.
    """
    figure = Figure(figsize=(7.2, max(3.4, 0.21 * len(rows) + 1.0)), dpi=200, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    seen = dict.fromkeys(COLOURS, 0)
    styles = list[tuple[str, object, str]]()
    for row in rows:
        number = seen[row.family]
        seen[row.family] += 1
        styles.append((COLOURS[row.family], DASHES[number % len(DASHES)], MARKS[number % len(MARKS)]))
    for row, (colour, dash, mark) in zip(rows, styles, strict=True):
        error = [0.0 if math.isnan(each) else each for each in row.deviations]
        axes.errorbar(
            list(row.values), row.means, error, color=colour, linestyle=dash, marker=mark, label=row.name,
            markersize=3.5, linewidth=1.2, elinewidth=0.7,
        )  # fmt: skip
    if lower_is_better and rows:
        axes.set_ylim(*_window([mean for row in rows for mean in row.means]))
    _dress(axes, list(rows[0].values) if rows else [], unit, title)
    order = sorted(range(len(rows)), key=lambda i: rows[i].means[-1], reverse=True)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        [handles[i] for i in order], [names[i] for i in order], loc="outside right upper", frameon=False, fontsize=7.5,
        labelcolor=INK, handlelength=3.2,
    )  # fmt: skip
    return figure


def _shown(mean: float, deviation: float) -> str:
    return f"{mean:.3f}" if math.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


def _window(values: Sequence[float]) -> tuple[float, float]:
    """A scale in which a few collapsed rows do not press the others flat: up to 1.5 times the spread of most."""
    low, high = min(values), max(values)
    most = sorted(values)[math.ceil(0.8 * (len(values) - 1))]
    top = min(high, low + 1.5 * (most - low)) if most > low else high
    return low - 0.04 * (top - low or 1.0), top + 0.04 * (top - low or 1.0)


def _dress(axes: Axes, lengths: Sequence[int], unit: str, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{each:,}" for each in lengths])
    axes.minorticks_off()
    axes.set_xlabel("length (the first one is trained on)", color=INK, fontsize=9)
    axes.set_ylabel(unit, color=INK, fontsize=9)
    axes.set_title(title, color=INK, fontsize=9, loc="left")
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(colors=INK, labelsize=8, width=0.6, labelcolor=INK)
    axes.grid(True, color=INK, linewidth=0.4, alpha=0.35)

"""Curves in a terminal, and the metrics of a run that they are drawn from.

A plot is `rows` lines of text; a column is the mean of the values that fall into it, and its height is counted in
eighths of a line, or in whole lines where the terminal knows ASCII alone.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def plot(values: Sequence[float], width: int = 60, rows: int = 6, fine: bool | None = None) -> list[str]:
    """Values as a filled curve, its highest and lowest written beside it.

    >>> print(*plot([4, 3, 2, 1, 1, 1], rows=2, fine=True), sep="\\n")
         4 █▃
         1 ██▆▁▁▁

    Args:
        values: from left to right, at equal distances.
        width: columns at most.
        rows: lines.
        fine: use eighths of a line; None asks the terminal.
    """
    found = _columns([value for value in values if math.isfinite(value)], width)
    if not found:
        return []
    low, high = min(found), max(found)
    levels = _EIGHTHS if (_fine() if fine is None else fine) else " #"
    steps = len(levels) - 1
    heights = [1 + round((rows * steps - 1) * (each - low) / (high - low)) if high > low else 1 for each in found]
    lines = ["".join(levels[min(max(h - row * steps, 0), steps)] for h in heights) for row in range(rows)]
    labels = {rows - 1: f"{high:.4g}", 0: f"{low:.4g}"} if high > low else {0: f"{low:.4g}"}
    wide = max(6, *map(len, labels.values()))
    return [f"{labels.get(row, ''):>{wide}} {lines[row]}".rstrip() for row in reversed(range(rows))]


def column_of(place: int, count: int, width: int) -> int:
    """The column of the value number `place` of `count`."""
    return place if count <= width else place * width // count


@dataclass(frozen=True, slots=True)
class Metrics:
    """What metrics.jsonl says.

    Args:
        lines: each line that can be read, with a step.
    """

    lines: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, run: Path) -> "Metrics":
        """A run's; empty where there are none. A line that is half written is left out."""
        path = run / "metrics.jsonl"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return cls(tuple(line for each in text.splitlines() if (line := _line(each)) is not None))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """The steps and values of one number."""
        return [(line["step"], line[name]) for line in self.lines if isinstance(line.get(name), int | float)]

    @property
    def step(self) -> int:
        """Updates made by the last line."""
        return self.lines[-1]["step"] if self.lines else 0

    def seconds_per_step(self) -> float | None:
        """Over the last lines, at most twenty; None if there are too few to know."""
        timed = self.curve("seconds")[-20:]
        if not timed:
            return None
        if len(timed) == 1:
            timed = [(0, 0.0), *timed]
        (first, began), (last, ended) = timed[0], timed[-1]
        return (ended - began) / (last - first) if last > first and ended > began else None

    def memory(self) -> str:
        """What it holds and held at most, in words; '' if nothing says."""
        said = [("", "memory"), ("on the device ", "device_memory")]
        parts = [
            f"{where}{now[-1][1] / 1e6:,.0f} MB" + (f", at most {peak[-1][1] / 1e6:,.0f}" if peak else "")
            for where, name in said
            if (now := self.curve(name))
            for peak in [self.curve(f"{name}_peak")]
        ]
        return "; ".join(parts)


def pace(seconds: float) -> str:
    """Seconds of a step in a readable unit, with steps a second.

    >>> pace(0.0123)
    '12.3 ms/step, 81.3 steps/s'
    """
    each = f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
    return f"{each}/step, {1 / seconds:.3g} steps/s"


def _line(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None


def _columns(values: list[float], width: int) -> list[float]:
    """The means of the values of each column."""
    count = len(values)
    if count <= width:
        return values
    return [fmean(values[count * i // width : count * (i + 1) // width]) for i in range(width)]


def _fine() -> bool:
    try:
        _EIGHTHS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

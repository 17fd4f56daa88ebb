"""Rows that stay in their files: more than memory holds, in an order that is a function of the draw and the step.

    parts            what a file gives at a time: a .tar, read row by row, or a row group of a .parquet
    windows          in each epoch the parts come in an order of their own, and as many of them as hold `buffer` rows or
                     more are one window
    position p       -> epoch p // n, its window, and the row that the window's own permutation has there

With one window this is the exact permutation of `order`; with many, rows meet only those of their window, and only the
parts of a window are read together. Nothing depends on the steps before, so a stream may start anywhere, and ranks take
slices of the same batches. Memory: the rows of a window, or 8 bytes of a permutation for each.

Every `every`-th row is held out, row every - 1 first: training row i is row i + i // (every - 1).
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.data.faults import faulty
from pushforward.data.order import order

Kept = dict[int, np.ndarray]
"""The parts that are in memory, by number; the oldest first."""


class Parts(abc.ABC):
    """Files of rows, one part after another.

    Args:
        starts: the first row of each part, and the number of rows at the end.
        classes: the class of each row, [n], or None.
        labels: the names of the classes.
        buffer: rows shuffled together; all if None.
    """

    def __init__(
        self, starts: np.ndarray, classes: np.ndarray | None, labels: tuple[str, ...], buffer: int | None
    ) -> None:
        self.starts, self.classes, self.labels, self.buffer = starts, classes, labels, buffer

    @abc.abstractmethod
    def read(self, part: int, rows: np.ndarray, kept: Kept) -> np.ndarray:
        """Rows of one part, counted from its first, [rows, *shape].

        Args:
            part: its number.
            rows: which.
            kept: what readers of whole parts keep between calls.

        Raises:
            DataError: a row that cannot be used, with file and row.
        """

    @abc.abstractmethod
    def where(self, part: int, row: int) -> str:
        """A row in words, `many-0003.tar:17`, counted from 1."""

    def rows(self, rows: np.ndarray, kept: Kept) -> Tensor:
        """These rows in this order, finite and of one shape."""
        where = np.searchsorted(self.starts, rows, side="right") - 1
        values: np.ndarray | None = None
        for part in np.unique(where):
            here = np.flatnonzero(where == part)
            found = self.read(int(part), rows[here] - self.starts[part], kept)
            if found.dtype.kind == "f" and not np.isfinite(found).all():
                bad = int(np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(1))[0])
                place = self.where(int(part), int(rows[here][bad] - self.starts[part]))
                raise faulty("finite numbers in every row", f"{place} (not finite)", "Repair it, or leave it out.")
            if values is None:
                values = np.empty((len(rows), *found.shape[1:]), found.dtype)
            if values.shape[1:] != found.shape[1:]:
                place = self.where(int(part), int(rows[here][0] - self.starts[part]))
                got = f"{found.shape[1:]} from {place} on"
                raise faulty(f"rows of shape {values.shape[1:]}", got, "Pass size= for images, or make them agree.")
            values[here] = found
        assert values is not None
        return torch.from_numpy(values)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Training rows that are read when they are asked for.

    Args:
        parts: the files.
        every: each every-th row is held out.
    """

    parts: Parts
    every: int

    def __len__(self) -> int:
        n = int(self.parts.starts[-1])
        return n - n // self.every

    def batches(
        self, size: int, draw: Draw, start: int, rank: int, world: int
    ) -> Iterator[tuple[Draw, Tensor, Tensor | None]]:
        """For each step without end: its draw, this rank's rows in raw units, and their classes."""
        kept = Kept()
        for step, rows in self._steps(size, draw, start, rank, world):
            classes = None if self.parts.classes is None else _numbered(self.parts.classes[rows])
            yield step, self.parts.rows(rows, kept), classes

    def whole(self) -> tuple[Tensor, Tensor | None]:
        """All rows in raw units, held out or not, in their order, and their classes."""
        n, classes = int(self.parts.starts[-1]), self.parts.classes
        return self.parts.rows(np.arange(n), Kept()), None if classes is None else _numbered(classes)

    def named(self, size: int, draw: Draw, step: int, rank: int, world: int) -> list[str]:
        """What this rank's rows of one step are called, `many-0003.tar:17`."""
        _, rows = next(self._steps(size, draw, step, rank, world))
        parts = np.searchsorted(self.parts.starts, rows, side="right") - 1
        firsts = self.parts.starts[parts]
        return [self.parts.where(int(part), int(row - first)) for part, row, first in zip(parts, rows, firsts)]

    def _steps(self, size: int, draw: Draw, start: int, rank: int, world: int) -> Iterator[tuple[Draw, np.ndarray]]:
        starts = self.parts.starts - self.parts.starts // self.every
        if self.parts.buffer is None or self.parts.buffer >= len(self):
            steps = order(len(self), size, draw, start, rank, world)
        else:
            steps = windowed(starts, self.parts.buffer, size, draw, start, rank, world)
        return ((step, self.row(indices.numpy())) for step, indices in steps)

    def row(self, index: np.ndarray) -> np.ndarray:
        """The row of a training row."""
        return index + index // (self.every - 1)


def _numbered(classes: np.ndarray) -> Tensor:
    return torch.from_numpy(classes.astype(np.int64))


def windowed(
    starts: np.ndarray, buffer: int, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[Draw, Tensor]]:
    """As `order`, shuffled in windows of whole parts; arguments as there, and of the parts their first rows.

    Args:
        starts: the first row of each part, and the number of rows at the end.
        buffer: rows in a window, or more.
    """
    n = int(starts[-1])
    next(order(n, size, draw, start, rank, world))  # the same refusals
    shuffle, low, high = replace(draw, device="cpu").of("order"), size * rank // world, size * (rank + 1) // world
    known: tuple[int, int] = (-1, -1)
    sequence, edges, rows = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    while True:
        position, end, found = start * size + low, start * size + high, list[np.ndarray]()
        while position < end:
            epoch, here = divmod(position, n)
            if epoch != known[0]:
                sequence, edges = _plan(starts, buffer, shuffle.of("parts").at(epoch))
                known = epoch, -1
            window = int(np.searchsorted(edges, here, side="right")) - 1
            if window != known[1]:
                rows = _window(starts, sequence, int(edges[window]), int(edges[window + 1]))
                rows = rows[shuffle.of(f"rows/{window}").at(epoch).permutation(len(rows)).numpy()]
                known = epoch, window
            first = here - int(edges[window])
            found.append(rows[first : first + end - position])
            position += len(found[-1])
        yield replace(draw, step=start, first=low, device="cpu"), torch.from_numpy(np.concatenate(found))
        start += 1


def _plan(starts: np.ndarray, buffer: int, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """The parts of an epoch in order, and the positions at which its windows begin, and the end."""
    sequence = draw.permutation(len(starts) - 1).numpy()
    edges, held = [0], 0
    for length in np.diff(starts)[sequence]:
        held += int(length)
        if held >= buffer:
            edges, held = [*edges, edges[-1] + held], 0
    return sequence, np.array([*edges, edges[-1] + held] if held else edges)


def _window(starts: np.ndarray, sequence: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The rows at positions begin .. end - 1 of the parts in this order."""
    ends = np.cumsum(np.diff(starts)[sequence])
    first, last = np.searchsorted(ends, begin, side="right"), np.searchsorted(ends, end, side="left")
    parts = sequence[first : last + 1].tolist()
    return np.concatenate([np.arange(int(starts[part]), int(starts[part + 1])) for part in parts])


def split(parts: Parts, held_out: float, file: Path) -> tuple[Stream, np.ndarray, np.ndarray]:
    """The training rows as a stream, and which rows to keep in memory: some of them, and those held out."""
    if not 0 < held_out <= 0.5:
        raise ConfigError(explain("a held-out share above 0, and of a stream at most 0.5", f"{held_out}", "Use 0.2."))
    n = int(parts.starts[-1])
    if n < _FEWEST:
        raise faulty(f"at least {_FEWEST} rows", f"{n} in '{file}'", "Add data.")
    one = parts.rows(np.zeros(1, np.int64), Kept())
    if not one.nbytes:
        raise faulty(
            "numbers in every row", f"rows of shape {tuple(one.shape[1:])} in '{file}'", "Leave empty rows out."
        )
    most = max(_FEWEST, min(_KEPT, _BYTES // one.nbytes))
    stream = Stream(parts, max(2, round(1 / held_out), -(-n // most)))
    held = np.arange(stream.every - 1, n, stream.every)
    held = held if len(held) else np.array([n - 1])
    return stream, stream.row(np.arange(0, len(stream), -(-len(stream) // most))), held


_FEWEST, _KEPT, _BYTES = 5, 2**14, 2**27

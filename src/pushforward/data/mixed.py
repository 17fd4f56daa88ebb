"""Tables whose columns hold anything, from .csv and .tsv (also .gz) and .parquet: numbers, words, and holes.

A column whose every cell is a number is one of numbers, of whole ones if each is written as one; a column without any
is one of words. Where numbers and words stand in one column, the words are as likely mistakes as values: they are named
by file and line, unless the column is declared categorical. Empty cells, NA, null and the like are missing.

Unlike `tables.py`, which wants a number in every cell, nothing here is turned into one: `data.columns` does that.
"""

import csv
import math
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.faults import check_file, faulty, judge, reading
from pushforward.data.frames import Frame
from pushforward.data.tables import MISSING, choose, header, rows_of, text_of

_COMMA = re.compile(r"[+-]?\d*,\d+")

Line = tuple[int, list[str]]
"""Where a row ends in the file, and its cells."""


def read_mixed(
    path: Path,
    columns: Sequence[str | int] | None = None,
    words: Collection[str] = (),
    bad_rows: str = "error",
) -> tuple[Frame, tuple[str, ...], str]:
    """The table in a file; the names of columns of whole numbers, holes or not; and what was left out, in words.

    Args:
        path: the file, in UTF-8.
        columns: names, or numbers from 0; all by default.
        words: names of columns whose cells are words, whatever they look like.
        bad_rows: "error", or "skip" to leave bad rows out (at most half).

    Raises:
        DataError: an empty or damaged file, names that stand twice, rows of another length, words among numbers,
            infinite numbers, numbers with decimal commas.
    """
    check_file(path)
    names, lines = _parquet(path) if path.suffix == ".parquet" else _delimited(path)
    if not lines:
        raise faulty("a table with rows", f"'{path}', which has only a header", "Write rows below the header.")
    picks, bad = choose(names, columns, path.name), dict[int, str]()
    twice = [names[i] for i in picks if names.count(names[i]) > 1]
    if twice:
        raise faulty(f"columns of {path.name} with names of their own", f"{twice[0]!r} twice or more", "Rename them.")
    for line, row in lines:
        if len(row) != len(names):
            bad[line] = f"{len(row)} field{'s' * (len(row) != 1)} instead of {len(names)}"
    whole = [(line, row) for line, row in lines if line not in bad]
    of_words = {i: names[i] in words or not any(_number(row[i]) is not None for _, row in whole) for i in picks}
    for line, row in whole:
        wrong = [i for i in picks if not of_words[i] and not _missing(row[i]) and _number(row[i]) is None]
        if wrong:
            bad[line] = f"{names[wrong[0]]} is {row[wrong[0]][:40]!r}"
    said = (f"{path.name}:{line} ({bad[line]})" for line in sorted(bad))
    expected = "numbers in columns of numbers (declare a column categorical to keep words), and rows of one length"
    note = judge(said, len(bad), len(lines), path.name, bad_rows, expected)
    kept = [row for line, row in whole if line not in bad]
    for i in picks:
        if of_words[i] and names[i] not in words:
            _check_commas(path.name, names[i], [row[i].strip() for row in kept if not _missing(row[i])])
    cells = tuple(_cell([row[i] for row in kept], of_words[i]) for i in picks)
    integers = [names[i] for i in picks if not of_words[i] and _are_whole(row[i] for row in kept)]
    return Frame(tuple(names[i] for i in picks), cells, dict, np.dtype(object)), tuple(integers), note


def _delimited(path: Path) -> tuple[tuple[str, ...], list[Line]]:
    with reading(path, "a text table in UTF-8", csv.Error, UnicodeDecodeError), text_of(path) as lines:
        rows = list(rows_of(lines))
    if not rows:
        raise faulty("a table with rows", f"'{path}', which has only empty lines", "Choose another file.")
    names, titled = header(rows[0][1])
    return names, rows[titled:]


def _parquet(path: Path) -> tuple[tuple[str, ...], list[Line]]:
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = "Install it: pip install 'pushforward[parquet]'."
        raise faulty("pyarrow, which reads .parquet", "an installation without it", fix) from error
    with reading(path, "a parquet table", pa.ArrowException):
        table: Any = parquet.read_table(path)
        held = [[_spelled(value) for value in column.to_pylist()] for column in table.columns]
    return tuple(table.column_names), [(i, list(row)) for i, row in enumerate(zip(*held, strict=True), 1)]


def _spelled(value: Any) -> str:
    return "" if value is None else str(value)


def _cell(cells: list[str], of_words: bool) -> np.ndarray:
    """The column as an array: numbers with NaN, or words with None."""
    if not of_words:
        return np.array([math.nan if _missing(cell) else float(cell) for cell in cells])
    made = np.empty(len(cells), dtype=object)
    made[:] = [None if _missing(cell) else cell.strip() for cell in cells]
    return made


def _check_commas(file: str, name: str, cells: list[str]) -> None:
    """Numbers as half of the world writes them are no categories."""
    if any(_COMMA.fullmatch(cell) for cell in cells) and all(
        _COMMA.fullmatch(cell) or _number(cell) is not None for cell in cells
    ):
        odd = next(cell for cell in cells if _COMMA.fullmatch(cell))
        fix = f"Write {odd.replace(',', '.')}, or declare the column categorical if these are words."
        raise faulty("numbers with a decimal point", f"{odd!r} in column {name!r} of {file}", fix)


def _are_whole(cells: Iterable[str]) -> bool:
    """Whether every value that is there is written as a whole number, and one is."""
    there = [cell.strip() for cell in cells if not _missing(cell)]
    return bool(there) and all(cell.lstrip("+-").isdecimal() for cell in there)


def _missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _number(cell: str) -> float | None:
    """The finite number that a cell says, if it does."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None

"""Tables from text files (.csv, .tsv, also .gz) and from .parquet: named columns of numbers.

The delimiter is the commonest of comma, semicolon and tab in the first line. The first line is a header when
none of its cells is a number. Rows are checked one by one, since readers that guess turn a bad column into
words or holes without a sound: a row counts as bad when it has another number of fields, a missing value or a
word in a column of numbers, and it is named by its line in the file.
"""

import csv
import gzip
import io
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.faults import SHOWN, BadRows, Places, check_file, faulty, judge, reading

MISSING = frozenset(["", "na", "n/a", "nan", "null", "none", "?", "-"])
"""What stands for a missing value, in small letters."""


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of finite numbers.

    Args:
        columns: their names.
        values: [rows, columns], float64.
        places: where each row came from.
        note: how many rows were skipped, or nothing.
    """

    columns: tuple[str, ...]
    values: np.ndarray
    places: Places
    note: str = ""


def read_delimited(path: Path, columns: Sequence[str | int] | None = None, bad_rows: BadRows = "error") -> Table:
    """Read a .csv or .tsv file, gzipped or not.

    Args:
        path: the file, in UTF-8.
        columns: names, or numbers from 0; all by default.
        bad_rows: "error", or "skip" to leave bad rows out (at most half).

    Raises:
        DataError: an empty, truncated or non-UTF-8 file, columns of text, bad rows.
    """
    check_file(path)
    with reading(path, "a text table", csv.Error, UnicodeDecodeError):
        try:
            with text_of(path) as lines:
                scan = _scan(path, lines, columns)
        except UnicodeDecodeError as error:
            raise faulty("UTF-8 text", _where_not_utf8(path), "Convert it: iconv -f latin1 -t utf-8.") from error
    return _judged(path, scan, bad_rows)


def read_parquet(path: Path, columns: Sequence[str | int] | None = None, bad_rows: BadRows = "error") -> Table:
    """Read a .parquet file; rows are counted from 1 in errors. Needs pyarrow.

    Raises:
        DataError: pyarrow is missing, the file is damaged, columns that are no numbers, bad rows.
    """
    check_file(path)
    pa, file = parquet_reader(path)
    with reading(path, "a parquet table", pa.ArrowException):
        names = tuple(file.schema_arrow.names)
        picks = choose(names, columns, path.name)
        kinds = {i: file.schema_arrow.field(i).type for i in range(len(names))}
        numeric = [
            i
            for i in range(len(names))
            if pa.types.is_integer(kinds[i]) or pa.types.is_floating(kinds[i]) or pa.types.is_boolean(kinds[i])
        ]
        for i in picks:
            if i not in numeric:
                raise _no_numbers(path.name, names, i, numeric, f"type {kinds[i]}")
        table = file.read(columns=[names[i] for i in picks])
        held = [table.column(j).cast(pa.float64()).to_numpy() for j in range(len(picks))]
    scan = _Scan(tuple(names[i] for i in picks), tuple(range(len(picks))), len(picks))
    values = np.stack(held, 1) if held else np.empty((0, 0))
    scan.cells.frombytes(np.ascontiguousarray(values).tobytes())
    scan.lines.extend(range(1, len(values) + 1))
    return _judged(path, scan, bad_rows)


def parquet_reader(path: Path) -> tuple[Any, Any]:
    """pyarrow, and a .parquet file opened by it.

    Raises:
        DataError: pyarrow is missing, or the file is damaged.
    """
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = "Install it: pip install 'pushforward[parquet]'."
        raise faulty("pyarrow, which reads .parquet", "an installation without it", fix) from error
    with reading(path, "a parquet table", pa.ArrowException):
        return pa, parquet.ParquetFile(path)


def choose(names: Sequence[str], columns: Sequence[str | int] | None, file: str) -> tuple[int, ...]:
    """The numbers of the chosen columns, in the order chosen.

    Raises:
        DataError: a name or number the file does not have, or has twice.
    """
    if columns is None:
        return tuple(range(len(names)))
    picks: list[int] = []
    for wanted in [columns] if isinstance(columns, str) else columns:
        at = [i for i, name in enumerate(names) if wanted in (i, name)]
        if len(at) != 1 or at[0] in picks:
            why = "it does not have" if not at else "it has more than once" if len(at) > 1 else "is chosen twice"
            got = f"{wanted!r}, which {why}"
            raise faulty(f"columns of {file}, each once", got, f"It has {listed(names)}.")
        picks += at
    if not picks:
        raise faulty("at least one column", "an empty choice", f"{file} has {listed(names)}.")
    return tuple(picks)


def listed(names: Sequence[str]) -> str:
    """At most twelve quoted names."""
    return ", ".join(f"'{name}'" for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


@dataclass(slots=True)
class _Scan:
    """What one pass over the rows found: numbers, the line of each row, and whatever was odd."""

    names: tuple[str, ...]
    picks: tuple[int, ...]
    width: int
    cells: "array[float]" = field(default_factory=lambda: array("d"))
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    ragged: "array[int]" = field(default_factory=lambda: array("q"))
    said: dict[int, str] = field(default_factory=dict)
    words: "Counter[int]" = field(default_factory=Counter)
    example: dict[int, str] = field(default_factory=dict)

    def add(self, line: int, row: list[str]) -> None:
        """One row that is not empty."""
        if len(row) != self.width:
            self.ragged.append(line)
            self.remark(line, f"{len(row)} field{'s' * (len(row) != 1)} instead of {self.width}")
            return
        try:
            numbers = [float(row[i]) for i in self.picks]
        except ValueError:
            numbers = [self._number(line, row[i], i) for i in self.picks]
        self.cells.extend(numbers)
        self.lines.append(line)

    def remark(self, line: int, what: str) -> None:
        """Remember what is odd about a line, for the first few."""
        if line in self.said or len(self.said) < SHOWN:
            self.said.setdefault(line, what)

    def _number(self, line: int, cell: str, column: int) -> float:
        try:
            return float(cell)
        except ValueError:
            if cell.strip().lower() not in MISSING:
                self.words[column] += 1
                self.example.setdefault(column, cell)
                self.remark(line, f"{self.names[column]} is {cell[:40]!r}")
            return float("nan")


def _scan(path: Path, lines: io.TextIOBase, columns: Sequence[str | int] | None) -> _Scan:
    rows = rows_of(lines)
    line, head = next(rows, (0, []))
    if not head:
        raise faulty("a table with rows", f"'{path}', which has only empty lines", "Choose another file.")
    names, titled = header(head)
    scan = _Scan(names, choose(names, columns, path.name), len(head))
    if not titled:
        scan.add(line, head)
    for line, row in rows:
        scan.add(line, row)
    return scan


def rows_of(lines: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with the line it ends in; the delimiter is found from the first one."""
    first = lines.readline()
    while first and not first.strip():
        first = lines.readline()
    lines.seek(0)
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    return ((reader.line_num, row) for row in reader if row)


def header(head: list[str]) -> tuple[tuple[str, ...], bool]:
    """The names of columns, and whether the first row says them: none of its cells is a number."""
    titled = not any(_is_number(cell) for cell in head) and any(cell.strip() for cell in head)
    return tuple((titled and cell.strip()) or f"c{i}" for i, cell in enumerate(head)), titled


def _judged(path: Path, scan: _Scan, bad_rows: BadRows) -> Table:
    """Numbers from a scan, once its bad rows are refused or left out."""
    file, names = path.name, [scan.names[i] for i in scan.picks]
    total = len(scan.lines) + len(scan.ragged)
    if not total:
        raise faulty("a table with rows", f"'{path}', which has only a header", "Write rows below the header.")
    for column, count in scan.words.items():
        if 2 * count > len(scan.lines):
            numeric = [i for i in range(scan.width) if 2 * scan.words[i] <= len(scan.lines)]
            raise _no_numbers(file, scan.names, column, numeric, f"{scan.example[column][:40]!r}")
    values = np.frombuffer(scan.cells, dtype=np.float64).reshape(-1, len(names))
    finite = np.asarray(np.isfinite(values).all(1))
    bad = sorted([*scan.ragged, *(scan.lines[i] for i in np.flatnonzero(~finite))])
    where = {scan.lines[i]: int(np.flatnonzero(~np.isfinite(values[i]))[0]) for i in np.flatnonzero(~finite)}
    odd = {line: f"{names[column]} is missing or not finite" for line, column in where.items()} | scan.said
    said = (f"{file}:{line} ({odd.get(line, 'another number of fields')})" for line in bad)
    note = judge(said, len(bad), total, file, bad_rows)
    places = Places(file, np.array(scan.lines))
    return Table(tuple(names), values[finite] if bad else values, places.some(finite) if bad else places, note)


def _no_numbers(file: str, names: Sequence[str], column: int, numeric: Sequence[int], example: str) -> Exception:
    fix = f"Choose columns of numbers: columns=[{listed([names[i] for i in numeric])}]."
    if not numeric:
        fix = "It has no column of numbers; choose another file."
    return faulty("numbers in every column", f"text in column '{names[column]}' of {file} ({example})", fix)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def text_of(path: Path) -> io.TextIOBase:
    """The file opened as text, gzipped or not."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")  # type: ignore[arg-type]
    return path.open(encoding="utf-8-sig", newline="")


def _where_not_utf8(path: Path) -> str:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw:
        for number, line in enumerate(raw, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"{path.name}:{number} with byte 0x{line[error.start]:02x} at column {error.start + 1}"
    return f"{path.name}, which ends within a character"

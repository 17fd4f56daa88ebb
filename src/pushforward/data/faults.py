"""Words for what is wrong with a file: which rows, how many, and what to do.

Rows are named as an editor shows them, `housing.csv:292`, at most ten of them, with the total.
"""

import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from pushforward._errors import ConfigError, DataError, explain

SHOWN = 10


def faulty(expected: str, got: str, fix: str) -> DataError:
    """A `DataError` in three parts."""
    return DataError(explain(expected, got, fix))


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """As `bad_rows`: leave bad rows out, and write down which and why.

    >>> ledger = Ledger()
    >>> judge(["a.csv:3 (age is missing)"], 1, 9, "a.csv", ledger), ledger.rows
    ('1 of 9 skipped as bad.', ['a.csv:3 (age is missing)'])
    """

    rows: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where rows came from, for whoever must name one.

    Args:
        file: the file's name; empty if `rows` says it all.
        rows: each row's place in it, counted from 1 as an editor does, or in words.

    >>> Places("cars.csv", range(2, 40)).of(15)
    'cars.csv:17'
    """

    file: str
    rows: "range | np.ndarray"

    def of(self, row: int) -> str:
        """Where one came from."""
        return f"{self.file}:{self.rows[row]}" if self.file else str(self.rows[row])

    def some(self, chosen: "np.ndarray | slice") -> "Places":
        """Those of some rows, in this order."""
        return Places(self.file, self.rows[chosen] if isinstance(chosen, slice) else np.asarray(self.rows)[chosen])


BadRows = str | Ledger
"""What to do with bad rows: "error", "skip", or a `Ledger` to skip them into."""


def check_bad_rows(bad_rows: BadRows) -> None:
    """Refuse any other word than "error" and "skip"."""
    if not isinstance(bad_rows, Ledger) and bad_rows not in ("error", "skip"):
        raise ConfigError(explain('bad_rows="error" or "skip"', repr(bad_rows), "Choose one of the two."))


def judge(
    found: Iterable[str],
    bad: int,
    total: int,
    name: str,
    bad_rows: BadRows,
    expected: str = "finite numbers in every row",
) -> str:
    """Raise for bad rows, or say how many were skipped.

    Args:
        found: descriptions such as "a.csv:3 (age is missing)"; at most ten are shown.
        bad: how many there are.
        total: how many rows there are, good and bad.
        name: the file's name.
        bad_rows: "error", "skip" or a ledger.
        expected: what good rows are.

    Returns:
        A sentence for `Dataset.source`, empty where nothing was skipped.

    Raises:
        DataError: bad rows with "error"; more than half of them bad with "skip".
    """
    if not bad:
        return ""
    skip = bad_rows != "error"
    if skip and 2 * bad <= total:
        if isinstance(bad_rows, Ledger):
            bad_rows.rows.extend(found)
        return f"{bad:,} of {total:,} skipped as bad."
    listed = "; ".join(islice(found, SHOWN)) + (f"; and {bad - SHOWN:,} more" if bad > SHOWN else "")
    if skip:
        fix = "With bad_rows='skip' at most half may go; check that this is the right file and format."
    else:
        fix = "Repair them, or pass bad_rows='skip' to leave them out."
    raise faulty(expected, f"{bad:,} bad of {total:,} in {name}: {listed}", fix)


@contextmanager
def reading(path: Path, what: str, *errors: type[Exception]) -> Generator[None]:
    """Turn the errors of a reader into one sentence that names the file.

    Args:
        path: the file.
        what: what it should be ("an .npy array").
        errors: besides OSError, EOFError, MemoryError and those of zip, what the reader raises on damaged files.
    """
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, MemoryError, zlib.error, *errors) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        fix = "Check that the file is whole and readable, or write it again."
        raise faulty(what, f"'{path}', which cannot be read ({reason})", fix) from error


def check_file(path: Path) -> None:
    """Refuse a path that is no file, or an empty one."""
    with reading(path, "a readable file"):
        if not path.is_file():
            raise faulty("a file", f"'{path}', which is not one", "Check the path.")
        if path.stat().st_size == 0:
            raise faulty("a file with data", f"'{path}', which is empty", "Write it again or choose another file.")

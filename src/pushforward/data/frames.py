"""Tables in memory: arrays and data frames in, their like out.

A data frame is whatever has `columns` and gives one by its name, or a dictionary of columns; the class of a table is
called with such a dictionary to make another of its kind, as pandas and polars have it. A column becomes numbers, NaN
where something is missing (None, NaN, NA): its own, or the places of its categories. What comes out has the row labels
(`index`) and the types of columns that came in, but for types that cannot hold the values.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from pushforward._errors import ConfigError, DataError, explain
from pushforward.data.column_kinds import Categorical, Circular, Column, Integer, Positive, Real, Value
from pushforward.data.faults import faulty

WORDS: Mapping[str, Callable[[], Column]] = {
    "real": Real, "positive": Positive, "circular": Circular, "integer": Integer, "categorical": Categorical,
}  # fmt: skip
"""What a column may be called; `Bounded` needs its bounds."""

_SHORT = frozenset(["float16", "float32"])
"""Types in which rounding may leave a support."""

_NUMBERS = (int, float, Decimal, np.integer, np.floating, np.bool_)
"""Types that compare with numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The columns of a table as they came.

    Args:
        names: of the columns; their numbers where they have none.
        cells: each column, [rows].
        maker: the class of a data frame; None for arrays.
        dtype: of an array.
        dtypes: of each column, None where it has none; nothing if none has.
        labels: the `index` of a data frame that has one.
    """

    names: tuple[Any, ...]
    cells: tuple[np.ndarray, ...]
    maker: Callable[[dict[Any, np.ndarray]], Any] | None
    dtype: np.dtype[Any]
    dtypes: tuple[Any, ...] = ()
    labels: Any = None

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.cells[0])

    def like(self, columns: tuple[np.ndarray, ...]) -> Any:
        """Other columns in a table of this kind."""
        if self.maker is not None:
            return self._made(dict(zip(self.names, columns, strict=True)))
        if any(column.dtype.kind == "O" for column in columns) or self.dtype.kind == "O":
            return np.stack([column.astype(object) for column in columns], 1)
        held = {"i": "iu", "u": "iu", "b": "b"}.get(self.dtype.kind, "")
        # never float32: rounding may leave a support
        return np.stack(columns, 1).astype(self.dtype if all(c.dtype.kind in held for c in columns) else np.float64)

    def empty(self) -> "Frame":
        """The same kind of table without its rows."""
        return replace(self, cells=tuple(cell[:0] for cell in self.cells), labels=None)

    def _made(self, columns: dict[Any, np.ndarray]) -> Any:
        """A data frame with the labels and the types of this one, where a type holds the same values."""
        assert self.maker is not None
        made = self.maker(columns)
        if self.labels is not None:
            made.index = self.labels
        turn = "astype" if hasattr(made, "astype") else "cast"
        for name, dtype in zip(self.names, self.dtypes) if hasattr(made, turn) else ():
            if dtype is None or str(dtype).lower() in _SHORT:
                continue
            with suppress(Exception):  # of their library: the values cannot be had in that type
                turned = getattr(made, turn)({name: dtype})
                made = turned if (turned[name] == made[name]).all() else made
        return made


def frame(table: Any) -> Frame:
    """The columns of a data frame, of a dictionary of columns, or of an array [rows, columns].

    Raises:
        DataError: anything else, complex numbers, no rows or no columns.
    """
    if hasattr(table, "toarray"):  # a sparse one may be a mapping too
        fix = "Call its toarray()."
        raise faulty("a dense table", f"a sparse {type(table).__name__}", fix)
    if isinstance(table, Mapping):
        return _named(tuple(table), table, dict)
    if hasattr(table, "columns") and not callable(table.columns):
        return _named(tuple(table.columns), table, type(table))
    array = np.asarray(table)
    if array.ndim != 2:
        fix = "Reshape your data: array.reshape(-1, 1) if it has one column, array.reshape(1, -1) if it is one row."
        raise faulty("2D array [rows, columns]", f"{array.ndim}D array instead", fix)
    if array.dtype.kind == "c":
        raise faulty("real numbers", "complex ones", "Complex data not supported: give real and imaginary part apart.")
    return _sized(Frame(tuple(range(array.shape[1])), tuple(array.T), None, array.dtype), array.shape)


def _named(names: tuple[Any, ...], table: Any, maker: Callable[[dict[Any, np.ndarray]], Any]) -> Frame:
    """A table whose columns have names.

    Raises:
        DataError: names that stand twice, columns of several lengths or of more than numbers.
    """
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise faulty("columns with names of their own", f"{twice[0]!r} twice or more", "Rename them.")
    columns = [table[name] for name in names]
    cells = tuple(map(_array, columns))
    odd = [(name, cell.shape) for name, cell in zip(names, cells) if cell.shape != (cells[0].shape or (0,))[:1]]
    if odd:
        got = f"column {odd[0][0]!r} of shape {odd[0][1]} beside {cells[0].shape}"
        raise faulty("columns of one length, a value in each row", got, "Give each row one value in every column.")
    dtypes = tuple(getattr(column, "dtype", None) for column in columns)
    labels = None if maker is dict or callable(getattr(table, "index", None)) else getattr(table, "index", None)
    made = Frame(names, cells, maker, np.dtype(object), dtypes, labels)
    return _sized(made, (len(cells[0]) if cells else 0, len(names)))


def _array(column: Any) -> np.ndarray:
    """A column as an array, object where numpy would make floats of categories, or of whole numbers with holes."""
    array, dtype = np.asarray(column), str(getattr(column, "dtype", "")).lower()
    if dtype == "category" or (array.dtype.kind == "f" and dtype.startswith(("int", "uint"))):
        array = np.empty(len(array), dtype=object)
        array[:] = list(column)
    return array


def _sized(made: Frame, shape: tuple[int, ...]) -> Frame:
    if shape[0] < 1 or shape[1] < 1:
        what = "feature" if shape[1] < 1 else "sample"
        got = f"0 {what}(s) (shape={shape}) while a minimum of 1 is required"
        raise faulty("a table with rows and columns", got, "Give it data.")
    return made


def kinds(given: Frame, declared: Mapping[Any, Column | str]) -> tuple[Column, ...]:
    """What each column holds: as declared, or by its type.

    Whole numbers, and what is called "integer", are `Integer` (of at least 0 if none is below); words, truth values
    and categories of any values `Categorical`; others `Real`. A named column of floats counts as whole numbers where
    some are missing and all others are whole, since numpy and pandas write whole numbers with holes so: declare it
    "real" if it is not. Without holes, floats are real.

    Raises:
        ConfigError: a name the table does not have, or a word that is none of `WORDS`.
    """
    for name, kind in declared.items():
        if name not in given.names:
            raise ConfigError(explain("names of columns", repr(name), f"The table has {list(given.names)[:12]}."))
        if not isinstance(kind, Column) and kind not in WORDS:
            fix = f"Use {', '.join(WORDS)}, or Bounded(low, high)."
            raise ConfigError(explain(f"a kind for column {name!r}", repr(kind), fix))
    dtypes = given.dtypes or (None,) * len(given.names)
    return tuple(map(_kind, given.cells, map(declared.get, given.names), dtypes))


def _kind(cell: np.ndarray, declared: Column | str | None, dtype: Any) -> Column:
    kind = WORDS[declared]() if isinstance(declared, str) else declared
    words = cell.dtype.kind in "bUS" or any(isinstance(value, str | bool | np.bool_) for value in cell)
    if isinstance(kind, Categorical) or (kind is None and (words or str(dtype) == "category")):
        return kind if isinstance(kind, Categorical) and kind.values else Categorical(_values(cell))
    if declared == "integer" or (kind is None and _whole(cell, named=dtype is not None)):
        return Integer(0 if all(isinstance(value, _NUMBERS) and value >= 0 for value in _there(cell)) else None)
    return kind or Real()


def _whole(cell: np.ndarray, named: bool) -> bool:
    """Whether a column is of whole numbers, by its type or, with holes, by its values."""
    if cell.dtype.kind == "O":
        there = _there(cell)
        return bool(there) and all(isinstance(value, int | np.integer) for value in there)
    if cell.dtype.kind == "f" and named:
        holes = np.isnan(cell)
        return bool(holes.any() and not holes.all() and (cell[~holes] == np.trunc(cell[~holes])).all())
    return cell.dtype.kind in "iu"


def _values(cell: np.ndarray) -> tuple[Value, ...]:
    """The different values of a column in order; by their text where words are among them."""
    found = {_plain(value) for value in _there(cell)}
    numeric = [value for value in found if not isinstance(value, str)]
    return tuple(sorted(numeric) if len(numeric) == len(found) else sorted(found, key=str))


def numbers(given: Frame, kinds: tuple[Column, ...]) -> np.ndarray:
    """Values [rows, columns], float64: categories by their place (-1 for strangers), NaN where missing.

    Raises:
        DataError: infinite numbers, or words, dates or anything else that is no number in a column of numbers.
    """
    return np.stack([_numbers(*each) for each in zip(given.names, given.cells, kinds, strict=True)], 1)


def _numbers(name: Any, cell: np.ndarray, kind: Column) -> np.ndarray:
    if isinstance(kind, Categorical):
        places = {value: float(place) for place, value in enumerate(kind.values)}
        words = all(isinstance(value, str) for value in places)
        return np.array([np.nan if _missing(v) else _place(_plain(v), places, words) for v in cell])
    expected = f"numbers in column {name!r}"
    fix = "Turn them into numbers: days since a date, or hours of the day as Circular(24)."
    if cell.dtype.kind in "mM":
        raise faulty(expected, "dates", fix)
    if cell.dtype.kind == "c":
        raise faulty(expected, "complex ones", "Give real and imaginary part apart.")
    try:
        clean = [np.nan if _missing(v) else float(v) for v in cell] if cell.dtype.kind == "O" else cell
        values = np.asarray(clean, dtype=np.float64)
    except TypeError as error:
        odd = next(type(v).__name__ for v in _there(cell) if not isinstance(v, (*_NUMBERS, str)))
        raise faulty(expected, f"values of the type {odd}", fix) from error
    except (ValueError, OverflowError) as error:
        raise faulty(expected, f"{error}", "Declare it 'categorical'.") from error
    if np.isinf(values).any():
        raise faulty(f"finite numbers in column {name!r}", "infinity (inf)", "Leave such rows out, or make them NaN.")
    return values


def _place(value: Value, places: Mapping[Value, float], words: bool) -> float:
    """The place of a category; among words a number or truth value is the word that it is written as."""
    if words and not isinstance(value, str):
        value = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    return places.get(value, -1.0)


def cells(values: np.ndarray, kinds: tuple[Column, ...]) -> tuple[np.ndarray, ...]:
    """The columns of values as users know them: whole numbers, categories, NaN or None where missing."""
    return tuple(_cells(column, kind) for column, kind in zip(values.T, kinds, strict=True))


def _cells(column: np.ndarray, kind: Column) -> np.ndarray:
    missing = np.isnan(column)
    if isinstance(kind, Categorical):
        found = [None if gone else kind.values[int(v)] for v, gone in zip(column, missing, strict=True)]
        made = np.empty(len(found), dtype=object)
        made[:] = found
        if (
            not missing.any()
            and found
            and all(type(v) is type(found[0]) for v in found)
            and not isinstance(found[0], str)
        ):
            return np.array(found)
        return made
    whole = isinstance(kind, Integer) and bool((np.abs(column) < 2.0**63).all())  # neither missing nor beyond int64
    return column.astype(np.int64) if whole else column


def _there(cell: np.ndarray) -> list[Any]:
    return [value for value in cell if not _missing(value)]


def _missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _plain(value: Any) -> Value:
    """A numpy scalar as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, str | int | float | bool):
        raise DataError(explain("words, numbers or truth values as categories", repr(value), "Turn them into words."))
    return value

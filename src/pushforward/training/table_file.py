"""What a run must know of its table's columns: kept in the run folder as `columns.toml`.

    value  --kind-->  y  --tails-->  b  --(b - mean)/std-->  z,      the numbers that the flow has learned

Kinds are of a closed table of words, so a stranger's file is safe to read.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

from pushforward import _config
from pushforward._errors import RunError, explain
from pushforward.data.column_kinds import Bounded, Categorical, Circular, Column, Integer, Positive, Real
from pushforward.data.columns import Columns
from pushforward.data.tails import Tails

FILE: Final = "columns.toml"

COLUMNS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "real": Real,
        "positive": Positive,
        "bounded": Bounded,
        "circular": Circular,
        "integer": Integer,
        "categorical": Categorical,
    }
)
"""The closed table: the word of a kind of column, and its class."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """`Columns` as plain values."""

    names: tuple[str, ...]
    kinds: tuple[Column, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    middle: tuple[float, ...] = ()
    unit: tuple[float, ...] = ()


def write_columns(columns: Columns, run: str | os.PathLike[str]) -> None:
    """Keep what was learned of a table's columns in a run folder."""
    _config.write(_plain(columns), Path(run) / FILE, COLUMNS)


def require_columns(columns: Columns, run: str | os.PathLike[str]) -> None:
    """Refuse to go on with a run whose table was another.

    Raises:
        RunError: the run keeps columns, and they are not these.
    """
    if (Path(run) / FILE).is_file() and _plain(read_columns(run)) != _plain(columns):
        fix = "Go on with the rows it was begun with, or use another folder."
        raise RunError(explain(f"the table that {str(run)!r} was begun with", "another", fix))


def read_columns(run: str | os.PathLike[str]) -> Columns:
    """The columns that a run folder keeps.

    Raises:
        RunError: it keeps none.
    """
    path = Path(run) / FILE
    if not path.is_file():
        got = f"{str(run)!r}, which {f'has no {FILE}' if Path(run).exists() else 'does not exist'}"
        fix = "Train one: pushforward train my.csv --model nsf."
        raise RunError(explain("a run of a table's flow", got, fix))
    plain = _config.from_table(_Columns, _config.read(path), COLUMNS)
    none = (0.0,) * len(plain.names)  # runs from before tails were bent
    parts = (plain.mean, plain.std, plain.middle or none, plain.unit or none)
    mean, std, middle, unit = (torch.tensor(part, dtype=torch.float64) for part in parts)
    return Columns(plain.names, plain.kinds, mean, std, Tails(middle, unit))


def _plain(columns: Columns) -> _Columns:
    tails = columns.tails
    parts = (columns.mean, columns.std, *((tails.middle, tails.unit) if tails.unit.any() else ()))
    return _Columns(columns.names, columns.kinds, *(tuple(part.tolist()) for part in parts))

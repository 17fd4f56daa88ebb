"""Tables whose columns hold anything, as the verbs see them: read, learned, drawn and judged in their own units.

    file  --kinds-->  columns  --train-->  run  --sample-->  file of the same columns
                                                --evaluate-->  nats per row

A flow of a table (`--model nsf` or `maf` on a .csv, .tsv or .parquet file) learns every conditional of its rows, so
values may be missing. `columns.toml` in the run folder says what each column holds; Python has the same run as
`training.FlowDensity.of_run(run)`.
"""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pushforward as pf
from pushforward._durable import replacing
from pushforward._errors import ConfigError, PushforwardError, explain
from pushforward.cli.units import Reading, Units, as_flags

if TYPE_CHECKING:
    import torch

    from pushforward._recipe import Table
    from pushforward.data.column_kinds import Column
    from pushforward.data.columns import Columns
    from pushforward.data.frames import Frame
    from pushforward.training.rows import Rows

SUFFIXES = (".csv", ".tsv", ".parquet")
COLUMNS = "columns.toml"  # `training.table_file.FILE`, which would import torch
HELD_OUT = 0.2
_FEW = 20  # categories that may each stand once


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A table in a file, split as it always is.

    Args:
        name: what it is called.
        frame: its cells.
        kinds: what the columns hold.
        kept, held_out: the numbers of the rows to train on and of the others.
        note: what was left out, in words.
    """

    name: str
    frame: "Frame"
    kinds: "tuple[Column, ...]"
    kept: "torch.Tensor"
    held_out: "torch.Tensor"
    note: str

    def rows(self, of: "torch.Tensor") -> "dict[Any, Any]":
        """Some of the rows, as a dictionary of columns."""
        return {name: cell[of.numpy()] for name, cell in zip(self.frame.names, self.frame.cells, strict=True)}

    def describe(self) -> str:
        """One line: name, sizes, and how many columns are of which kind."""
        words = [type(kind).__name__.lower() for kind in self.kinds]
        count = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return f"{self.name}: {len(self.kept):,} + {len(self.held_out):,} rows, columns: {count}. {self.note}".strip()


def is_table(path: str) -> bool:
    """Whether a path is that of a table in a file."""
    return Path(path.lower().removesuffix(".gz")).suffix in SUFFIXES


def is_mixed(run: Path) -> bool:
    """Whether a run is that of a table's flow."""
    return (run / COLUMNS).is_file()


def open_mixed(path: str, reading: Reading) -> Mixed:
    """The table in a file, with what its columns hold.

    Raises:
        DataError: no such file, or a damaged one, with file and row.
        ConfigError: a kind that does not exist, or of a column that does not; options for other data; words that hardly
            repeat, in a column that is not declared categorical.
    """
    import torch

    from pushforward._random import Draw
    from pushforward.data.column_kinds import Categorical
    from pushforward.data.frames import kinds
    from pushforward.data.mixed import read_mixed

    if reading.array is not None or reading.size is not None:
        got = "--array" if reading.array is not None else "--size"
        raise ConfigError(explain("options of a table", got, "Drop it."))
    declared = dict(map(declared_kind, reading.kinds))
    words = [name for name, kind in declared.items() if kind == "categorical"]
    bad_rows = reading.bad_rows or "error"
    try:
        frame, whole, note = read_mixed(Path(path).expanduser(), reading.columns or None, words, bad_rows)
    except PushforwardError as error:
        raise type(error)(as_flags(str(error))) from error
    found = kinds(frame, dict.fromkeys(whole, "integer") | declared)
    for name, kind in zip(frame.names, found, strict=True):
        if name not in declared and isinstance(kind, Categorical):
            _check_repeats(name, len(kind.values), frame)
    share = HELD_OUT if reading.held_out is None else reading.held_out
    if not 0 <= share < 1 or frame.rows - int(share * frame.rows) < 2:
        got = f"--held-out {share} of {frame.rows} row{'s' * (frame.rows != 1)}"
        raise ConfigError(explain("two rows or more to train on", got, "Hold fewer out, or give more rows."))
    order: torch.Tensor = Draw(0, "table/split").permutation(frame.rows)
    held = order[: int(share * frame.rows)].sort().values
    kept = order[int(share * frame.rows) :].sort().values
    return Mixed(Path(path).name.removesuffix(".gz").rsplit(".", 1)[0], frame, found, kept, held, note)


def _check_repeats(name: str, different: int, frame: "Frame") -> None:
    """Words that hardly repeat are dates, names or texts, whose next one no category can be."""
    if different <= max(_FEW, frame.rows // 2):
        return
    rest = " ".join(f"{other}" for other in frame.names if other != name)
    fix = f"Leave it out (--columns {rest}), write dates as numbers, or say --kinds {name}=categorical."
    got = f"{different:,} in {frame.rows:,} rows"
    raise ConfigError(explain(f"words that repeat in column {name!r}, as categories do", got, fix))


def declared_kind(word: str) -> "tuple[str, Column | str]":
    """A column's name and kind, of NAME=KIND as `--kinds` has it.

    Raises:
        ConfigError: it is none, or an impossible one.

    >>> declared_kind("share=bounded:0:1")
    ('share', Bounded(low=0.0, high=1.0))
    """
    from pushforward.data.column_kinds import Bounded, Circular, Integer, Positive

    name, equals, said = word.rpartition("=")
    kind, *ends = said.split(":")
    try:
        numbers = [float(end) for end in ends]
    except ValueError:
        numbers = [math.nan]
    match kind, numbers:
        case _ if not equals or not all(map(math.isfinite, numbers)):
            pass
        case "real" | "positive" | "circular" | "integer" | "categorical", []:
            return name, kind
        case "positive", [low]:
            return name, Positive(low)
        case "bounded", [low, high]:
            return name, Bounded(low, high)
        case "circular", [period]:
            return name, Circular(period)
        case "integer", [low] if low == int(low):
            return name, Integer(int(low))
        case "integer", [low, high] if low == int(low) and high == int(high):
            return name, Integer(int(low), int(high))
        case _:
            pass
    expected = (
        "NAME=KIND with real, positive, bounded:LOW:HIGH, circular:PERIOD, integer, integer:LOW:HIGH, categorical"
    )
    raise ConfigError(explain(expected, f"--kinds {word}", "For example: --kinds share=bounded:0:1 hour=circular:24."))


def learned(table: Mixed, flow: "pf.models.Model", recipe: "Table", seed: int) -> "tuple[Rows, Columns]":
    """What the flow of a table is trained on, and what is to be remembered of its columns."""
    import torch

    from pushforward._random import Draw
    from pushforward.data.columns import Columns
    from pushforward.data.frames import numbers
    from pushforward.models import AnyConditional
    from pushforward.training.rows import Rows

    assert isinstance(flow, pf.NormalizingFlow), "a table's recipe builds a flow"
    values = torch.from_numpy(numbers(table.frame, table.kinds))[table.kept]
    u = Draw(seed, "table/learn").uniform(len(values), (values.shape[1],), torch.float64)
    try:
        columns = Columns.learn(tuple(map(str, table.frame.names)), table.kinds, values, u)
    except ConfigError as error:
        raise ConfigError(as_flags(str(error))) from error
    middle = columns.encode(values, torch.full_like(values, 0.5))[0]
    return Rows(values, middle, columns, AnyConditional.around(flow), recipe.conditionals), columns


def units_of_table(table: Mixed, path: str, reading: Reading) -> Units:
    """What a run remembers of where its table was; the units themselves are in `columns.toml`."""
    n, names = len(table.kinds), tuple(map(str, table.frame.names))
    return Units(str(Path(path).resolve()), table.name, "table", (n,), columns=names, reading=reading)


def sample_table(run: Path, out: Path, n: int, seed: int, first: int, given: tuple[str, ...]) -> None:
    """Draw rows and write them as a table.

    Raises:
        ConfigError: a file of another kind, or a column that does not exist.
        DataError: a value that is impossible.
    """
    if out.suffix.lower() != ".csv":
        fix = "Name it so."
        raise ConfigError(explain("--out to end in .csv, for a table whose columns hold anything", repr(str(out)), fix))
    estimator = pf.training.FlowDensity.of_run(run)
    pairs = dict(_given(word, estimator.columns_) for word in given)
    if len(pairs) < len(given):
        fix = "Keep the value you mean."
        raise ConfigError(explain("--given with each column once", f"--given {' '.join(given)}", fix))
    columns = estimator.conditional(pairs, n, seed, first)

    with replacing(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def _given(word: str, columns: "Columns") -> tuple[str, Any]:
    """A column's name and value, of NAME=VALUE."""
    from pushforward.data.column_kinds import Categorical

    name, equals, value = word.partition("=")
    if not equals or name not in columns.names:
        expected = f"NAME=VALUE with one of the columns {', '.join(columns.names)}"
        raise ConfigError(explain(expected, f"--given {word}", "For example: --given age=40."))
    kind = columns.kinds[columns.names.index(name)]
    if isinstance(kind, Categorical):
        if value not in map(str, kind.values):
            known = ", ".join(map(str, kind.values[:12]))
            raise ConfigError(explain(f"a value of {name!r} ({known})", f"--given {word}", "Choose one of them."))
        return name, next(each for each in kind.values if str(each) == value)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        fix = "Change it, or leave it out: what is not given is drawn."
        raise ConfigError(explain(f"a number for {name!r}", f"--given {word}", fix))
    return name, number


@dataclass(frozen=True, slots=True)
class Score:
    """How well a run models rows it has not seen, in nats per row.

    Args:
        nats: the mean over rows whose density is not 0.
        rows: how many rows were judged.
        outside: how many more have density 0: a value outside its support.
        holes: how many rows have missing values.
        discrete: columns that have probabilities instead of densities.
        draws: points that each row's probabilities are a mean over.
        whose: "held-out" if the rows are those of the run's own split.
    """

    nats: "pf.report.Estimate"
    rows: int
    outside: int
    holes: int
    discrete: tuple[str, ...]
    draws: int
    whose: str = "held-out"

    def __str__(self) -> str:
        text = f"{self.nats} nats per row over {self.rows:,} {self.whose} rows, in the units of the columns"
        if self.holes:
            text += f"; of what is there in {self.holes:,} rows with missing values"
        if self.discrete:
            text += f"; probabilities of {', '.join(self.discrete)}, a lower bound by {self.draws} points"
        if self.outside:
            text += f"; {self.outside:,} more rows have density 0 (a value outside its support)"
        return text


def score_table(run: Path, units: Units, data: str | None, n: int, draws: int) -> tuple[Mixed, Score]:
    """The log-likelihood of held-out rows.

    Raises:
        ConfigError: no rows held out, or other columns than the run's.
    """
    import numpy as np
    import torch

    from pushforward.data.frames import frame, numbers
    from pushforward.report.estimate import mean

    estimator = pf.training.FlowDensity.of_run(run).set_params(draws=draws)
    columns = estimator.columns_
    table = open_mixed(data or units.path, replace(units.reading, columns=units.columns))
    judged, whose = table.held_out, "held-out"
    if not len(judged):
        if data is None:
            fix = "Name other rows by --data, or train with --held-out 0.2."
            raise ConfigError(explain("held-out rows", f"none in {table.name!r}", fix))
        judged, whose = table.kept, "given"
    rows = table.rows(judged[:n])
    logs = torch.from_numpy(estimator.score_samples(rows))
    holes = int(np.isnan(numbers(frame(rows), columns.kinds)).any(1).sum())
    inside = logs[~logs.isneginf()]
    discrete = tuple(name for name, kind in zip(columns.names, columns.kinds, strict=True) if kind.discrete)
    nats = mean(inside) if len(inside) else pf.report.Estimate(-math.inf)
    return table, Score(nats, len(inside), len(logs) - len(inside), holes, discrete, draws, whose)

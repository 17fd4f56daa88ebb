"""`--source`: samples that start from other data, not from noise.

What `train` keeps of them in the run, and what `sample` carries over. Both sets stand in the units of the data: what is
equal in both is equal to the model, and a row that fits already need not move.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pushforward as pf
from pushforward._errors import ConfigError, DataError, explain
from pushforward.cli.options import starts_from_rows
from pushforward.cli.runs import speak
from pushforward.cli.tables import is_table
from pushforward.cli.units import Units, lasting

if TYPE_CHECKING:
    import torch

    from pushforward.cli.sample import Sample

_MOST: Final = 2**24
"""Numbers of a source that a run keeps: 64 MiB."""
_LARGEST: Final = 2**31
"""Bytes of shards that are carried over at once."""


class Kept(NamedTuple):
    """What a run has of the data that it starts from.

    Args:
        units: of the run.
        rows: of the source, in the model's units.
        skipped: rows that were left out, each with its file and line.
    """

    units: Units
    rows: "pf.models.Rows"
    skipped: tuple[str, ...]


def kept(path: str, data: "pf.data.Dataset", units: Units, seed: int) -> Kept:
    """The rows that a run starts from, as many as it can keep.

    Args:
        path: where the source is.
        data: what the rows are carried to.
        units: of these, with the classes that the model is conditioned on.
        seed: of the noise that spreads levels.

    Raises:
        ConfigError: events that do not fit each other.
        DataError: rows that are all the same.
    """
    import torch

    from pushforward._random import Draw

    source, skipped = _opened(path, units, data.scaling)
    labels = source.labels if units.labels else ()
    if labels != units.labels:
        fix = "Leave --conditional out, or give both the same classes."
        raise ConfigError(explain(f"the classes {units.labels} of --source, as the data have", f"{labels}", fix))
    n = len(source.values)
    count = min(n, max(1, _MOST // max(1, source.values[0].numel())))
    if len(source) > count:
        speak(f"Of {len(source):,} rows of {source.name} {count:,} are used, which a run can keep.")
    these = torch.arange(count) * n // count  # evenly: files may stand class by class
    context = None if source.context is None else source.context[these]
    part = replace(source, values=source.values[these], context=context, stream=None, split=None, places=None)
    batch, classes = part.train_batch(Draw(seed, "source")), len(units.labels)
    if (batch.x == batch.x[:1]).all():
        got, fix = f"{count:,} of {source.name}, all the same", "From one point all samples would be one: add rows."
        raise DataError(explain("rows of --source that differ", got, fix))
    rows = pf.models.Rows.of(batch.x, batch.context if classes else None, classes)
    return Kept(replace(units, name=f"{units.name} from {source.name}", source=lasting(path)), rows, skipped)


def _opened(path: str, units: Units, scaling: "pf.data.Scaling") -> "tuple[pf.data.Dataset, tuple[str, ...]]":
    """The source in the units of a run, a table's columns by their names; and which rows were left out.

    Raises:
        ConfigError: events of another shape or kind, other columns or levels.
    """
    ledger = pf.data.Ledger()
    named = is_table(path) or any(Path(path).glob("*.parquet"))
    source = units.reading.open(path, ledger, scaling, units.columns if named else ())
    pairs: list[tuple[str, Any, Any]] = [
        ("events of shape {}", units.shape, tuple(source.shape)),
        ("the columns {}", units.columns, source.columns),
        ("events of kind {!r}", units.events, source.kind),
        ("{} levels", units.levels, source.scaling.levels),
    ]
    for words, wanted, got in pairs:
        if wanted != got:
            fix = "Both sets must be of one kind, with the same columns."
            if units.events == source.kind == "image":
                fix = "Images of both must be of one size (train takes --size), and both grey or both in colour."
            raise ConfigError(explain(f"{words.format(wanted)} of --source, as the data have", f"{got}", fix))
    return source, tuple(ledger.rows)


def carried(options: "Sample", units: Units) -> "tuple[torch.Tensor, torch.Tensor | None]":
    """The events of `sample --source` in their order and the model's units, and the class of each: its own, or --label.

    Raises:
        ConfigError: the run starts from noise, events do not fit, or there are fewer.
        DataError: shards of more than 2 GiB.
    """
    assert options.source is not None
    if not starts_from_rows(pf.training.read_run(options.run).model):
        fix = "Train one: pushforward train DATA --source OTHER."
        raise ConfigError(explain("a run that starts from other data, for --source", f"{str(options.run)!r}", fix))
    source, skipped = _opened(options.source, units, units.scaling)
    if skipped:
        first = "; ".join(skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
        rows = f"{len(skipped):,} row{'' if len(skipped) == 1 else 's'}"
        speak(f"{rows} of {source.name} left out, so that later ones move up: {first}.")
    stream = source.stream
    if stream is not None and len(stream) * source.values[0].nbytes > _LARGEST:
        got, fix = f"shards, {options.source!r}", "Carry their files over one by one."
        raise DataError(explain("a source of at most 2 GiB", got, fix))
    values, context = source.whole()
    last = len(values) if options.n is None else options.first + options.n
    if not options.first < last <= len(values):
        got = f"{last - options.first:,} from {options.first:,} on"
        raise ConfigError(explain(f"rows among the {len(values):,} of {source.name}", got, "Change -n or --first."))
    these = slice(options.first, last)
    classes = _classes(options.label, source.labels, context, units, len(values))
    return units.to_model(values[these]), None if classes is None else classes[these]


def _classes(
    label: str | None, names: tuple[str, ...], context: "torch.Tensor | None", units: Units, n: int
) -> "torch.Tensor | None":
    """The class of each of n rows: the one asked for, or their own, whose names are these; None for a run without.

    Raises:
        ConfigError: a class that the run does not know, or rows without.
    """
    import torch

    if label is not None or not units.labels:
        return units.classes(n, 0, label)
    if context is None or not set(names) <= set(units.labels):
        fix = "Say by --label which class all rows are of."
        raise ConfigError(explain(f"rows of the run's classes {units.labels}", f"{names or 'rows without'}", fix))
    return torch.tensor([units.labels.index(name) for name in names])[context]

"""`--source`: samples that start from other data, not from noise.

What `train` keeps of them in the run, and what `sample` carries over. Both sets stand in the units of the data: what is
equal in both is equal to the model, and a row that fits already need not move.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pushforward as pf
from pushforward._errors import ConfigError, DataError, explain
from pushforward.cli.options import starts_from_rows
from pushforward.cli.runs import speak
from pushforward.cli.units import Units, lasting

if TYPE_CHECKING:
    import torch

    from pushforward.cli.sample import Sample

_MOST: Final = 2**24
"""Numbers of a source that a run keeps: 64 MiB."""


def kept(path: str, data: "pf.data.Dataset", units: Units, seed: int) -> "tuple[Units, pf.models.Rows]":
    """The units of a run that starts from other data, and the rows of these, of the model's units.

    Args:
        path: where the source is.
        data: what the rows are carried to.
        units: of these, with the classes that the model is conditioned on.
        seed: of the noise that spreads levels.

    Raises:
        ConfigError: events that do not fit each other.
    """
    from pushforward._random import Draw

    source = units.reading.open(path)
    check(source, units, "--source")
    batch = replace(source, scaling=data.scaling).train_batch(Draw(seed, "source"))
    most = max(1, _MOST // max(1, batch.x[0].numel()))
    if len(source) > min(most, len(batch.x)):
        speak(f"Of {len(source):,} rows of {source.name} {min(most, len(batch.x)):,} are used, which a run can keep.")
    classes = len(units.labels)
    context = batch.context[:most] if classes and batch.context is not None else None
    rows = pf.models.Rows.of(batch.x[:most], context, classes)
    return replace(units, name=f"{units.name} from {source.name}", source=lasting(path)), rows


def check(source: "pf.data.Dataset", units: Units, flag: str) -> None:
    """Refuse events that a run of these units could not start from.

    Raises:
        ConfigError: another shape, other columns or levels, or other classes.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("events of shape {}", units.shape, tuple(source.shape)),
        ("the columns {}", units.columns, source.columns),
        ("{} levels", units.levels, source.scaling.levels),
        ("the classes {}", units.labels, source.labels if units.labels else ()),
    ]
    for words, wanted, got in pairs:
        if wanted != got:
            fix = "Both sets must be of one kind; --columns takes the same of both."
            raise ConfigError(explain(f"{words.format(wanted)} of {flag}, as the data have", f"{got}", fix))


def carried(options: "Sample", units: Units) -> "tuple[torch.Tensor, torch.Tensor | None]":
    """The events of `sample --source` in their order and the model's units, and the class of each: its own, or --label.

    Raises:
        ConfigError: the run starts from noise, events do not fit, or there are fewer.
        DataError: the source is more than memory holds.
    """
    assert options.source is not None
    if not starts_from_rows(pf.training.read_run(options.run).model):
        fix = "Train one: pushforward train DATA --source OTHER."
        raise ConfigError(explain("a run that starts from other data, for --source", f"{str(options.run)!r}", fix))
    source, label = units.reading.open(options.source), options.label
    check(source, units if label is None else replace(units, labels=()), "--source")
    if source.stream is not None:
        got, fix = f"shards, {options.source!r}", "Carry them over shard by shard."
        raise DataError(explain("a source that memory holds", got, fix))
    values, context = source.whole()
    last = len(values) if options.n is None else options.first + options.n
    if not options.first < last <= len(values):
        got = f"{last - options.first:,} from {options.first:,} on"
        raise ConfigError(explain(f"rows among the {len(values):,} of {source.name}", got, "Change -n or --first."))
    these, classes = slice(options.first, last), context if units.labels else None
    classes = classes if label is None else units.classes(len(values), 0, label)
    return units.to_model(values[these]), None if classes is None else classes[these]

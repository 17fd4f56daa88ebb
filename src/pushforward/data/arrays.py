"""From an array in memory to a data set: checks, split, scaling. Every reader ends here.

    pixels    whole numbers of one byte with two or more axes per event -> images, x = (v + u)/256 * 2 - 1
    numbers   anything else -> x = (v - mean)/std: per column for [n, columns], one pair for [n, a, b, ...]

Mean and std come from the training rows alone. Arrays beyond 256 MiB are never copied (a memory-mapped file
stays on disk): their last rows are held out; smaller ones are split by a keyed permutation.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.data.blocks import LARGE, mixed, warn_of_blocks
from pushforward.data.dataset import Dataset
from pushforward.data.faults import BadRows, Places, check_bad_rows, faulty, judge
from pushforward.data.scaling import Scaling

PIXELS = Scaling(offset=-1.0, scale=2 / 256, levels=256)
_FEWEST = 5
_CHUNK = 2**22
_LOOKED_AT = 2**14
_WILD = 30  # normals that are wider than the middle of a column says


def from_array(
    values: "np.ndarray | Tensor",
    context: "np.ndarray | Tensor | None" = None,
    *,
    name: str = "array",
    columns: Sequence[str] = (),
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    source: str = "",
    file: str = "",
    places: Places | None = None,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from rows in memory, or memory-mapped.

    Args:
        values: [n, columns], [n, a, b, ...] or [n] (one column). Bytes with two or more axes are images:
            [n, h, w], [n, h, w, channels] or [n, channels, h, w] (in doubt, the last axis is channels).
        context: one class per row, whole numbers or words; or None.
        name: for reports.
        columns: names of the columns; makes the data set a table.
        held_out: which share of the rows is never trained on.
        bad_rows: what to do with rows that are not finite, "error" or "skip".
        seed: of the split.
        source: where it came from.
        file: what errors call it; the name by default.
        places: where each row came from; the rows of `file` by default.
        scaling: of another data set, for numbers; then one row is enough, and columns may be constant.

    Raises:
        DataError: fewer than 5 rows, constant columns, rows that are not finite, values that are no numbers.
        ConfigError: a share outside (0, 1).

    >>> import numpy as np
    >>> from_array(np.arange(20.0).reshape(10, 2), name="line", columns=["a", "b"])
    <Dataset line: 8 + 2 rows, 2 columns>
    """
    if not 0 < held_out < 1:
        raise ConfigError(explain("a held-out share between 0 and 1", f"{held_out}", "Use 0.2, say."))
    fewest = _FEWEST if scaling is None else 1
    rows, given, places, note = _usable(values, context, file or name, bad_rows, fewest, places)
    train, held = _split(rows, held_out, seed)
    parts = [(rows[part], None if given is None else given[part]) for part in (train, held)]
    names, places = (name, file or name), places.some(train)
    found = _assembled(parts[0], parts[1], names, tuple(columns), f"{source} {note}".strip(), places, scaling)
    if isinstance(train, slice) or isinstance(held, slice):
        if found.context is not None and found.held_out_context is not None:
            warn_of_blocks(torch.cat([found.context, found.held_out_context]), file or name)
        return found
    return replace(found, split=torch.from_numpy(np.concatenate([train, held])))


def from_parts(
    values: "np.ndarray | Tensor",
    held_out: "np.ndarray | Tensor",
    context: "np.ndarray | Tensor | None" = None,
    held_out_context: "np.ndarray | Tensor | None" = None,
    *,
    name: str = "array",
    columns: Sequence[str] = (),
    bad_rows: BadRows = "error",
    source: str = "",
    file: str = "",
    places: Places | None = None,
) -> Dataset:
    """A data set whose split is given; other arguments and errors as `from_array`.

    Classes are those of both parts together. One held-out row is enough. A part that stands class by class is shuffled.

    Raises:
        DataError: parts of different shapes or types, or classes for one part alone.
    """
    file = file or name
    train, labels, places, note = _usable(values, context, file, bad_rows, places=places)
    held, held_labels, _, held_note = _usable(held_out, held_out_context, f"{file} (held out)", bad_rows, fewest=1)
    if train.shape[1:] != held.shape[1:] or train.dtype != held.dtype:
        got = f"{tuple(train.shape[1:])} to train on and {tuple(held.shape[1:])} held out in {file}"
        raise faulty("training and held-out events of one shape and type", got, "Make them agree.")
    if (labels is None) != (held_labels is None):
        got = f"classes for only one of the two parts of {file}"
        raise faulty("classes for both parts, or for none", got, "Add the missing ones.")
    source = " ".join(f"{source} {note} {held_note}".split())
    return mixed(_assembled((train, labels), (held, held_labels), (name, file), tuple(columns), source, places))


def _usable(
    values: "np.ndarray | Tensor",
    context: "np.ndarray | Tensor | None",
    name: str,
    bad_rows: BadRows,
    fewest: int = _FEWEST,
    places: Places | None = None,
) -> tuple[Tensor, np.ndarray | None, Places, str]:
    """Enough finite rows or images [n, channels, h, w], their classes and places, and what was skipped."""
    check_bad_rows(bad_rows)
    rows = numbers(values, name)
    labels = _labels(context, len(rows), name)
    places, note = places or Places(name, range(1, len(rows) + 1)), ""
    if is_image(rows):
        rows = channels_first(rows, name)
    else:
        rows, labels, places, note = _finite(rows, labels, places, name, bad_rows)
    if len(rows) < fewest:
        got = f"{len(rows)} row{'' if len(rows) == 1 else 's'} in {name}"
        fix = "A model cannot be fitted and checked on so few; add data."
        raise faulty(f"at least {fewest} row{'' if fewest == 1 else 's'}", got, fix)
    return rows, labels, places, note


def _assembled(
    train: tuple[Tensor, np.ndarray | None],
    held: tuple[Tensor, np.ndarray | None],
    names: tuple[str, str],
    columns: tuple[str, ...],
    source: str,
    places: Places,
    scaling: Scaling | None = None,
) -> Dataset:
    """The data set of two usable parts; `names` are the one for reports and the one for errors."""
    values, labels = train
    kind = "image" if is_image(values) else "table" if columns else "points" if values.ndim == 2 else "array"
    known = np.unique(np.concatenate([labels, held[1]])) if labels is not None and held[1] is not None else None
    return Dataset(
        name=names[0],
        kind=kind,
        values=values,
        held_out=held[0],
        scaling=PIXELS if kind == "image" else scaling or standardised(values, names[1], columns),
        context=_numbered(labels, known),
        held_out_context=_numbered(held[1], known),
        columns=columns,
        labels=() if known is None else tuple(map(str, known)),
        source=source,
        places=places,
    )


def numbers(values: "np.ndarray | Tensor", name: str) -> Tensor:
    """The rows as a tensor of bytes or floats, at least [n, 1], without a copy where the dtype allows it."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "biuf":
            fix = "Store plain numbers; text columns can be left out with columns=."
            raise faulty("an array of real numbers", f"dtype {values.dtype} in {name}", fix)
        native = values.dtype.newbyteorder("=")
        if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):
            native = np.dtype(np.float64 if values.dtype.itemsize > 8 else np.float32)
        elif values.dtype.kind in "biu" and values.dtype != np.uint8:
            native = np.dtype(np.float64)
        values = values.astype(native, copy=False)
        values = torch.from_numpy(values if values.flags.writeable else values.copy())
    elif not values.is_floating_point() and values.dtype != torch.uint8:
        values = values.double()
    if values.ndim == 0:
        raise faulty("rows of values", f"a single number in {name}", "Store an array [rows, ...].")
    if len(values) and not values.numel():  # a header may claim any number of them
        got = f"{len(values):,} rows of shape {tuple(values.shape[1:])} in {name}"
        raise faulty("numbers in every row", got, "Store an array [rows, ...] without axes of size 0.")
    if values.ndim == 1:
        values = values[:, None]
    return values if is_image(values) or values.is_floating_point() else values.double()


def is_image(rows: Tensor) -> bool:
    """Bytes with at least two axes per event."""
    return rows.dtype == torch.uint8 and rows.ndim >= 3


def channels_first(images: Tensor, name: str) -> Tensor:
    """[n, h, w] or [n, h, w, channels] as [n, channels, h, w] (a view)."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[-1] in (1, 3, 4):
        return images.permute(0, 3, 1, 2)
    if images.ndim == 4 and images.shape[1] in (1, 3, 4):
        return images
    got = f"bytes of shape {tuple(images.shape)} in {name}"
    raise faulty("images [n, h, w], [n, h, w, 1|3|4] or [n, 1|3|4, h, w]", got, "Reshape them, or store floats.")


def _labels(context: "np.ndarray | Tensor | None", n: int, name: str) -> np.ndarray | None:
    """One class per row, whole numbers or words."""
    if context is None:
        return None
    given = context.numpy() if isinstance(context, Tensor) else context
    if given.shape != (n,) or given.dtype.kind not in "biuU":
        got = f"shape {given.shape} of {given.dtype} for {n:,} rows in {name}"
        raise faulty("one class per row, whole numbers or words", got, "Repair the labels, or leave them out.")
    return given


def _numbered(labels: np.ndarray | None, names: np.ndarray | None) -> Tensor | None:
    """Classes as places in the sorted names, [n] int64."""
    if labels is None or names is None:
        return None
    return torch.from_numpy(np.searchsorted(names, labels).astype(np.int64))


def standardised(values: Tensor, name: str, columns: Sequence[str] = ()) -> Scaling:
    """Mean 0 and standard deviation 1 in model units: per column, or once for events of more axes.

    Raises:
        DataError: columns that never change.
    """
    per_column = values.ndim == 2
    reduce = [0] if per_column else list(range(values.ndim))
    total = torch.zeros(values.shape[1] if per_column else 1, dtype=torch.float64)
    for part in _chunks(values):
        total += part.double().sum(reduce)
    mean = total / (len(values) if per_column else values.numel())
    squares = torch.zeros_like(mean)
    for part in _chunks(values):
        squares += (part.double() - mean).square().sum(reduce)
    std = (squares / (len(values) if per_column else values.numel())).sqrt()
    flat = (std <= 1e-12 * mean.abs().clamp(min=1e-300)).nonzero().flatten().tolist()
    if flat:
        named = ", ".join(f"'{columns[i]}'" if columns else str(i) for i in flat[:10])
        what = f"column{'s' if len(flat) > 1 else ''} {named} of {name}" if per_column else f"the whole of {name}"
        fix = "A constant has no density: leave it out with columns=." if per_column else "A constant has no density."
        raise faulty("columns that vary", f"the same value in every training row of {what}", fix)
    if per_column:
        _warn_of_tails(values, std, name, columns)
        return Scaling(offset=-mean / std, scale=1 / std)
    return Scaling(offset=-(mean / std).item(), scale=1 / std.item())


def _warn_of_tails(values: Tensor, std: Tensor, name: str, columns: Sequence[str]) -> None:
    """Say so where a few values are so far off that in units of the deviation all others nearly coincide."""
    some = values[:: -(-len(values) // _LOOKED_AT)].double()
    low, high = some.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), 0)
    wild = ((high > low) & (std > _WILD * (high - low) / 1.349)).nonzero().flatten().tolist()
    for i in wild[:1]:
        which = f"{repr(columns[i]) if columns else i}{f' and {len(wild) - 1} more' if len(wild) > 1 else ''}"
        expected = f"values of one size in column {which} of {name}"
        got = f"a standard deviation of {std[i].item():.3g} where half of them are within {(high - low)[i].item():.3g}"
        fix = "Leave the rows far off out, or learn it with FlowDensity (--model nsf), which bends heavy tails."
        warnings.warn(explain(expected, got, fix), stacklevel=2)


def _split(rows: Tensor, held_out: float, seed: int) -> "tuple[np.ndarray, np.ndarray] | tuple[slice, slice]":
    held = min(len(rows) - 1, max(1, round(len(rows) * held_out)))
    if rows.numel() * rows.element_size() > LARGE:
        return slice(0, len(rows) - held), slice(len(rows) - held, None)
    shuffled = Draw(seed, "split").permutation(len(rows)).numpy()
    return shuffled[held:], shuffled[:held]


def _finite(
    rows: Tensor, labels: np.ndarray | None, places: Places, name: str, bad_rows: BadRows
) -> tuple[Tensor, np.ndarray | None, Places, str]:
    finite = torch.cat([part.isfinite().flatten(1).all(1) for part in _chunks(rows)] or [torch.ones(0).bool()])
    bad = (~finite).nonzero().flatten().tolist()
    if not bad:
        return rows, labels, places, ""
    note = judge((f"{name}:{i + 1} (not finite)" for i in bad), len(bad), len(rows), name, bad_rows)
    return rows[finite], None if labels is None else labels[finite.numpy()], places.some(finite.numpy()), note


def _chunks(rows: Tensor) -> Sequence[Tensor]:
    """Consecutive views of a bounded size: so that a memory-mapped file is never read whole."""
    return rows.split(max(1, _CHUNK // max(1, math.prod(rows.shape[1:]))))

"""Data sets in many files: .tar shards of images or arrays, .parquet shards of numbers, read as they are needed.

    many-0000.tar    0000.png 0000.cls 0001.png ...    a row's files share a name; .cls is its class, a word
    many-0000.tar    0000.npy 0001.npy ...             arrays of one shape
    many-0000.parquet                                  numbers under the same column names in every file

Tars must not be compressed: then a row is found without those before it, and every epoch is an exact permutation. Of a
.parquet whole row groups are read, and rows are shuffled within windows of them.
"""

import io
import tarfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pushforward.data.arrays import PIXELS, standardised
from pushforward.data.dataset import Dataset
from pushforward.data.faults import check_file, faulty, reading
from pushforward.data.images import SUFFIXES, decode
from pushforward.data.scaling import Scaling
from pushforward.data.stream import Kept, Parts, split
from pushforward.data.tables import choose, parquet_reader

_ROWS, _IN_WINDOW = (*SUFFIXES, ".npy"), 2**16


def open_tars(path: Path, *, size: int | None = None, held_out: float = 0.2, scaling: Scaling | None = None) -> Dataset:
    """A data set from a .tar or a folder of them.

    Args:
        path: the file or folder.
        size: crop and resize images to this side.
        held_out: share of the rows that is never trained on: every fifth, say.
        scaling: of another data set, for numbers; then they may be constant.

    Raises:
        DataError: a damaged or compressed tar, a row without values, rows of several shapes; with file and row.
    """
    return _assembled(Tars(shards(path, ".tar"), size), path, held_out, (), scaling)


def open_parquets(
    path: Path, *, columns: Sequence[str | int] | None = None, held_out: float = 0.2, scaling: Scaling | None = None
) -> Dataset:
    """A data set from a folder of .parquet files; needs pyarrow. Arguments and errors as `open_tars`."""
    parts = RowGroups(shards(path, ".parquet"), columns)
    return _assembled(parts, path, held_out, parts.columns, scaling)


def shards(path: Path, suffix: str) -> list[Path]:
    """The file itself, or the files of a folder that end so, in the order of their names."""
    return [path] if path.is_file() else sorted(each for each in path.iterdir() if each.name.endswith(suffix))


def _assembled(parts: Parts, path: Path, held_out: float, columns: tuple[str, ...], scaling: Scaling | None) -> Dataset:
    stream, some, held = split(parts, held_out, path)
    values, others = parts.rows(some, Kept()), parts.rows(held, Kept())
    image = values.dtype.is_floating_point is False
    kind = "image" if image else "table" if columns else "points" if values.ndim == 2 else "array"
    classes = [None if parts.classes is None else _numbers(parts.classes[rows]) for rows in (some, held)]
    return Dataset(
        name=path.resolve().name.removesuffix(".tar"),
        kind=kind,
        values=values,
        held_out=others,
        scaling=PIXELS if image else scaling or standardised(values, path.name, columns),
        context=classes[0],
        held_out_context=classes[1],
        columns=columns,
        labels=parts.labels,
        source=f"Read from {path.name} as it is needed.",
        stream=stream,
    )


def _numbers(classes: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(classes.astype(np.int64))


class Tars(Parts):
    """Uncompressed tars; a part is a file, and of each row memory holds where it is."""

    def __init__(self, files: Sequence[Path], size: int | None) -> None:
        self.files, self.size = files, size
        self.places: list[np.ndarray] = []
        words: list[str] = []
        for file in files:
            places, named = _index(file)
            self.places.append(places)
            words += named
        lengths = [len(places) for places in self.places]
        if words and len(words) != sum(lengths):
            got = f"{len(words):,} for {sum(lengths):,} rows in {files[0].parent.name}"
            raise faulty("a .cls for every row, or for none", got, "Add the missing ones.")
        labels, classes = np.unique(words, return_inverse=True)
        super().__init__(
            np.cumsum([0, *lengths]), classes.astype(np.int32) if words else None, tuple(map(str, labels)), None
        )

    def read(self, part: int, rows: np.ndarray, kept: Kept) -> np.ndarray:
        """Rows of one file."""
        found: list[np.ndarray] = []
        with reading(self.files[part], "a .tar shard"), self.files[part].open("rb") as stream:
            for row in rows:
                offset, length, array = self.places[part][row]
                stream.seek(offset)
                found.append(self._decoded(stream.read(length), bool(array), part, int(row), found))
        return np.stack(found)

    def where(self, part: int, row: int) -> str:
        """A row in words."""
        return f"{self.files[part].name}:{row + 1}"

    def _decoded(self, data: bytes, array: bool, part: int, row: int, before: list[np.ndarray]) -> np.ndarray:
        try:
            value = np.load(io.BytesIO(data), allow_pickle=False) if array else decode(io.BytesIO(data), self.size)
            if array and value.dtype.kind not in "biuf":
                raise ValueError(f"numbers of type {value.dtype}")
        except Exception as error:  # whatever a decoder raises on damaged bytes
            got = f"{self.where(part, row)} ({' '.join(str(error).split())})"
            raise faulty("readable rows", got, "Repair it, or write the shard without it.") from error
        if array:
            value = np.atleast_1d(value)
            value = value if value.dtype == np.uint8 and value.ndim == 3 else value.astype(np.float32)
        else:
            value = value[None] if value.ndim == 2 else value.transpose(2, 0, 1)
        if before and value.shape != before[0].shape:
            got = f"{value.shape} in {self.where(part, row)}"
            raise faulty(f"rows of shape {before[0].shape}", got, "Pass size= for images, or make them agree.")
        return value


def _index(file: Path) -> tuple[np.ndarray, list[str]]:
    """Of each row where it begins, how long it is and whether it is an array, [n, 3]; and the classes, if any."""
    check_file(file)
    places, words, row = list[tuple[int, int, bool]](), list[str](), ""
    with reading(file, "an uncompressed .tar", tarfile.TarError), tarfile.open(file, "r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] (or every header stays in memory)
            name = member.name.rpartition("/")[2]
            if not member.isfile() or name.startswith("."):
                continue
            stem, suffix = member.name.removesuffix(Path(name).suffix), Path(name).suffix.lower()
            if suffix == ".cls" and (stem == row or len(words) == len(places)):
                held = tar.extractfile(member)
                assert held is not None
                words.append(held.read(256).decode("utf-8", "replace").strip())
                row = stem if len(words) > len(places) else row
            elif suffix in _ROWS:
                places.append((member.offset_data, member.size, suffix == ".npy"))
                row = stem
    if not places or len(words) not in (0, len(places)):
        got = f"'{file}' with {len(places):,} rows and {len(words):,} classes"
        raise faulty("images or .npy arrays, each with a .cls or none", got, "A row's files stand side by side.")
    if file.stat().st_size < places[-1][0] + places[-1][1]:
        raise faulty("a whole .tar", f"'{file}', which ends within row {len(places)}", "Copy it again.")
    return np.array(places, np.int64), words


class RowGroups(Parts):
    """The row groups of .parquet files; those of a window stay in memory."""

    def __init__(self, files: Sequence[Path], columns: Sequence[str | int] | None) -> None:
        self.files, self.places, lengths = files, list[tuple[int, int]](), list[int]()
        self.columns: tuple[str, ...] = ()
        for number, path in enumerate(files):
            check_file(path)
            pa, file = parquet_reader(path)
            names = tuple(file.schema_arrow.names)
            picked = tuple(names[i] for i in choose(names, columns, path.name))
            odd = [name for name in picked if not _numeric(pa, file.schema_arrow.field(name).type)]
            if odd or picked != (self.columns or picked):
                got = f"{path.name} with {', '.join(odd or picked)}"
                raise faulty("the same columns of numbers in every file", got, "Choose some with columns=.")
            self.columns = picked
            for group in range(file.num_row_groups):
                self.places.append((number, group))
                lengths.append(file.metadata.row_group(group).num_rows)
        super().__init__(np.cumsum([0, *lengths]), None, (), _IN_WINDOW)

    def read(self, part: int, rows: np.ndarray, kept: Kept) -> np.ndarray:
        """Rows of one row group."""
        kept[part] = values = kept.pop(part) if part in kept else self._group(part)
        while len(kept) > 1 and sum(map(len, kept.values())) > 2 * _IN_WINDOW + len(values):
            kept.pop(next(iter(kept)))
        return values[rows]

    def where(self, part: int, row: int) -> str:
        """A row in words, counted within its file."""
        file, _ = self.places[part]
        before = sum(b - a for (a, b), (each, _) in zip(pairwise(self.starts), self.places[:part]) if each == file)
        return f"{self.files[file].name}:{before + row + 1}"

    def _group(self, part: int) -> np.ndarray:
        number, group = self.places[part]
        pa, file = parquet_reader(self.files[number])
        with reading(self.files[number], "a parquet table", pa.ArrowException):
            table = file.read_row_group(group, columns=list(self.columns))
            found = [table.column(name).cast(pa.float32()).to_numpy() for name in self.columns]
        return np.ascontiguousarray(np.stack(found, 1))


def _numeric(pa: Any, kind: Any) -> bool:
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)

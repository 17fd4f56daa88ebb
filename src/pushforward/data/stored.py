"""Arrays from .npy and .npz files. Pickled objects are never loaded: they could run any code.

A .npy file is memory-mapped, so it may be larger than memory. An .npz may hold one array, or parts by their
usual names (x_train, y_train, x_test, y_test; images and labels; x and y), or several of which `array=` picks
one.
"""

import struct
import tokenize
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pushforward.data.arrays import from_array, from_parts
from pushforward.data.dataset import Dataset
from pushforward.data.faults import BadRows, check_file, faulty, reading
from pushforward.data.scaling import Scaling
from pushforward.data.tables import choose, listed

_LARGEST = 2**32
_VALUES = ("x_train", "train", "images", "x", "X", "data", "values")
_LABELS = ("y_train", "train_labels", "labels", "y", "target")
_TESTS = ("x_test", "test", "test_images")
_TEST_LABELS = ("y_test", "test_labels")

_HEADERS = (SyntaxError, tokenize.TokenError, TypeError, KeyError, OverflowError, struct.error)
"""What numpy raises on damaged headers besides ValueError."""


def open_npy(
    path: Path,
    *,
    columns: Sequence[str | int] | None = None,
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from one array; arguments and errors as `from_array`, columns by number."""
    check_file(path)
    with reading(path, "an .npy array", *_HEADERS):
        with path.open("rb") as file:
            magic = file.read(6)
        if magic != b"\x93NUMPY":
            raise faulty("an .npy array", f"'{path}', which starts with {magic!r}", "Write it with np.save.")
        try:
            values = np.load(path, mmap_mode="c", allow_pickle=False)
        except ValueError as error:
            raise _unloadable(path.name, error) from error
    return from_array(
        _columns(values, columns, path.name),
        name=path.stem,
        held_out=held_out,
        bad_rows=bad_rows,
        seed=seed,
        source=f"Read from {path.name}.",
        file=path.name,
        scaling=scaling,
    )


def open_npz(
    path: Path,
    *,
    array: str | None = None,
    columns: Sequence[str | int] | None = None,
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from an archive of arrays.

    Args:
        path: the file.
        array: which array holds the rows; by default the only one, or one of the usual names.
        columns: numbers of the columns to keep.
        held_out: which share is held out where the archive has no test part.
        bad_rows: "error" or "skip".
        seed: of the split.
        scaling: of another data set, as in `from_array`.

    Raises:
        DataError: a damaged archive, pickled objects, several arrays of unusual names.
    """
    check_file(path)
    with reading(path, "an .npz archive", zipfile.BadZipFile, ValueError, RuntimeError, AttributeError, *_HEADERS):
        _check_unpacked(path)
        with np.load(path, allow_pickle=False) as stored:
            names = list(stored.files)
            values = _load(stored, _pick(names, array, path.name))
            usual = array is None
            labels = _load(stored, _first(names, _LABELS)) if usual else None
            tests = _load(stored, _first(names, _TESTS)) if usual else None
            test_labels = _load(stored, _first(names, _TEST_LABELS)) if usual else None
    assert values is not None
    values = _columns(values, columns, path.name)
    name = path.stem if array is None else f"{path.stem}-{array}"
    source = f"Read from {path.name}."
    if tests is None or len(names) == 1:
        labels = None if len(names) == 1 else labels
        return from_array(
            values,
            labels,
            name=name,
            held_out=held_out,
            bad_rows=bad_rows,
            seed=seed,
            source=source,
            file=path.name,
            scaling=scaling,
        )
    tests = _columns(tests, columns, path.name)
    return from_parts(values, tests, labels, test_labels, name=name, bad_rows=bad_rows, source=source, file=path.name)


def _load(stored: "np.lib.npyio.NpzFile", name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    try:
        return stored[name]
    except ValueError as error:
        raise _unloadable(f"array '{name}'", error) from error


def _unloadable(what: str, error: ValueError) -> Exception:
    reason = " ".join(str(error).split())
    if "object" in reason.lower():
        fix = "Save it again with one number type: np.save(path, x.astype('float32'))."
        return faulty("an array of numbers", f"pickled Python objects in {what}, which could run any code", fix)
    fix = "Write it again with np.save or np.savez."
    return faulty("a whole array in numpy's format", f"{what}, which cannot be read ({reason})", fix)


def _check_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > _LARGEST:
        got = f"'{path}', which unpacks to {unpacked:,} bytes"
        raise faulty("an archive of at most 4 GiB", got, "Save the rows as .npy, which is not read whole.")


def _pick(names: Sequence[str], array: str | None, file: str) -> str:
    """The name of the array of rows."""
    if array is not None and array not in names:
        raise faulty(f"an array of {file}", repr(array), f"It has {listed(names)}.")
    picked = array or (names[0] if len(names) == 1 else _first(names, _VALUES))
    if picked is None:
        got = f"{file} with {listed(names) or 'none'}"
        raise faulty("one array, or arrays by the usual names (x_train, images, x, ...)", got, "Pass array='...'.")
    return picked


def _first(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _columns(values: np.ndarray, columns: Sequence[str | int] | None, file: str) -> np.ndarray:
    if columns is None:
        return values
    if values.ndim != 2:
        raise faulty(
            "a table [rows, columns] to choose columns from",
            f"shape {values.shape} in {file}",
            "Leave it out.",
        )
    return values[:, list(choose([f"c{i}" for i in range(values.shape[1])], columns, file))]

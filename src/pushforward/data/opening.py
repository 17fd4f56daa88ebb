"""One door for every source: a name, a file or a folder goes in, a `Dataset` comes out.

digits, moons, checkerboard, ...    built in
.csv .tsv (.gz) .parquet            tables of named columns
.npy .npz                           arrays
*idx3-ubyte (.gz)                   MNIST's format, labels and test part found beside it
a .tar, a folder of .tar, .parquet  shards, read as they are needed
a folder                            images (class = sub-folder), or MNIST's files
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from re import search

from pushforward._errors import ConfigError, explain
from pushforward.data.arrays import from_array
from pushforward.data.dataset import Dataset
from pushforward.data.faults import BadRows, check_bad_rows, faulty, reading
from pushforward.data.idx import open_idx
from pushforward.data.images import SUFFIXES, has_images, open_images
from pushforward.data.scaling import Scaling
from pushforward.data.shard_files import open_parquets, open_tars
from pushforward.data.shipped import digits
from pushforward.data.stored import open_npy, open_npz
from pushforward.data.tables import Table, read_delimited, read_parquet
from pushforward.data.toys import TOYS

_OPTIONS = ("columns", "array", "size", "held_out", "bad_rows", "seed")
BUILT_IN: dict[str, Callable[..., Dataset]] = {"digits": digits, **TOYS}


def open_data(
    name: "str | Path",
    *,
    columns: Sequence[str | int] | None = None,
    array: str | None = None,
    size: int | None = None,
    held_out: float | None = None,
    bad_rows: BadRows | None = None,
    seed: int | None = None,
    scaling: Scaling | None = None,
) -> Dataset:
    """Open a data set by its name or path, whatever it is.

    Args:
        name: "digits", a toy's name, or a path. "./digits" is the folder, "digits" the built-in set.
        columns: of a table, names or numbers from 0; all by default.
        array: which array of an .npz.
        size: crop and resize images to this side.
        held_out: which share of the rows is never trained on; 0.2 by default.
        bad_rows: "error" (default), or "skip" to leave out rows or images that cannot be used.
        seed: of the split.
        scaling: of another data set, to stand in its units (pixels have their own). One row is then enough, and columns
            may be constant.

    Raises:
        DataError: nothing of that name, or a source that cannot be read as data, with file and row.
        ConfigError: an option that this kind of source does not have.

    >>> open_data("digits").describe()
    'digits: 1,437 + 360 images, 1x8x8, 17 levels, 10 classes'
    """
    if bad_rows is not None:
        check_bad_rows(bad_rows)
    options = zip(_OPTIONS, (columns, array, size, held_out, bad_rows, seed), strict=True)
    given = {key: value for key, value in options if value is not None}
    if str(name) in BUILT_IN:
        return _call(BUILT_IN[str(name)], str(name), (), given, scaling)
    path = Path(name).expanduser()
    with reading(path, "a file or folder"):
        if not str(name).strip() or not path.exists():
            raise _unknown(str(name))
        reader, path = _reader(path)
    return _call(reader, str(name), (path,), given, scaling)


def open_delimited(
    path: Path,
    *,
    columns: Sequence[str | int] | None = None,
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from a .csv or .tsv file; see `read_delimited`."""
    return _from_table(path, read_delimited(path, columns, bad_rows), held_out, seed, scaling)


def open_parquet(
    path: Path,
    *,
    columns: Sequence[str | int] | None = None,
    held_out: float = 0.2,
    bad_rows: BadRows = "error",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> Dataset:
    """A data set from a .parquet file; see `read_parquet`."""
    return _from_table(path, read_parquet(path, columns, bad_rows), held_out, seed, scaling)


READERS: dict[str, Callable[..., Dataset]] = {
    ".csv": open_delimited,
    ".npy": open_npy,
    ".npz": open_npz,
    ".parquet": open_parquet,
    ".tar": open_tars,
    ".tsv": open_delimited,
}


def _reader(path: Path) -> tuple[Callable[..., Dataset], Path]:
    """Which function opens a path, and the path it should be given."""
    if path.is_dir():
        return _folder(path)
    bare = path.name.lower().removesuffix(".gz")
    suffix = Path(bare).suffix
    if search(r"[-.]idx\d-ubyte$|\.idx$", bare):
        return open_idx, path
    if suffix in READERS and (bare == path.name.lower() or suffix in (".csv", ".tsv")):
        return READERS[suffix], path
    if suffix in (".txt", ".md"):
        fix = "Token models come later; pushforward.data.text(path) reads it as characters or bytes."
        raise faulty("numbers or images", f"plain text, '{path}'", fix)
    if suffix in SUFFIXES:
        raise faulty("a folder of images", f"one image, '{path}'", "Pass the folder it lies in.")
    fix = f"Files can be {', '.join(READERS)}, IDX, or a folder of images."
    raise faulty("a data file", f"'{path}', whose kind is not known by its name", fix)


def _folder(path: Path) -> tuple[Callable[..., Dataset], Path]:
    names = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
    training = [n for n in names if search(r"^train.*images.*idx\d-ubyte(\.gz)?$", n)]
    if training:
        return open_idx, path / training[0]
    for suffix, reader in ((".tar", open_tars), (".parquet", open_parquets)):
        if any(name.endswith(suffix) for name in names):
            return reader, path
    if has_images(path):
        return open_images, path
    found = f"one with {', '.join(names[:5])}" if names else "an empty one"
    fix = "Pass one of its files, or put images in it (a sub-folder per class)."
    raise faulty("a folder of images or of MNIST's files", f"'{path}', {found}", fix)


def _unknown(name: str) -> Exception:
    near = get_close_matches(name, BUILT_IN, n=1, cutoff=0.6)
    fix = f"Did you mean '{near[0]}'?" if near else f"Built in are {', '.join(sorted(BUILT_IN))}."
    got = f"'{name}', which {'does not exist' if name.strip() else 'names nothing'}"
    return faulty("a file, a folder or a built-in data set", got, fix)


def _call(
    open_it: Callable[..., Dataset],
    name: str,
    path: tuple[Path, ...],
    given: Mapping[str, object],
    scaling: Scaling | None,
) -> Dataset:
    known = signature(open_it).parameters
    strange = [key for key in given if key not in known]
    if strange:
        got = f"{strange[0]}={given[strange[0]]!r} for '{name}'"
        can = ", ".join(key for key in _OPTIONS if key in known)
        raise ConfigError(explain("options of this kind of source", got, f"It takes {can or 'none'}."))
    if "scaling" in known:
        return open_it(*path, **given, scaling=scaling)
    data = open_it(*path, **given)
    return data if scaling is None or data.kind == "image" else replace(data, scaling=scaling, density=None)


def _from_table(path: Path, table: Table, held_out: float, seed: int, scaling: Scaling | None) -> Dataset:
    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    source = f"Read from {path.name}. {table.note}".strip()
    return from_array(
        table.values,
        name=name,
        columns=table.columns,
        held_out=held_out,
        seed=seed,
        source=source,
        file=path.name,
        places=table.places,
        scaling=scaling,
    )

"""IDX files, the format of MNIST: a magic number, the sizes of the axes, then the values, big-endian.

    bytes 0-1: zero     byte 2: type code     byte 3: number of axes     then one uint32 per axis

A file named like MNIST's brings its relatives along: `train-images` finds `train-labels` beside it, and
`t10k-images` becomes the held-out part.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from pushforward.data.arrays import from_array, from_parts
from pushforward.data.dataset import Dataset
from pushforward.data.faults import check_file, faulty, reading

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_LARGEST = 2**32


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    Raises:
        DataError: an empty, truncated or overlong file, or one of another format.
    """
    check_file(path)
    fix = "Check that it was downloaded whole."
    with (
        reading(path, "an IDX file", zlib.error),
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file,
    ):
        magic = file.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 8:
            raise faulty("an IDX file", f"'{path}', which starts with bytes {magic.hex(' ')}", "Check the format.")
        sizes = file.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise faulty("an IDX file", f"'{path}', which ends in its header", fix)
        shape = struct.unpack(f">{magic[3]}I", sizes)
        dtype = np.dtype(_TYPES[magic[2]])
        count = math.prod(shape) * dtype.itemsize
        if count > _LARGEST:
            raise faulty("an IDX file of at most 4 GiB", f"'{path}', which claims {count:,} bytes", fix)
        body = file.read(count + 1)
    if len(body) != count:
        got = f"'{path}', which is {'longer' if len(body) > count else f'cut short after {len(body):,}'}"
        raise faulty(f"{count:,} bytes of values for shape {shape}", got, fix)
    return np.frombuffer(bytearray(body), dtype).reshape(shape)


def open_idx(path: Path, *, held_out: float = 0.2, seed: int = 0) -> Dataset:
    """A data set from an IDX file of images, with the labels and the test part that lie beside it.

    Args:
        path: the training images; or any IDX array.
        held_out: which share is held out when there is no test part beside it.
        seed: of that split.

    Raises:
        DataError: damaged files, labels alone, or parts that do not fit.
    """
    if "labels" in path.name:
        raise faulty(
            "an IDX file of images",
            f"labels, '{path}'",
            "Open the images; their labels are found beside them.",
        )
    images, labels = read_idx(path), _labels(path)
    tests = _beside(path, "train", "t10k") or _beside(path, "train", "test")
    source = f"Read from {path.name}."
    if tests is None:
        name = path.name.split(".")[0]
        return from_array(images, labels, name=name, held_out=held_out, seed=seed, source=source, file=path.name)
    name, source = path.resolve().parent.name, f"{source} Held out: {tests.name}."
    return from_parts(images, read_idx(tests), labels, _labels(tests), name=name, source=source, file=path.name)


def _labels(images: Path) -> np.ndarray | None:
    beside = _beside(images, "images", "labels")
    return None if beside is None else read_idx(beside)


def _beside(path: Path, old: str, new: str) -> Path | None:
    """The relative of a file under another name, gzipped or not."""
    if old not in path.name:
        return None
    bare = path.name.removesuffix(".gz").replace(old, new)
    bare = bare.replace("idx3", "idx1") if new == "labels" else bare
    found = [path.with_name(name) for name in (f"{bare}.gz", bare) if path.with_name(name).is_file()]
    return found[0] if found else None

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from pushforward._errors import DataError
from pushforward.data import open_data
from pushforward.data.idx import read_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 4)).astype(np.uint8)
LABELS = np.arange(12).astype(np.uint8) % 5 + 3


def idx(array: np.ndarray, code: int = 8) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def family(path: Path) -> Path:
    (path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    (path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS[:6]))
    (path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:6]))
    return path


@pytest.mark.parametrize("code", [8, 9, 11, 12, 13, 14])
def test_all_types_are_read(tmp_path: Path, code: int):
    dtype = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[code]
    array = (np.arange(24).reshape(4, 3, 2) - (0 if code == 8 else 7)).astype(dtype)
    (tmp_path / "a.idx").write_bytes(idx(array, code))
    assert np.array_equal(read_idx(tmp_path / "a.idx"), array)


def test_a_file_brings_its_labels_and_its_test_part(tmp_path: Path):
    family(tmp_path)
    for path in (tmp_path, tmp_path / "train-images-idx3-ubyte.gz"):
        data = open_data(path)
        assert torch.equal(data.values, torch.from_numpy(PIXELS)[:, None])
        assert torch.equal(data.held_out, torch.from_numpy(PIXELS[:6])[:, None])
        assert data.labels == ("3", "4", "5", "6", "7")
        assert torch.equal(data.context, torch.from_numpy(LABELS).long() - 3)
        assert torch.equal(data.held_out_context, data.context[:6])


def test_a_file_alone_is_split(tmp_path: Path):
    (tmp_path / "drawings-idx3-ubyte").write_bytes(idx(PIXELS))
    data = open_data(tmp_path / "drawings-idx3-ubyte")
    assert (len(data), len(data.held_out), data.context) == (10, 2, None)


BAD = {
    "empty": (b"", "which is empty"),
    "other format": (b"GIF89a" + b"x" * 20, "starts with bytes 47 49 46 38"),
    "three bytes": (b"\0\0\x08", "starts with bytes 00 00 08"),
    "cut in the header": (idx(PIXELS)[:9], "ends in its header"),
    "cut short": (idx(PIXELS)[:-1], "cut short after 143"),
    "too long": (idx(PIXELS) + b"x", "which is longer"),
    "boastful of nothing": (
        bytes([0, 0, 8, 3, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
        "536,870,912 rows of shape (0, 9)",
    ),
    "boastful": (bytes([0, 0, 8, 3]) + b"\xff" * 12, "which claims"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_explained(tmp_path: Path, name: str):
    content, words = BAD[name]
    (tmp_path / "a-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError) as error:
        open_data(tmp_path / "a-idx3-ubyte")
    assert words in str(error.value)


BAD_FAMILIES = {
    "gzip cut short": ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))[:-20], "cannot be read"),
    "labels of others": ("train-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS[:5])), "for 12 rows"),
    "tests of another size": (
        "t10k-images-idx3-ubyte",
        idx(PIXELS[:6, :2]),
        "(1, 3, 4) to train on and (1, 2, 4)",
    ),
    "test labels too few": ("t10k-labels-idx1-ubyte", idx(LABELS[:5]), "for 6 rows"),
}


@pytest.mark.parametrize("name", BAD_FAMILIES)
def test_files_that_do_not_fit_each_other_are_explained(tmp_path: Path, name: str):
    file, content, words = BAD_FAMILIES[name]
    (family(tmp_path) / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        open_data(tmp_path)
    assert words in str(error.value)


def test_labels_alone_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="Open the images"):
        open_data(family(tmp_path) / "train-labels-idx1-ubyte.gz")

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pushforward._errors import DataError
from pushforward.data import open_data, stored

ROWS = np.random.default_rng(0).normal(size=(50, 3))
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3)).astype(np.uint8)


def both(data) -> torch.Tensor:
    return torch.cat([data.values, data.held_out])


def test_npy_rows_and_columns(tmp_path: Path):
    np.save(tmp_path / "a.npy", ROWS.astype(">f4"))
    assert sorted(both(open_data(tmp_path / "a.npy"))[:, 1].tolist()) == sorted(ROWS[:, 1].astype("f4").tolist())
    assert open_data(tmp_path / "a.npy", columns=[2, 0]).shape == (2,)


def test_npy_files_are_mapped_and_never_written_to(tmp_path: Path):
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    before = path.read_bytes()
    from pushforward.data import arrays

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "LARGE", 0)
        data = open_data(path)
    data.values[0] = 7
    assert path.read_bytes() == before


def test_npz_parts_by_their_usual_names(tmp_path: Path):
    labels = np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x_train=PIXELS, y_train=labels, x_test=PIXELS[:7], y_test=labels[:7])
    data = open_data(tmp_path / "a.npz")
    assert torch.equal(data.values, torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert torch.equal(data.held_out, data.values[:7])
    assert torch.equal(data.held_out_context, torch.from_numpy(labels[:7]))
    assert (data.kind, data.shape, data.classes) == ("image", (3, 4, 5), 3)


def test_npz_with_one_array_of_any_name_or_a_named_one(tmp_path: Path):
    np.savez(tmp_path / "one.npz", odd=ROWS)
    np.savez(tmp_path / "two.npz", cat=ROWS, dog=ROWS[:20, :2])
    assert open_data(tmp_path / "one.npz").shape == (3,)
    dog = open_data(tmp_path / "two.npz", array="dog")
    assert (dog.name, dog.shape, len(both(dog))) == ("two-dog", (2,), 20)


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _zipped(array: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", array)
    return file.getvalue()


def _declared(shape: tuple[int, ...]) -> bytes:
    """An array whose header says this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(320)


OBJECTS = np.array([[1, "a"]] * 9, dtype=object)
BAD = {
    "empty npy": ("a.npy", b"", {}, "which is empty"),
    "empty npz": ("a.npz", b"", {}, "which is empty"),
    "npy cut short": ("a.npy", _npy(ROWS)[:-40], {}, "cannot be read"),
    "npy cut in its header": ("a.npy", _npy(ROWS)[:20], {}, "cannot be read"),
    "npz cut short": ("a.npz", _npz(x=ROWS)[:-40], {}, "cannot be read"),
    "npz damaged": ("a.npz", _npz(x=ROWS)[:90] + b"\xff" * 60 + _npz(x=ROWS)[150:], {}, "cannot be read"),
    "npy of too many rows": ("a.npy", _declared((2**63, 2)), {}, "cannot be read"),
    "npy of rows without numbers": ("a.npy", _declared((2**29, 0)), {}, "536,870,912 rows of shape (0,)"),
    "npz of too many rows": ("a.npz", _zipped(_declared((2**64,))), {}, "cannot be read"),
    "no npy": ("a.npy", b"hello, world", {}, "which starts with b'hello,'"),
    "no npz": ("a.npz", b"hello, world", {}, "cannot be read"),
    "objects in npy": ("a.npy", _npy(OBJECTS), {}, "pickled Python objects in a.npy"),
    "objects in npz": ("a.npz", _npz(x=OBJECTS), {}, "pickled Python objects in array 'x'"),
    "several arrays": ("a.npz", _npz(cat=ROWS, dog=ROWS), {}, "a.npz with 'cat', 'dog'. Pass array="),
    "no such array": ("a.npz", _npz(cat=ROWS), {"array": "cow"}, "got 'cow'. It has 'cat'"),
    "no array": ("a.npz", _npz(), {}, "a.npz with none"),
    "columns of images": ("a.npz", _npz(x=PIXELS), {"columns": [0]}, "a table [rows, columns]"),
    "no rows": ("a.npy", _npy(ROWS[:0]), {}, "got 0 rows in a.npy"),
    "not finite": (
        "a.npy",
        _npy(np.where(ROWS.max() - 1e-9 < ROWS, np.nan, ROWS)),
        {},
        "a.npy:27 (not finite)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_explained(tmp_path: Path, name: str):
    file, content, options, words = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError) as error:
        open_data(tmp_path / file, **options)
    assert words in str(error.value)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stored, "_LARGEST", 10_000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 8)))
    with pytest.raises(DataError, match="which unpacks to 64,128 bytes"):
        open_data(tmp_path / "a.npz")


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header + text.ljust(117) + b"\n" + b"\0" * 64)
    with pytest.raises(DataError, match="cannot be read"):
        open_data(path)

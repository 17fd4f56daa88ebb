"""Streams: every row once an epoch, the same whoever reads and from wherever, in memory that does not grow."""

import io
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward._errors import ConfigError, DataError
from pushforward._random import Draw
from pushforward.data import from_array, open_data
from pushforward.data.stream import windowed

SRC = Path(__file__).parents[2] / "src"
DRAW = Draw(0, "data")


def tar(path: Path, files: dict[str, bytes]) -> None:
    """An uncompressed tar of these files."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def png(value: int, side: int = 4) -> bytes:
    """A picture of one grey."""
    stream = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(stream, "png")
    return stream.getvalue()


def npy(values: np.ndarray) -> bytes:
    """An array as a file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Shards of 7, 5 and 8 pictures: row i is grey 10 i, its class odd or even."""
    first = 0
    for shard, count in enumerate((7, 5, 8)):
        files = {}
        for i in range(first, first + count):
            files |= {f"{i:04d}.png": png(10 * i), f"{i:04d}.cls": b"odd\n" if i % 2 else b"even\n"}
        tar(tmp_path / f"many-{shard:04d}.tar", files)
        first += count
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three .parquet files in row groups of 4; row i is (i, -i/2)."""
    pa = pytest.importorskip("pyarrow", reason="reads .parquet")
    from pyarrow import parquet

    for shard in range(3):
        i = np.arange(20.0) + 20 * shard
        parquet.write_table(pa.table({"a": i, "b": -i / 2}), tmp_path / f"part-{shard}.parquet", row_group_size=4)
    return tmp_path


def test_rows_of_tars_come_with_their_classes(pictures: Path) -> None:
    data = open_data(pictures)
    assert data.describe().endswith("16 + 4 images, 1x4x4, 256 levels, 2 classes")
    assert data.labels == ("even", "odd")
    assert data.held_out[:, 0, 0, 0].tolist() == [40, 90, 140, 190]
    assert data.held_out_context is not None
    assert data.held_out_context.tolist() == [0, 1, 0, 1]
    seen = []
    for batch in islice(data.batches(8, DRAW), 4):
        values = data.scaling.to_values(batch.x)[:, 0, 0, 0]
        assert batch.context.tolist() == [int(v) // 10 % 2 for v in values]
        seen += values.tolist()
    rows = [10.0 * i for i in range(20) if i % 5 != 4]
    assert sorted(seen[:16]) == sorted(seen[16:]) == rows
    assert seen[:16] != seen[16:]
    assert next(data.unlabelled().batches(8, DRAW)).context is None


@pytest.mark.parametrize("kind", ["pictures", "table"])
def test_a_stream_starts_anywhere_and_is_shared(kind: str, request: pytest.FixtureRequest, monkeypatch) -> None:
    monkeypatch.setattr("pushforward.data.shard_files._IN_WINDOW", 10)
    data = open_data(request.getfixturevalue(kind))
    whole = [batch.x for batch in islice(data.batches(7, DRAW), 12)]
    for start in (0, 3, 11):
        assert torch.equal(next(data.batches(7, DRAW, start)).x, whole[start])
        parts = [next(data.batches(7, DRAW, start, rank, 3)).x for rank in range(3)]
        assert torch.equal(torch.cat(parts), whole[start])


def test_row_groups_are_shuffled_in_windows(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushforward.data.shard_files._IN_WINDOW", 10)
    data = open_data(table)
    assert (data.kind, data.columns, len(data), len(data.held_out)) == ("table", ("a", "b"), 48, 12)
    found = torch.cat([batch.x for batch in islice(data.batches(12, DRAW), 8)])
    values = data.scaling.to_values(found.double())
    torch.testing.assert_close(values[:, 1], -values[:, 0] / 2, atol=1e-4, rtol=1e-4)
    rows = values[:, 0].round().int().tolist()
    assert sorted(rows[:48]) == sorted(rows[48:]) == [i for i in range(60) if i % 5 != 4]
    groups = [row // 4 for row in rows[:10]]
    assert len(set(groups)) <= 4  # a window of 10 rows or more: three or four row groups
    assert groups != sorted(groups)


@pytest.mark.parametrize("buffer", [1, 5, 6, 1000])
def test_windows_hold_every_row_once(buffer: int) -> None:
    starts = np.array([0, 3, 3, 10, 11, 18])
    rows = torch.cat([rows for _, rows in islice(windowed(starts, buffer, 5, DRAW), 18)])
    for epoch in range(5):
        assert sorted(rows[18 * epoch : 18 * epoch + 18].tolist()) == list(range(18))


def test_an_array_of_each_row_may_be_of_any_shape(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(5, 3, (30, 2, 3))
    tar(tmp_path / "a.tar", {f"{i}.npy": npy(row) for i, row in enumerate(rows)})
    data = open_data(tmp_path / "a.tar", held_out=0.1)
    assert (data.kind, data.shape, len(data), data.labels) == ("array", (2, 3), 27, ())
    assert abs(next(data.batches(27, DRAW)).x.mean().item()) < 1e-5


def test_shards_stand_in_the_units_of_another_data_set(tmp_path: Path) -> None:
    """As files of other kinds; then their numbers may be constant."""
    units = from_array(np.random.default_rng(0).normal(5, 3, (30, 2))).scaling
    tar(tmp_path / "same.tar", {f"{i}.npy": npy(np.array([4.0, 6.0])) for i in range(9)})
    data = open_data(tmp_path / "same.tar", scaling=units)
    wanted = units.to_model(torch.tensor([4.0, 6.0], dtype=torch.float64))
    assert torch.allclose(next(data.batches(4, DRAW)).x[1].double(), wanted)
    with pytest.raises(DataError, match="columns that vary"):
        open_data(tmp_path / "same.tar")


def cut(data: bytes) -> bytes:
    """Half of a file."""
    return data[: len(data) // 2]


FAULTS = {
    "a row that is no image": (
        {"a.png": png(1), "b.png": cut(png(2)), **{f"{i}.png": png(i) for i in range(8)}},
        "s.tar:2",
    ),
    "a row of another size": ({**{f"{i}.png": png(i) for i in range(8)}, "z.png": png(3, 5)}, "s.tar:9"),
    "a row that is not finite": (
        {f"{i}.npy": npy(np.array([i, np.nan if i == 6 else 0.5])) for i in range(9)},
        "s.tar:7",
    ),
    "pickled objects": ({f"{i}.npy": npy(np.array([{}], object)) for i in range(9)}, "s.tar:1"),
    "a class that is missing": ({**{f"{i}.png": png(i) for i in range(8)}, "7.cls": b"a"}, "8 rows and 1 classes"),
    "rows of no numbers": ({f"{i}.npy": npy(np.zeros((0, 2))) for i in range(9)}, r"rows of shape \(0, 2\)"),
    "nothing to read": ({"a.txt": b"words"}, "0 rows"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_named_with_file_and_row(case: str, tmp_path: Path) -> None:
    files, message = FAULTS[case]
    tar(tmp_path / "s.tar", files)
    with pytest.raises(DataError, match=message):
        for _ in islice(open_data(tmp_path).batches(4, DRAW), 4):
            pass


def test_other_faults_of_shards(pictures: Path, table: Path) -> None:
    path = pictures / "many-0001.tar"
    with tarfile.open(pictures / "many-0009.tar", "w:gz") as archive:
        archive.add(path, "x")
    with pytest.raises(DataError, match=r"many-0009\.tar"):
        open_data(pictures)
    (pictures / "many-0009.tar").unlink()
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"many-0001\.tar"):
        open_data(pictures)
    with pytest.raises(ConfigError, match="bad_rows"):
        open_data(pictures, bad_rows="skip")
    with pytest.raises(ConfigError, match=r"at most 0\.5"):
        open_data(table / "many-0000.tar", held_out=0.9)


MEMORY = """
import sys, torch
from itertools import islice
from pushforward._random import Draw
from pushforward.data import open_data

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

torch.set_num_threads(1)
data = open_data(sys.argv[1], held_out=0.01)
stream = data.batches(64, Draw(0, "data"))
for batch in islice(stream, 50):  # until the allocator has what it needs
    pass
before = private()
for batch in islice(stream, 100):
    pass
print(private() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["tar", "npy"])
def test_memory_does_not_grow(kind: str, tmp_path: Path) -> None:
    """75 MB of rows go through a process after the first: what it has of its own stays."""
    row = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    if kind == "tar":
        data = npy(row)
        for shard in range(4):
            tar(tmp_path / f"{shard}.tar", {f"{shard}-{i}.npy": data for i in range(800)})
        path = tmp_path
    else:
        path = tmp_path / "rows.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (24_000, 3, 64, 64))[:] = row
    environment = {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "PATH": ""}
    run = subprocess.run([sys.executable, "-c", MEMORY, str(path)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 25

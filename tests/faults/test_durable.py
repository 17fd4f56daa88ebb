"""No fault at any durable write loses what was there, or leaves a mixture of two."""

import ast
import errno
import hashlib
import os
import random
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from faults.disk import Disk
from faults.writers import WRITERS, Writer
from house.tree import file_of, modules
from pushforward import _durable
from pushforward._errors import PushforwardError
from pushforward.training import files

every_writer = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(autouse=True)
def spared(monkeypatch):
    """What happens to the real disk does not matter here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def versions_in(writer: Writer, folder: Path) -> int:
    """Which version is there; 0 if the reader refuses, as it may."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is not done: these are the weights")
            return writer.read(folder)
    except PushforwardError:
        assert writer.refuses
        return 0


@every_writer
def test_a_crash_or_a_power_cut_at_any_call_leaves_one_whole_version(tmp_path, name):
    writer, rng, root = WRITERS[name], random.Random(0), tmp_path / "root"
    root.mkdir()
    writer.write(root, 1)
    disk, laid = Disk(root), []

    def cut() -> None:
        for power, worst in ((None, False), (rng, True), (rng, False), (rng, False)):
            laid.append(disk.left(tmp_path / f"left-{len(laid)}", power, worst))

    with disk.watched(after=cut):
        writer.write(root, 2)
    assert len(laid) >= 4 * 3
    for place in laid:
        assert versions_in(writer, place) in ((0, 1, 2) if writer.refuses else (1, 2)), place
    for power, worst in ((None, False), (rng, True), (rng, False)):
        assert writer.read(disk.left(tmp_path / f"end-{power is None}-{worst}", power, worst)) == 2  # it stays
    for place in laid[:: max(1, len(laid) // 8)]:
        writer.write(place, 3)
        assert writer.read(place) == 3


@every_writer
@pytest.mark.parametrize("stays", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["for a moment", "for good"])
def test_a_full_disk_at_any_call_is_an_oserror_and_loses_nothing(tmp_path, name, stays):
    writer, start = WRITERS[name], tmp_path / "start"
    start.mkdir()
    writer.write(start, 1)
    before = {path.relative_to(start) for path in start.rglob("*")}
    at, total, faults = 0, 10**6, 0
    while at < total:
        at, failed = at + 1, False
        root = tmp_path / f"full-{at}"
        shutil.copytree(start, root)
        disk = Disk(root)
        with disk.watched(at, stays):
            try:
                writer.write(root, 2)
            except OSError as error:
                failed = error.errno == errno.ENOSPC
        total, faults = (total if failed else disk.calls), faults + failed
        if failed:
            assert versions_in(writer, root) in ((0, 1, 2) if writer.refuses else (1, 2))
            new = {path.relative_to(root) for path in root.rglob("*")} - before
            assert not [path for path in new if path.name.startswith(".")]
        writer.write(root, 3)
        assert writer.read(root) == 3
    assert faults >= 3


def test_the_disk_of_these_tests_sees_a_careless_writer(tmp_path):
    """Without a sync a power cut leaves an empty file, or part of one, under the new name."""
    root, rng = tmp_path / "root", random.Random(0)
    root.mkdir()
    (root / "a").write_bytes(b"1" * 9)
    disk, found = Disk(root), set()

    def careless() -> None:
        descriptor = os.open(root / "b", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, b"2" * 9)
        os.close(descriptor)
        os.replace(root / "b", root / "a")

    with disk.watched():
        careless()
    for i in range(40):
        found.add((disk.left(tmp_path / f"left-{i}", rng) / "a").read_bytes())
    assert b"1" * 9 in found
    assert b"" in found
    assert any(0 < len(data) < 9 for data in found)


def test_a_crash_while_a_file_is_written_leaves_part_of_it(tmp_path):
    disk = Disk(tmp_path)
    with disk.watched(at=2), pytest.raises(OSError, match="No space"):
        _durable.put(tmp_path / "a", [b"12345678"])
    assert (tmp_path / "a").read_bytes() == b"1234"


def test_tensors_of_every_type_are_what_the_library_of_the_format_reads(tmp_path):
    """Also parts that are hashed by a thread, and none at all."""
    types = [each for each in files._DTYPES if not each.is_complex and "float8" not in str(each)]
    tensors = {str(each): torch.arange(6).reshape(2, 3).to(each) for each in types}
    tensors |= {"large": torch.arange(700_000.0), "turned": torch.arange(6.0).reshape(2, 3).T, "none": torch.ones(0, 3)}
    tensors |= {"one": torch.tensor(2.5), "é": torch.tensor([True, False])}
    facts = files.write_tensors(tmp_path / "a.safetensors", tensors, {"format": "pt"})
    data = (tmp_path / "a.safetensors").read_bytes()
    assert (facts.size, facts.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) and found[k].dtype == tensors[k].dtype for k in tensors)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


WRITES = {
    "write_text",
    "write_bytes",
    "replace",
    "rename",
    "savefig",
    "save_file",
    "rmtree",
    "mkstemp",
    "mkdir",
    "dump",
}
HANDED = "into the file that _durable.replacing hands out"
ELSEWHERE = {
    "pushforward.cli.output": HANDED,
    "pushforward.cli.positions_compare": HANDED,
    "pushforward.cli.tables": HANDED,
}


@pytest.mark.parametrize("module", sorted(modules()))
def test_whatever_is_written_is_written_through_durable(module):
    if module == "pushforward._durable" or module in ELSEWHERE:
        return
    names = {alias.asname or alias.name for node in ast.walk(modules()[module]) if isinstance(node, ast.ImportFrom)
             and node.module == "pushforward._durable" for alias in node.names}  # fmt: skip
    found = []
    for node in ast.walk(modules()[module]):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        last = called.rpartition(".")[2]
        if last in WRITES and last not in names and (called.startswith(("os.", "shutil.")) or last not in {"replace"}):
            found.append((node.lineno, called))
        if last == "open" and any(isinstance(a, ast.Constant) and str(a.value)[:1] in "wax" for a in node.args):
            found.append((node.lineno, called))
    assert [each for each in found if each[1] not in ALLOWED.get(module, ())] == [], file_of(module)


ALLOWED = {
    "pushforward.training.lock": {"(path / LOCK).open"},
    "pushforward.training.run_folder": {"path.open"},  # metrics, line by line
    "pushforward.report.page": {"drawing.savefig"},  # into memory
}

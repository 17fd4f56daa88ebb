"""Checkpoints under crashes, full disks and flipped bits."""

import builtins
import contextlib
import errno
import os
import random
import warnings
from pathlib import Path

import pytest
import torch

from pushforward._errors import RunError
from pushforward.training import checkpoint as room
from pushforward.training import files
from pushforward.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, write_checkpoint


def sample(step: int) -> Checkpoint:
    tensors = {"w": torch.arange(7.0) + step}
    return Checkpoint(
        step,
        tensors,
        {"w": tensors["w"] * 2},
        {"w.exp_avg": tensors["w"] * 3},
        {"losses": [0.1 * step]},
        {"a": 1},
    )


def assert_is(place: Path | None, *steps: int) -> None:
    assert place is not None
    got = read_checkpoint(place)
    assert got.step in steps
    want = sample(got.step)
    for name in ("model", "ema", "optim"):
        ours, theirs = getattr(got, name), getattr(want, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert dict(got.state) == dict(want.state)


class Crash(BaseException):
    """The process is gone: nothing after it runs."""


class Faults:
    """Fails the `at`-th durable operation of writing, or counts them."""

    def __init__(self, monkeypatch, at: int, error: BaseException | None) -> None:
        self.count, self.at, self.error = 0, at, error
        for owner, name in [
            (os, "fsync"), (os, "rename"), (os, "replace"), (os, "chmod"), (files, "save_file"),
            (room.shutil, "rmtree"), (Path, "write_text"), (Path, "mkdir"), (Path, "unlink"),
        ]:  # fmt: skip
            monkeypatch.setattr(owner, name, self.guarded(getattr(owner, name)))

    def guarded(self, act):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at and self.error is not None:
                raise self.error
            if self.count > self.at and isinstance(self.error, Crash):
                raise self.error
            return act(*args, **kwargs)

        return call


def operations(tmp_path, monkeypatch) -> int:
    for step in (1, 2):
        write_checkpoint(tmp_path / "count", sample(step))
    with monkeypatch.context() as patch:
        faults = Faults(patch, 0, None)
        write_checkpoint(tmp_path / "count", sample(3))
        return faults.count


@pytest.mark.parametrize("error", [Crash(), OSError(errno.ENOSPC, "No space left on device")], ids=["crash", "full"])
def test_no_fault_at_any_operation_loses_the_run(tmp_path, monkeypatch, error):
    total = operations(tmp_path, monkeypatch)
    assert total > 25
    for at in range(1, total + 1):
        folder = tmp_path / f"{type(error).__name__}-{at}"
        for step in (1, 2):
            write_checkpoint(folder, sample(step))
        with monkeypatch.context() as patch:
            Faults(patch, at, error)
            with contextlib.suppress(Crash, OSError):
                write_checkpoint(folder, sample(3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_is(newest_checkpoint(folder), 2, 3)
        write_checkpoint(folder, sample(4))
        assert_is(newest_checkpoint(folder), 4)
        assert len(list(folder.iterdir())) == room.KEEP


def test_a_full_disk_leaves_no_litter(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, sample(1))
    monkeypatch.setattr(files, "save_file", lambda *a: (_ for _ in ()).throw(files.SafetensorError("I/O error: full")))
    with pytest.raises(OSError, match="full"):
        write_checkpoint(tmp_path, sample(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_any_flip_or_cut_falls_back_to_the_one_before(tmp_path):
    rng = random.Random(0)
    for step in (1, 2):
        write_checkpoint(tmp_path, sample(step))
    newest = tmp_path / "step-00000002"
    for path in sorted(newest.iterdir()):
        whole = path.read_bytes()
        for trial in range(12):
            damaged = bytearray(whole)
            if trial % 3 == 0:
                del damaged[rng.randrange(len(damaged)) :]
            else:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            with pytest.warns(UserWarning, match="A checkpoint is passed over"):
                assert_is(newest_checkpoint(tmp_path), 1)
        path.write_bytes(whole)
    assert_is(newest_checkpoint(tmp_path), 2)


def test_all_damaged_is_an_error_that_names_a_file(tmp_path):
    write_checkpoint(tmp_path, sample(1))
    (tmp_path / "step-00000001" / "ema.safetensors").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(RunError, match=r"ema.safetensors.*damaged"),
    ):
        newest_checkpoint(tmp_path)


def test_the_newest_stay_and_the_same_step_is_written_once(tmp_path):
    for step in range(1, 6):
        place = write_checkpoint(tmp_path, sample(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]
    before = (place / "state.json").stat().st_mtime_ns
    write_checkpoint(tmp_path, sample(5))
    assert (place / "state.json").stat().st_mtime_ns == before


def test_files_have_the_usual_permissions(tmp_path):
    place = write_checkpoint(tmp_path, sample(1))
    mask = os.umask(0)
    os.umask(mask)
    assert {oct(path.stat().st_mode & 0o777) for path in place.iterdir()} == {oct(0o666 & ~mask)}


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    import pickle

    place = write_checkpoint(tmp_path, sample(1))
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(builtins, "eval", None)
    assert_is(place, 1)

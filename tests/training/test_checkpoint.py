"""Checkpoints: found whole or not at all. Crashes and full disks are in `tests/faults`."""

import builtins
import os
import random
from pathlib import Path

import pytest
import torch

from pushforward._errors import RunError
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
            with pytest.warns(UserWarning, match="for the one before, step-00000001. Expected .*step-00000002"):
                assert_is(newest_checkpoint(tmp_path), 1)
        path.write_bytes(whole)
    assert_is(newest_checkpoint(tmp_path), 2)


def test_all_damaged_is_an_error_that_names_a_file(tmp_path):
    write_checkpoint(tmp_path, sample(1))
    (tmp_path / "step-00000001" / "ema.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"ema.safetensors.*damaged"):
        newest_checkpoint(tmp_path)


def test_the_newest_is_the_one_of_most_steps_whatever_the_clock_says(tmp_path):
    for step in (99_999_999, 100_000_000):
        write_checkpoint(tmp_path, sample(step))
    for place in tmp_path.iterdir():
        os.utime(place, (0, 2e9 - int(place.name[5:])))
    assert_is(newest_checkpoint(tmp_path), 100_000_000)


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

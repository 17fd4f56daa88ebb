"""What strangers and broken disks hand us ends in an error of ours: nothing is run, nothing hangs or is written."""

import io
import json
import os
import pickle
import random
import signal
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from faults.writers import RECIPE, checkpoint, numbered, read_newest, version_of
from pushforward._durable import put
from pushforward._errors import PushforwardError, RunError
from pushforward.interop import load_folder, save_folder
from pushforward.training import load, save_run
from pushforward.training.checkpoint import newest_checkpoint
from pushforward.training.files import manifest, pieces, read_tensors, seal

SECONDS = 20


@pytest.fixture(autouse=True)
def spared(monkeypatch):
    """What happens to the real disk does not matter here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@contextmanager
def at_once(seconds: int = SECONDS) -> Iterator[None]:
    """Fails what hangs."""

    def late(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def listing(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_size for path in folder.rglob("*")}


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A random flip, cut, or both."""
    found = bytearray(data)
    kind = rng.randrange(4)
    if kind <= 1 or len(found) < 2:
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    if kind >= 2:
        del found[rng.randrange(len(found)) :]
    if kind == 3 and found:
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


# what is sealed


def sealed(folder: Path) -> dict[str, tuple[Path, Callable[[], int]]]:
    """Folders of each kind with a manifest, and what version a reader finds."""
    checkpoint(folder, 1)
    save_run(numbered(1), folder / "run", RECIPE)
    save_folder(numbered(1), folder / "model", RECIPE)
    return {
        "checkpoint": (folder / "checkpoints/step-00000001", lambda: read_newest(folder)),
        "run": (folder / "run", lambda: version_of(load(folder / "run").parameters())),
        "folder": (folder / "model", lambda: version_of(load_folder(folder / "model").parameters())),
    }


@pytest.mark.parametrize("trials", [120, pytest.param(4000, marks=pytest.mark.slow)])
def test_no_damaged_file_is_loaded_in_silence(tmp_path, trials):
    """The reader of safetensors alone lets a part of the same damage through, which shows that the damage is damage."""
    rng, kinds = random.Random(0), sealed(tmp_path)
    files = [
        (path, path.read_bytes(), read)
        for place, read in kinds.values()
        for path in sorted(place.iterdir())
        if path.name in ("manifest.json", "config.toml", "config.json", "state.json") or path.suffix == ".safetensors"
    ]
    refused = alone = tensors = 0
    for _ in range(trials):
        path, whole, read = rng.choice(files)
        bad = damaged(rng, whole)
        if bad == whole or (path.name == "manifest.json" and bad == whole[:-1]):  # its last newline says nothing
            continue
        path.write_bytes(bad)
        with pytest.raises(PushforwardError):
            read()
        refused += 1
        if path.suffix == ".safetensors":
            tensors += 1
            alone += loads(path)
        path.write_bytes(whole)
    assert refused > 0.95 * trials
    assert 0.02 < alone / tensors < 0.6
    assert [read() for _, read in kinds.values()] == [1, 1, 1]
    print(f"{refused} damaged files refused; of {tensors} safetensors files {alone} load in silence without their seal")


def loads(path: Path) -> bool:
    try:
        load_file(path)
    except Exception:
        return False
    return True


# what is crafted


class Attack:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def crafted_head(folder: Path, head: object, length: int | None = None, tail: bytes = b"\0" * 64) -> None:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    data = struct.pack("<Q", len(text) if length is None else length) + text + tail
    resealed(folder, "model.safetensors", data)


def resealed(folder: Path, name: str, data: bytes) -> None:
    """A file replaced by somebody who can write a manifest as well as we can."""
    put(folder / name, [data])
    names = ["config.json" if (folder / "config.json").exists() else "config.toml", "model.safetensors"]
    seal(folder, {each: put(folder / each, [(folder / each).read_bytes()]) for each in names})


def rewritten(folder: Path, old: str, new: str) -> None:
    resealed(folder, "config.toml", (folder / "config.toml").read_text().replace(old, new).encode())


def named(folder: Path, *names: str) -> None:
    """A manifest that names these files."""
    body = json.loads((folder / "manifest.json").read_text())["files"]
    from pushforward._durable import Facts

    files = {name: Facts(**body.get(name, {"size": 0, "sha256": ""})) for name in names}
    (folder / "manifest.json").write_text(manifest(files))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
RUNS: dict[str, Callable[[Path], object]] = {
    "a pickle for weights": lambda f: resealed(f, "model.safetensors", pickle.dumps(Attack(f / "mark"))),
    "a torch file for weights": lambda f: resealed(f, "model.safetensors", torch_file(Attack(f / "mark"))),
    "a pickle for a manifest": lambda f: (f / "manifest.json").write_bytes(pickle.dumps(Attack(f / "mark"))),
    "a pickle for a configuration": lambda f: resealed(f, "config.toml", pickle.dumps(Attack(f / "mark"))),
    "a head of 4 EiB": lambda f: crafted_head(f, {}, 2**62),
    "a head of 100 MB that is not there": lambda f: crafted_head(f, {}, 10**8),
    "a head of brackets": lambda f: crafted_head(f, b"[" * 10**6),
    "offsets beyond the end": lambda f: crafted_head(f, {"a": {**F32, "data_offsets": [0, 10**12]}}),
    "offsets that overlap": lambda f: crafted_head(f, {"a": F32, "b": F32}, tail=b"\0" * 16),
    "a shape of 2**62": lambda f: crafted_head(f, {"a": {**F32, "shape": [2**31, 2**31]}}),
    "a dtype of strangers": lambda f: crafted_head(f, {"a": {**F32, "dtype": "os.system"}}),
    "no weights": lambda f: crafted_head(f, {}, tail=b""),
    "weights of another model": lambda f: resealed(f, "model.safetensors", b"".join(pieces({"a": torch.ones(3)}))),
    "weights that are not finite": lambda f: resealed(
        f,
        "model.safetensors",
        b"".join(pieces({k: v * torch.nan for k, v in load_file(f / "model.safetensors").items()})),
    ),
    "a manifest that leaves the weights out": lambda f: named(f, "config.toml"),
    "a manifest that names a file elsewhere": lambda f: named(f, "config.toml", "model.safetensors", "../../secret"),
    "a manifest that names an absolute path": lambda f: named(f, "config.toml", "model.safetensors", "/etc/passwd"),
    "a manifest of lists": lambda f: (f / "manifest.json").write_text("[[]]"),
    "a manifest without files": lambda f: (f / "manifest.json").write_text('{"format_version": 1, "files": 3}'),
    "a manifest 100,000 deep": lambda f: (f / "manifest.json").write_text('{"a":' * 100_000),
    "a manifest with a number of 10,000 digits": lambda f: (f / "manifest.json").write_text("9" * 10_000),
    "a manifest that is a pipe": lambda f: fifo(f / "manifest.json"),
    "weights that are a pipe": lambda f: fifo(f / "model.safetensors"),
    "a configuration that is a pipe": lambda f: fifo(f / "config.toml"),
    "a configuration that is a folder": lambda f: ((f / "config.toml").unlink(), (f / "config.toml").mkdir()),
    "a configuration that is a circle": lambda f: (
        (f / "config.toml").unlink(),
        (f / "config.toml").symlink_to("config.toml"),
    ),
    "a class by name": lambda f: rewritten(f, 'kind = "mlp"', 'kind = "os.system"'),
    "a target": lambda f: rewritten(f, 'kind = "mlp"', 'kind = "mlp"\n_target_ = "os.system"'),
    "a class path": lambda f: rewritten(f, 'kind = "mlp"', 'class_path = "os.system"\ninit_args = ["true"]'),
    "a position by import": lambda f: rewritten(f, 'prediction = "velocity"', "prediction = \"__import__('os')\""),
    "another format": lambda f: rewritten(f, "format_version = 1", "format_version = 99"),
    "a network of 2**40 features": lambda f: rewritten(f, "hidden = 2", f"hidden = {2**40}"),
    "a network of 30 GB": lambda f: rewritten(f, "hidden = 2", "hidden = 60000"),
    "a network of 10**9 layers": lambda f: rewritten(f, "layers = 1", "layers = 1_000_000_000"),
    "a network of -1 layers": lambda f: rewritten(f, "layers = 1", "layers = -1"),
    "a network of 10**30 layers": lambda f: rewritten(f, "layers = 1", f"layers = {10**30}"),
    "features that are a date": lambda f: rewritten(f, "hidden = 2", "hidden = 1979-05-27"),
    "an event of 2**60 numbers": lambda f: rewritten(f, "shape = [2]", f"shape = [{2**30}, {2**30}]"),
    "an event of -1 numbers": lambda f: rewritten(f, "shape = [2]", "shape = [-1]"),
    "10**12 classes": lambda f: rewritten(f, "classes = 0", f"classes = {10**12}"),
    "a configuration 100,000 deep": lambda f: resealed(f, "config.toml", b"a = " + b"[" * 100_000),
    "a configuration of 5 MB": lambda f: resealed(f, "config.toml", b"#" * 5_000_000),
    "a configuration of zeros": lambda f: resealed(f, "config.toml", b"\0" * 100),
    "a configuration in UTF-16": lambda f: resealed(f, "config.toml", "a = 1".encode("utf-16")),
}
"""What somebody does to a run folder, with a manifest that fits."""


def torch_file(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": value}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("attack", RUNS)
def test_a_crafted_run_is_refused(tmp_path, attack):
    run = save_run(numbered(1), tmp_path / "run", RECIPE)
    RUNS[attack](run)
    before = listing(tmp_path)
    with at_once(), pytest.raises(PushforwardError) as caught:
        load(run)
    assert len(str(caught.value)) < 2_000
    assert listing(tmp_path) == before


CHECKPOINTS = {
    "no step": {"step": None},
    "a step of words": {"step": "3"},
    "a step below 0": {"step": -3},
    "a journal of words": {"losses": ["a"]},
    "a journal of one word": {"losses": "aaa"},
    "no journal": {"elapsed": None},
    "a number that JSON has not": {"elapsed": float("nan")},
}


@pytest.mark.parametrize("attack", CHECKPOINTS)
def test_a_crafted_state_is_refused(tmp_path, attack):
    from pushforward.training.checkpoint import read_checkpoint
    from pushforward.training.files import verify
    from pushforward.training.journal import Journal

    checkpoint(tmp_path, 1)
    place = tmp_path / "checkpoints/step-00000001"
    state = {"step": 1, **Journal().state()} | CHECKPOINTS[attack]
    facts = {path.name: put(path, [path.read_bytes()]) for path in place.iterdir() if path.name != "manifest.json"}
    facts["state.json"] = put(place / "state.json", [json.dumps(state).encode()])
    (place / "manifest.json").write_text(manifest(facts))
    verify(place)
    with pytest.raises(RunError):
        Journal.restored(dict(read_checkpoint(place).state))


def test_checkpoints_of_odd_names_are_passed_over(tmp_path):
    checkpoint(tmp_path, 3)
    for name in ("step-", "step-abc", "step-1e9", "step-٣", "step--4"):
        (tmp_path / "checkpoints" / name).mkdir()
        (tmp_path / "checkpoints" / name / "manifest.json").write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert newest_checkpoint(tmp_path / "checkpoints").name == "step-00000003"


def test_a_pickle_is_not_even_looked_into(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps(Attack(tmp_path / "mark")))
    with pytest.raises(RunError):
        read_tensors(tmp_path / "a")
    assert not (tmp_path / "mark").exists()

"""The zoo of strangers' files: a good one of every kind that is accepted, and what reads it to the end."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pushforward as pf
from faults.writers import RECIPE, UNITS, checkpoint, numbered
from laws.zoo_recipes import FLOWS
from pushforward import _config
from pushforward._durable import put, remove
from pushforward._random import Draw
from pushforward.cli.curves import Metrics
from pushforward.cli.shell import parse
from pushforward.cli.units import read_units, write_units
from pushforward.data import arrays, word_pieces
from pushforward.data.column_kinds import Bounded, Integer
from pushforward.data.columns import Columns
from pushforward.data.mixed import read_mixed
from pushforward.data.tails import Tails
from pushforward.data.word_pieces import MARKS
from pushforward.interop import declared, load_folder, load_roformer, save_folder, save_roformer
from pushforward.interop.defects import findings, stored
from pushforward.nets import RoFormer, RoFormerConfig
from pushforward.training import Shards, StoredPairs, build, read_run, save_run
from pushforward.training.averages import averaged, named, write_snapshot
from pushforward.training.checkpoint import newest_checkpoint, read_checkpoint
from pushforward.training.files import as_json, manifest
from pushforward.training.journal import Journal
from pushforward.training.run_folder import RunFolder
from pushforward.training.table_file import read_columns, write_columns
from pushforward.training.tracking import keep_name, kept_names

Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        write: writes a good one below a folder and says where it is.
        read: reads it as far as a verb would; an error of ours, or nothing.
    """

    write: Callable[[Path], Path]
    read: Reader


ROWS = np.arange(40.0).reshape(20, 2)
TABLE = "a,b\n" + "".join(f"{x},{y}\n" for x, y in ROWS)
PIXELS = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
SUFFIXES = ("bmp", "gif", "jpg", "pgm", "png", "ppm", "tif", "webp")


def used(path: Path) -> None:
    """A data set, and a batch of it: what is read when it is asked for is read too."""
    next(pf.data.open_data(path).batches(8, Draw(0, "data")))


def mapped(path: Path) -> None:
    """As if it were too large to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "LARGE", 0)
        used(path)


def beside(read: Reader) -> Reader:
    """What is handed its folder."""
    return lambda path: read(path.parent)


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return folder / name

    return write


def in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def picture(suffix: str) -> Kind:
    def write(folder: Path) -> Path:
        (folder / "images").mkdir()
        for i, each in enumerate(PIXELS):
            Image.fromarray(each).save(folder / f"images/{i}.{suffix}")
        return folder / f"images/1.{suffix}"

    return Kind(write, beside(used))


def tarred(rows: Mapping[str, bytes]) -> bytes:
    def write(stream: io.BytesIO) -> None:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, data in rows.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    return in_memory(write)


def png(each: np.ndarray) -> bytes:
    return in_memory(lambda stream: Image.fromarray(each).save(stream, "png"))


TARS = {
    "a.tar of images": tarred(
        {f"{i}.{end}": png(each) if end == "png" else b"dog" for i, each in enumerate(PIXELS) for end in ("png", "cls")}
    ),
    "a.tar of arrays": tarred(
        {f"{i}.npy": in_memory(lambda f, row=row: np.save(f, row)) for i, row in enumerate(ROWS)}
    ),
}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist(folder: Path) -> Path:
    written("train-images-idx3-ubyte", idx(PIXELS))(folder)
    return written("train-labels-idx1-ubyte", idx(np.arange(6) % 2))(folder)


def parquet(name: str) -> Kind:
    def write(folder: Path) -> Path:
        import pyarrow as pa
        from pyarrow import parquet

        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1]}), folder / name, row_group_size=7)
        return folder / name

    return Kind(write, beside(used) if "/" in name else used)


# runs and checkpoints


def in_run(name: str, write: Callable[[Path], object], read: Reader) -> Kind:
    """A file of a run folder that has no seal."""

    def made(folder: Path) -> Path:
        save_run(numbered(1), folder / "run", RECIPE)
        remove(folder / "run/manifest.json")
        write(folder / "run")
        return folder / "run" / name

    return Kind(made, beside(read))


def sealed_load(run: Path) -> object:
    sealed_again(lambda path: None)(run / "model.safetensors")
    return pf.load(run)


def of_flow(name: str) -> Kind:
    """What a run says that holds this flow, whose weights do not change."""

    def write(folder: Path) -> Path:
        with torch.random.fork_rng(devices=[]):
            model = build(FLOWS[name], (1, 4, 4))
        return save_run(model, folder / "run", FLOWS[name]) / "config.toml"

    return Kind(write, beside(sealed_load))


def sealed_again(read: Reader) -> Reader:
    """By somebody who can write a manifest as well as we can."""

    def reads(path: Path) -> None:
        names = [each for each in path.parent.iterdir() if each.name != "manifest.json"]
        text = manifest({each.name: put(each, [each.read_bytes()]) for each in names})
        put(path.parent / "manifest.json", [text.encode()])
        read(path)

    return reads


def state_read(path: Path) -> None:
    Journal.restored(dict(read_checkpoint(path.parent).state))


def in_checkpoint(name: str, read: Reader) -> Kind:
    def write(folder: Path) -> Path:
        save_run(numbered(1), folder, RECIPE)
        checkpoint(folder, 1)
        place = folder / "checkpoints/step-00000001"
        put(place / "state.json", [as_json({"step": 1, **Journal().state()}).encode()])
        config = _config.to_table(read_run(folder), pf.training.KINDS)
        put(place / "config.json", [as_json(config).encode()])
        sealed_again(lambda path: None)(place / "state.json")
        return place / name

    return Kind(write, read)


def resumed(path: Path) -> None:
    folder = path.parents[2]
    RunFolder(folder, read_run(folder)).newest()


def of_averages(folder: Path) -> Path:
    write_snapshot(folder, 4, {named(0.1, "w"): torch.ones(3), named(0.2, "w"): torch.ones(3)})
    return next(folder.rglob("*.safetensors"))


# pairs, and what other libraries write


def pairs(name: str, again: bool = False) -> Kind:
    """A file of a folder of pairs; as it is, or with a seal that fits."""

    def write(folder: Path) -> Path:
        shards = Shards.begin(folder / "pairs", 6, 3, {})
        shards.fill(lambda first, n: {"x": torch.ones(n, 2) * first, "eps": torch.zeros(n, 2)})
        return folder / "pairs" / name

    def read(path: Path) -> None:
        if again:
            facts = put(path, [path.read_bytes()])
            put(path.with_suffix(".json"), [as_json({"size": facts.size, "sha256": facts.sha256}).encode()])
        next(StoredPairs.open(path.parent).batches(4, Draw(0)))

    return Kind(write, read)


def in_folder(name: str) -> Kind:
    def write(folder: Path) -> Path:
        save_folder(numbered(1), folder / "model", RECIPE)
        remove(folder / "model/manifest.json")
        return folder / "model" / name

    return Kind(write, beside(load_folder))


def of_hubs(name: str, read: Reader) -> Kind:
    def write(folder: Path) -> Path:
        model = RoFormer(RoFormerConfig(vocabulary=9, width=8, layers=1, heads=2, hidden=8))
        save_roformer(model, folder / "hub", length=8)
        return folder / "hub" / name

    return Kind(write, beside(read))


def audited(folder: Path) -> None:
    findings(declared(folder), stored(folder))


OPTIONS = """
path = "cosine"
model = "mlp"
conditional = false
[settings]
steps = 20
lr = 0.01
profiles = [0.1, 0.2]
[mlp]
hidden = 8
"""

TAILS = Tails(torch.zeros(2).double(), torch.tensor([0.0, 3.0]).double())
LEARNED = Columns(("a", "b"), (Bounded(0.0, 40.0), Integer(0)), torch.zeros(2).double(), torch.ones(2).double(), TAILS)

KINDS: dict[str, Kind] = {
    "a.csv": Kind(written("a.csv", TABLE.encode()), used),
    "a.tsv": Kind(written("a.tsv", TABLE.replace(",", "\t").encode()), used),
    "a.csv.gz": Kind(written("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)), used),
    "a.csv of anything": Kind(written("a.csv", TABLE.replace("0", "x").encode()), read_mixed),
    "a.npy": Kind(written("a.npy", in_memory(lambda f: np.save(f, ROWS))), used),
    "a.npy, mapped": Kind(written("a.npy", in_memory(lambda f: np.save(f, ROWS))), mapped),
    "a.npz": Kind(written("a.npz", in_memory(lambda f: np.savez_compressed(f, x=ROWS, y=np.arange(20)))), used),
    "idx": Kind(written("a-idx3-ubyte", idx(PIXELS)), used),
    "idx.gz": Kind(written("a-idx3-ubyte.gz", gzip.compress(idx(PIXELS), mtime=0)), used),
    "labels in idx": Kind(mnist, beside(used)),
    "a.parquet": parquet("a.parquet"),
    "a.parquet of anything": replace(parquet("a.parquet"), read=read_mixed),
    "a folder of .parquet": parquet("many/0.parquet"),
    "a folder of .tar": Kind(written("many/0.tar", TARS["a.tar of images"]), beside(used)),
    **{name: Kind(written("a.tar", data), used) for name, data in TARS.items()},
    **{f"a folder of .{suffix}": picture(suffix) for suffix in SUFFIXES},
    "a text of characters": Kind(written("a.txt", "字 a long text\n".encode() * 9), pf.data.text),
    "a text of bytes": Kind(written("a.txt", b"a long text\n" * 9), lambda path: pf.data.text(path, "bytes")),
    "vocab.txt": Kind(
        written("vocab.txt", "\n".join([*MARKS, "a", "##b", "字", ""]).encode()),
        lambda path: word_pieces(path).encode(["ab 字 c"]),
    ),
    "config.toml": in_run("config.toml", lambda run: None, read_run),
    **{f"config.toml of {name}": of_flow(name) for name in FLOWS},
    "data.toml": in_run("data.toml", lambda run: write_units(UNITS, run), read_units),
    "columns.toml": in_run("columns.toml", lambda run: write_columns(LEARNED, run), read_columns),
    "tracking.json": in_run("tracking.json", lambda run: keep_name(run, "wandb", "abc"), kept_names),
    "metrics.jsonl": in_run(
        "metrics.jsonl",
        lambda run: put(run / "metrics.jsonl", [b'{"step": 10, "loss": 0.5, "seconds": 1.5, "memory": 1e6}\n' * 4]),
        lambda run: (m := Metrics.of(run), m.curve("loss"), m.memory(), m.seconds_per_step()),
    ),
    "weights of a run": in_run("model.safetensors", lambda run: None, sealed_load),
    "--config of options": Kind(
        written("options.toml", OPTIONS.encode()), lambda path: parse(["train", "digits", "--config", str(path)])
    ),
    "--config of a run": in_run(
        "config.toml",
        lambda run: write_units(UNITS, run),
        lambda run: parse(["train", "digits", "--config", str(run / "config.toml")]),
    ),
    "a solver": Kind(
        lambda folder: (pf.solvers.save(pf.solvers.Heun(3), folder / "a.json"), folder / "a.json")[1], pf.solvers.load
    ),
    "manifest.json": in_checkpoint("manifest.json", lambda path: newest_checkpoint(path.parents[1])),
    "state.json, sealed again": in_checkpoint("state.json", sealed_again(state_read)),
    "state.json of a run to resume": in_checkpoint("state.json", sealed_again(resumed)),
    "config.json of a run to resume": in_checkpoint("config.json", sealed_again(resumed)),
    "weights of a checkpoint, sealed again": in_checkpoint("model.safetensors", sealed_again(state_read)),
    "averages, sealed again": Kind(of_averages, sealed_again(lambda path: averaged(path.parents[2], 0.1, (0.1, 0.2)))),
    "plan.json of pairs": pairs("plan.json"),
    "the seal of pairs": pairs("part-000000.json"),
    "pairs": pairs("part-000001.safetensors"),
    "pairs, sealed again": pairs("part-000001.safetensors", again=True),
    "config.json of a folder": in_folder("config.json"),
    "weights of a folder": in_folder("model.safetensors"),
    "config.json of a RoFormer": of_hubs("config.json", load_roformer),
    "weights of a RoFormer": of_hubs("model.safetensors", load_roformer),
    "config.json to audit": of_hubs("config.json", audited),
    "weights to audit": of_hubs("model.safetensors", audited),
}

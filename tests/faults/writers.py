"""The zoo of durable writes: everything this library writes for good, and how to tell what is there afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

import pushforward as pf
from pushforward import _config
from pushforward._errors import RunError
from pushforward._recipe import MLP, Diffusion, Run, Settings
from pushforward.cli.output import write_samples
from pushforward.cli.units import Units, read_units, write_units
from pushforward.interop import load_folder, save_folder
from pushforward.training import Shards, build, load, read_run, save_run
from pushforward.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint, write_checkpoint
from pushforward.training.run_folder import locked
from pushforward.training.tracking import keep_name, kept_names


@dataclass(frozen=True)
class Writer:
    """A durable write.

    Args:
        write: writes version 1, 2 or 3 below a folder.
        read: which version is there.
        refuses: why a reader may find, after a fault, that there is none (it never finds a mixture).
    """

    write: Callable[[Path, int], object]
    read: Callable[[Path], int]
    refuses: str = ""


RECIPE = Diffusion(net=MLP(hidden=2, layers=1))


@cache
def numbered(version: int) -> pf.Diffusion:
    """A model whose weights are all the version."""
    with torch.random.fork_rng(devices=[]):
        model = build(RECIPE, (2,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(version)
    return model


def version_of(tensors) -> int:
    """The one number in all these tensors."""
    found = {value for tensor in tensors for value in tensor.flatten().tolist()}
    assert len(found) == 1, f"a mixture of {found}"
    return int(found.pop())


def checkpoint(folder: Path, version: int) -> None:
    tensors = {name: torch.full((3,), float(version)) for name in ("a", "b")}
    write_checkpoint(folder / "checkpoints", Checkpoint(version, tensors, tensors, tensors, {"v": version}, {}))


def read_newest(folder: Path) -> int:
    place = newest_checkpoint(folder / "checkpoints")
    if place is None:
        raise RunError("none")
    found = read_checkpoint(place)
    assert found.step == found.state["v"]
    assert version_of([*found.model.values(), *found.ema.values(), *found.optim.values()]) == found.step
    return found.step


def run_of(version: int) -> Run:
    return Run(Settings(steps=version), (2,), 0, "", "", RECIPE)


def finished(folder: Path, version: int) -> None:
    """The end of a run: its checkpoint, then its weights."""
    tensors = dict(numbered(version).named_parameters())
    state = {"steps": [], "losses": [], "seconds": [], "pending": [], "elapsed": 0.0}
    with locked(folder / "run", run_of(version)) as run:
        run.begin(version, {})
        run.log({"step": version})
        run.checkpoint(Checkpoint(version, tensors, {}, {}, state, _config.to_table(run.config, pf.training.KINDS)))
        run.finish(tensors)


def read_finished(folder: Path) -> int:
    model = load(folder / "run")
    (folder / "run/metrics.jsonl").read_text()
    return version_of(model.parameters())


def read_saved(folder: Path) -> int:
    version = version_of(load(folder / "run").parameters())
    assert read_run(folder / "run").settings.steps == version
    return version


UNITS = Units(path="x", name="x", events="table", shape=(2,), columns=("a", "b"))


def samples(name: str) -> Writer:
    def write(folder: Path, version: int) -> None:
        write_samples(folder / name, torch.full((5, 2), float(version)), UNITS, None)

    known: dict[bytes, int] = {}

    def read(folder: Path) -> int:
        if not known:
            for version in (1, 2, 3):
                write(folder.parent, version)
                known[(folder.parent / name).read_bytes()] = version
        return known[(folder / name).read_bytes()]

    return Writer(write, read)


def page(version: int) -> pf.report.Page:
    return pf.report.Page(str(version), "lead", (), "footer")


def shard(folder: Path, version: int) -> None:
    """One part of a folder whose plan does not change."""
    shards = Shards.begin(folder / "pairs", 3, 3, {})
    shards.write(0, {"x": torch.full((3, 2), float(version))})


def read_shard(folder: Path) -> int:
    shards = Shards.open(folder / "pairs")
    if shards.missing():
        raise RunError("the part is not whole")
    return version_of(torch.from_numpy(view["x"].copy()) for view in shards.views())


WRITERS = {
    "checkpoint": Writer(checkpoint, read_newest),
    "end of a run": Writer(finished, read_finished),
    "save_run": Writer(
        lambda folder, v: save_run(numbered(v), folder / "run", RECIPE, settings=Settings(steps=v)),
        read_saved,
        refuses="two files in a folder that keeps its others: half written, it says so",
    ),
    "save_folder": Writer(
        lambda folder, v: save_folder(numbered(v), folder / "model", RECIPE),
        lambda folder: version_of(load_folder(folder / "model").parameters()),
        refuses="as save_run",
    ),
    "solver": Writer(
        lambda folder, v: pf.solvers.save(pf.solvers.Heun(v), folder / "solvers/a.json"),
        lambda folder: pf.solvers.load(folder / "solvers/a.json").steps,
    ),
    "data.toml": Writer(
        lambda folder, v: write_units(Units(**{**vars_of(UNITS), "levels": v}), folder),
        lambda folder: read_units(folder).levels or 0,
    ),
    "tracking.json": Writer(
        lambda folder, v: keep_name(folder, "wandb", str(v)),
        lambda folder: int(kept_names(folder)["wandb"]),
    ),
    "report": Writer(
        lambda folder, v: page(v).save(folder / "a.html"),
        lambda folder: {page(v).html(): v for v in (1, 2, 3)}[(folder / "a.html").read_text()],
    ),
    "shard": Writer(shard, read_shard, refuses="its seal is written after it: in between it is to be made again"),
    "samples.csv": samples("a.csv"),
    "samples.npz": samples("a.npz"),
    "samples.png": samples("a.png"),
}


def vars_of(units: Units) -> dict[str, object]:
    return {name: getattr(units, name) for name in units.__dataclass_fields__}

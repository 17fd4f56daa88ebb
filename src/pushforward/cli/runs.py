"""Where runs go, and what a training verb says before and after.

By default a run is `runs/NAME`. If one is there already that was finished, the next is `runs/NAME-2`; if it was
interrupted, the same command goes on with it. `--out` decides otherwise.
"""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pushforward as pf
from pushforward._durable import write_text
from pushforward._recipe import Settings
from pushforward.cli.tables import is_mixed
from pushforward.cli.units import Units, write_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pushforward._random import Draw
    from pushforward.data import Batch


def run_folder(out: Path | None, name: str) -> Path:
    """The folder of a new run, or of the interrupted one that it continues."""
    if out is not None:
        return out
    base = Path("runs") / name.replace("/", "-")
    path, count = base, 2
    while (path / "model.safetensors").exists():
        path, count = base.with_name(f"{base.name}-{count}"), count + 1
    return path


def beside(path: Path, ending: str) -> Path:
    """The folder next to this one whose name goes on with an ending; of "." too.

    >>> str(beside(Path("runs/digits"), "-2"))
    'runs/digits-2'
    """
    whole = path if path.name not in ("", "..") else path.resolve()
    return whole.with_name(f"{whole.name}{ending}")


def named(runs: "Sequence[Path]") -> dict[str, Path]:
    """Run folders by name, or by path where two have one name."""
    short = [path.resolve().name for path in runs]
    return dict(zip(short if len(set(short)) == len(short) else map(str, runs), runs))


def speak(*lines: str) -> None:
    """Print, on the first process alone."""
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines), flush=True)


def announce(data: str, model: "pf.models.Model", what: str, settings: Settings, path: Path) -> None:
    """What is about to happen: on which data, with which model, for how long, into which folder."""
    weights = sum(each.numel() for each in model.parameters() if each.requires_grad)
    speak(data, f"{what}, {weights:,} parameters, {settings.steps:,} steps of {settings.batch} into {path}")


class Source(Protocol):
    """Where batches come from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        ...

    def batches(self, size: int, draw: "Draw", start: int = 0, rank: int = 0, world: int = 1) -> "Iterator[Batch]":
        """Batches without end."""
        ...


@dataclass(frozen=True, slots=True)
class Remembered:
    """Data whose units are in the run folder from the first batch on: no end of the run, however sudden, loses them.

    Args:
        data: what is trained on.
        units: of the data; their labels are the classes of the batches' context.
        path: the run folder.
        also: writes what else belongs there.
        skipped: rows that were left out, each with its file and line; kept in `bad_rows.jsonl`.
    """

    data: Source
    units: Units
    path: Path
    also: "Callable[[Path], None] | None" = None
    skipped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the data are called, for the record of the run."""
        return self.units.name

    @property
    def classes(self) -> int:
        """How many classes the batches' context counts."""
        return len(self.units.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return self.data.shape

    def batches(self, size: int, draw: "Draw", start: int = 0, rank: int = 0, world: int = 1) -> "Iterator[Batch]":
        """The data's batches; the run folder is there by the time they are asked for."""
        self.remember(rank)
        return self.data.batches(size, draw, start, rank, world)

    def remember(self, rank: int = 0) -> None:
        """Write what is to be remembered; runs of no steps ask for no batches."""
        if rank or not self.path.is_dir():
            return
        write_units(self.units, self.path)
        if self.also is not None:
            self.also(self.path)
        if self.skipped:
            lines = (json.dumps({"skipped": row}, ensure_ascii=False) + "\n" for row in self.skipped)
            write_text(self.path / "bad_rows.jsonl", "".join(lines))

    def named(self, size: int, draw: "Draw", step: int, rank: int = 0, world: int = 1) -> "Sequence[str]":
        """What the data call the rows of a step, if they can tell."""
        named = getattr(self.data, "named", None)
        return () if named is None else named(size, draw, step, rank, world)


def trained(
    model: Any, source: Remembered, objective: "pf.objectives.Objective", settings: Settings, **facts: Any
) -> "pf.training.History":
    """Train as the run that remembers its data, even where no step asks for them; `facts` as of `pf.train`."""
    history = pf.train(model, source, objective, settings=settings, run=source.path, **facts)
    if not settings.steps:
        source.remember(int(os.environ.get("RANK", "0")))
    return history


def conclude(history: "pf.training.History", path: Path, units: Units, teacher: Path | None = None) -> None:
    """How it went, and what one would do next; a student is compared with its teacher."""
    if history.steps:
        speak(f"loss {history.losses[-1]:.4f} after {history.steps[-1]:,} steps, {history.seconds[-1]:.0f} s")
    point_on(path, units, teacher)


def point_on(path: Path, units: Units, teacher: Path | None = None) -> None:
    """What one would do next."""
    suffix = (
        "png"
        if units.events == "image" or (units.shape == (2,) and not is_mixed(path))
        else "csv"
        if len(units.shape) == 1
        else "npz"
    )
    what = f"--source {shlex.quote(units.source)}" if units.source else "-n 64"
    speak(
        "Next:",
        f"  pushforward sample {path} {what} -o samples.{suffix}",
        f"  pushforward evaluate {path}",
        *([] if is_mixed(path) else [f"  pushforward report {path}"]),
        *([f"  pushforward compare {teacher} {path}"] if teacher else []),
    )

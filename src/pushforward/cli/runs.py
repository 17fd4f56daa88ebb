"""Where runs go, and what a training verb says before and after.

By default a run is `runs/NAME`. If one is there already that was finished, the next is `runs/NAME-2`; if it was
interrupted, the same command goes on with it. `--out` decides otherwise.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pushforward._recipe import Settings
from pushforward.cli.units import Units, write_units

if TYPE_CHECKING:
    import pushforward as pf


def run_folder(out: Path | None, name: str) -> Path:
    """The folder of a new run, or of the interrupted one that it continues."""
    if out is not None:
        return out
    base = Path("runs") / name.replace("/", "-")
    path, count = base, 2
    while (path / "model.safetensors").exists():
        path, count = base.with_name(f"{base.name}-{count}"), count + 1
    return path


def speak(*lines: str) -> None:
    """Print, on the first process alone."""
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(lines), flush=True)


def announce(data: str, model: "pf.models.Model", what: str, settings: Settings, path: Path) -> None:
    """What is about to happen: on which data, with which model, for how long, into which folder."""
    weights = sum(each.numel() for each in model.parameters())
    speak(data, f"{what}, {weights:,} parameters, {settings.steps:,} steps of {settings.batch} into {path}")


@contextmanager
def units_kept(units: Units, path: Path) -> Generator[None]:
    """Keep the units of the data in the run folder, however the training within ends, once it has begun."""
    try:
        yield
    finally:
        if os.environ.get("RANK", "0") == "0" and (path / "config.toml").is_file():
            write_units(units, path)


def conclude(history: "pf.training.History", path: Path, units: Units) -> None:
    """How it went, and what one would do next."""
    if history.steps:
        speak(f"loss {history.losses[-1]:.4f} after {history.steps[-1]:,} steps, {history.seconds[-1]:.0f} s")
    point_on(path, units)


def point_on(path: Path, units: Units) -> None:
    """What one would do next."""
    suffix = "png" if units.events == "image" or units.shape == (2,) else "csv" if len(units.shape) == 1 else "npz"
    speak(
        "Next:",
        f"  pushforward sample {path} -n 64 -o samples.{suffix}",
        f"  pushforward evaluate {path}",
        f"  pushforward report {path}",
    )

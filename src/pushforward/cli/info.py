"""`pushforward info`: what a run, a data set or this installation is."""

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import DataError
from pushforward.cli.curves import Metrics, pace
from pushforward.cli.options import FLAT, Machine, Session, saved_solvers
from pushforward.cli.tables import is_mixed, is_table, open_mixed
from pushforward.cli.units import FILE, Reading, read_units


@dataclass(frozen=True, slots=True)
class Info:
    """Say what a run, a data set or this installation is.

    Examples:
      pushforward info                versions and devices
      pushforward info runs/digits    how it was trained, on what, how large it is, how fast it was
      pushforward info my.csv         what would be read from it
    """

    what: Annotated[str, Positional, arg(metavar="RUN|DATA")] = ""
    """A run folder, or whatever `train` takes as data; nothing describes this installation."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Info) -> None:
    """Print it."""
    options.machine.prepare()
    if not options.what:
        lines = _installation()
    elif (Path(options.what) / FILE).is_file() or (Path(options.what) / "config.toml").is_file():
        lines = _run(Path(options.what))
    else:
        lines = _data(options.what)
    print("\n".join(line for line in lines if line))


def _data(what: str) -> list[str]:
    """What `train` would read; of a table that is not all numbers, what nsf and maf would."""
    try:
        data = pf.data.open_data(what)
    except DataError:
        if not is_table(what):
            raise
        table = open_mixed(what, Reading())
        kinds = [f"  {name}: {type(kind).__name__.lower()}" for name, kind in zip(table.frame.names, table.kinds)]
        return [table.describe(), *kinds, "learned by --model nsf or maf"]
    return [data.describe(), *([f"columns: {', '.join(data.columns)}"] if data.columns else []), data.source]


def _installation() -> list[str]:
    import torch

    packages = ["torch", "numpy", "safetensors", "tyro", "matplotlib", "pillow"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices += ["Apple GPU (mps)"] if torch.backends.mps.is_available() else []
    return [
        f"pushforward {pf.__version__} on Python {platform.python_version()}, {platform.platform()}",
        versions,
        f"devices: cpu with {torch.get_num_threads()} threads{''.join(', ' + each for each in devices)}",
        f"installed in {Path(pf.__file__).parent}",
    ]


def _run(path: Path) -> list[str]:
    from pushforward.training.table_file import read_columns

    model = pf.load(path)
    weights = sum(each.numel() for each in model.parameters())
    units = read_units(path) if (path / FILE).is_file() else None
    learned = "x".join(map(str, model.shape)) if units is None else f"{units.name} ({units.events}) from {units.path}"
    conditioned = f", conditioned on {len(units.labels)} classes" if units and units.labels else ""
    columns = read_columns(path) if is_mixed(path) else None
    kinds = [] if columns is None else [f"  {name}: {kind}" for name, kind in zip(columns.names, columns.kinds)]
    text = (path / "config.toml").read_text(encoding="utf-8") if (path / "config.toml").is_file() else ""
    return [
        f"{path}: {type(model).__name__}, {weights:,} parameters, events {'x'.join(map(str, model.shape))}",
        f"learned from {learned}{conditioned}",
        *_spent(Metrics.of(path)),
        *([f"tuned solvers: {', '.join(saved)}"] if (saved := saved_solvers(path)) else []),
        *kinds,
        "",
        text.strip(),
    ]


def _spent(metrics: Metrics) -> list[str]:
    """How long a step took, and how much memory."""
    each, held = metrics.seconds_per_step(), metrics.memory()
    timed = [pace(each)] if each is not None else []
    return [f"{metrics.step:,} steps, {', '.join([*timed, *([f'memory {held}'] if held else [])])}"] if timed else []

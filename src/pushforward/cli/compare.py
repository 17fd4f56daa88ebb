"""`pushforward compare`: several runs side by side, from the same noise."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT, Machine, Session
from pushforward.cli.output import write_picture
from pushforward.cli.runs import named
from pushforward.cli.tables import is_mixed
from pushforward.cli.units import data_of, read_units


@dataclass(frozen=True, slots=True)
class Compare:
    """Put runs side by side: one table, and one picture of samples from the same noise.

    Each run is sampled with the same seed at several numbers of network calls. The table has, for each, the two
    distances to held-out data beside what real data get (energy distance on values, Fréchet distance on the features of
    a small classifier), bits per dimension where a run has a density, and seconds.

    Examples:
      pushforward compare runs/digits runs/straight runs/one-step
      pushforward compare runs/digits runs/one-step --calls 1 2 4 8 32 -o runs.png
      pushforward compare runs/digits runs/digits-ema-0.05 runs/digits-ema-0.1 --likelihood 0
    """

    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN [RUN ...]")]
    """Run folders of the same data."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")] = Path("compare.html")
    """A .html page with the table and the pictures, or a .png of the pictures alone."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """Where the data are, if they have moved; by default those of the first run."""
    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT")] = None
    """Samples per set; by default as many as there are training events, at most 1000."""
    calls: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of network calls, for runs that integrate or jump; normalizing flows take one pass."""
    likelihood: int = 256
    """Held-out events whose likelihood is computed; 0 skips it."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Compare) -> None:
    """Measure, print the table, write the picture."""
    _check(options)
    device = options.machine.prepare()
    _, data = data_of(options.runs[0], options.data)
    scaling = {(units.offset, units.scale, units.levels) for units in map(read_units, options.runs)}
    if len(scaling) > 1:
        got = "runs whose data were scaled differently"
        raise ConfigError(explain("runs of the same data", got, "Compare those trained on one data set."))
    models = {name: pf.load(path, device=str(device)) for name, path in named(options.runs).items()}
    n, seed, scored = options.n, options.machine.seed, options.likelihood
    found = pf.report.side_by_side(models, data, options.calls, n, seed, scored, progress=True)
    print(f"{data.describe()}\n{found}")
    if options.out.suffix.lower() == ".html":
        code = shlex.join(["pushforward", "compare", *map(str, options.runs), "--seed", str(seed)])
        found.page(code).save(options.out)
    else:
        write_picture(options.out, found.picture())
    print(f"{options.out}")


def _check(options: Compare) -> None:
    """Refuse, before anything is opened, what makes no sense."""
    if options.out.suffix.lower() not in (".html", ".png"):
        raise ConfigError(explain("--out to end in .html or .png", repr(str(options.out)), "Rename it."))
    if not options.runs:
        raise ConfigError(explain("one run or more", "none", "Name some: pushforward compare runs/a runs/b."))
    if not options.calls or min(options.calls) < 1 or (options.n is not None and options.n < 40):
        got = f"--calls {options.calls}, -n {options.n}"
        raise ConfigError(explain("--calls of 1 or more and -n of 40 or more", got, "Change it."))
    for path in filter(is_mixed, options.runs):
        fix = f"Measure it by `pushforward evaluate {path}`."
        raise ConfigError(explain("runs of numbers or images", f"{str(path)!r}, of a table of anything", fix))

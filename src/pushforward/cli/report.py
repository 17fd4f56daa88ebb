"""`pushforward report`: one HTML page about a run."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT, Machine, Session
from pushforward.cli.tables import is_mixed
from pushforward.cli.units import data_of


@dataclass(frozen=True, slots=True)
class Report:
    """Write one HTML page about a run: samples, distances, likelihood, paths, and how to make it again.

    The page is one file that needs nothing else: mail it, or open it from disk.

    Examples:
      pushforward report runs/digits
      pushforward report runs/reflowed --before runs/digits -o straight.html
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder that `pushforward train` wrote."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """The page; by default report.html in the run folder."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """Where the data are, if they have moved."""
    before: Annotated[Path | None, arg(metavar="RUN")] = None
    """A run whose paths are shown beside this one's: the one that this was straightened or distilled from."""
    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT")] = None
    """Samples per set; by default as many as there are training events, at most 1000."""
    calls: tuple[int, ...] = (1, 2, 4, 8, 32)
    """Numbers of network calls to compare, for models that integrate."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Report) -> None:
    """Judge the run and write the page."""
    if not options.calls or min(options.calls) < 1:
        raise ConfigError(explain("--calls of 1 or more", f"{options.calls}", "Give at least one number."))
    device = options.machine.prepare()
    if is_mixed(options.run):
        fix = f"Measure it by `pushforward evaluate {options.run}`."
        raise ConfigError(explain("a run of numbers or images", "one of a table whose columns hold anything", fix))
    units, data = data_of(options.run, options.data)
    out = options.out or options.run / "report.html"
    page = pf.report.write(
        pf.load(options.run, device=str(device)),
        data,
        out,
        before=None if options.before is None else pf.load(options.before, device=str(device)),
        calls=options.calls,
        n=options.n,
        seed=options.machine.seed,
        conditional=bool(units.labels),
        code=_code(options),
        title=f"{options.run.resolve().name}: {units.name}",
    )
    print(f"{page}")


def _code(options: Report) -> str:
    """The commands that made the run, as its environment tells, and the page."""
    facts = options.run / "environment.json"
    command: list[str] = json.loads(facts.read_text(encoding="utf-8")).get("command", []) if facts.is_file() else []
    made = [shlex.join(["pushforward", *command[1:]])] if command else []
    before = ["--before", str(options.before)] if options.before else []
    return "\n".join([*made, shlex.join(["pushforward", "report", str(options.run), *before])])

"""`pushforward sample`: new events from a trained model, in the units of its data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.guiding import guided
from pushforward.cli.options import FLAT, Machine, Session, Solve
from pushforward.cli.output import check_output, default_output, write_samples
from pushforward.cli.parts import parts_folder, sample_parts
from pushforward.cli.sources import carried
from pushforward.cli.tables import is_mixed, sample_table
from pushforward.cli.units import read_units


@dataclass(frozen=True, slots=True)
class Sample:
    """Draw new samples from a run.

    Sample i depends on the seed and on i alone: -n 100 starts with the same ten as -n 10, and --first 100 goes on
    where -n 100 ended, on any machine. Into a folder, samples go in files of --batch with checksums: each is made once,
    however many share the work, and the same command goes on where it was stopped.

    Examples:
      pushforward sample runs/digits -n 64 --solver heun --steps 8 -o grid.png
      pushforward sample runs/customers -n 10000 -o customers.csv
      pushforward sample runs/customers -n 100 --given age=40 city=Paris    the other columns, given these
      pushforward sample runs/digits -n 1000 --label 7 -o sevens.npz
      pushforward sample runs/digits --label 7 --guidance 2.5        more like a seven, for runs with --drop-labels
      pushforward sample runs/moved --source new.csv -o moved.csv    each row carried over, for runs with --source
      pushforward sample runs/digits --solver tuned-8    what `pushforward tune runs/digits --calls 8` found
      pushforward sample runs/digits -n 1000000 -o many --shard 3/16    the fourth of sixteen shares, on any machine
      pushforward sample runs/digits -n 1000000 -o many                 whatever is still missing
      pushforward sample runs/digits -n 1000000 -o many/all.npz         the same, and all of it in one file
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder that `pushforward train` wrote."""
    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT")] = None
    """How many samples; by default 64, or all rows of --source."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE|FOLDER")] = None
    """A .png (images, points), .npz or .csv; by default samples.png or samples.csv in the run folder. A name without
    such an ending is a folder for files of --batch samples; a file in that folder is put together from them."""
    shard: Annotated[str | None, arg(metavar="I/N")] = None
    """Make every N-th file of the folder only, from the I-th on, counted from 0."""
    given: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE [NAME=VALUE ...]")] = ()
    """Values of some columns, for runs of a table by nsf or maf: draws the others given these."""
    source: Annotated[str | None, arg(metavar="DATA")] = None
    """Carry over the rows of these data, in their order, for runs trained with --source; by default the run's own,
    drawn at random."""
    label: Annotated[str | None, arg(metavar="NAME")] = None
    """The class to draw from, for runs trained with --conditional; by default all classes in turn."""
    guidance: float = 1.0
    """How far each sample is pushed towards its class, for runs trained with --drop-labels: 1 is not at all, 2 to 4
    gives clearer samples of less variety."""
    first: int = 0
    """Index of the first sample."""
    batch: int = 1024
    """Samples computed at a time, halved where memory runs out; changes memory and speed, never the samples."""
    solve: Annotated[Solve, FLAT] = Solve()
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()

    def count(self) -> int:
        """How many samples where no rows say it."""
        return 64 if self.n is None else self.n


def run(options: Sample) -> None:
    """Draw, turn to the data's units, write."""
    import torch

    n = options.count()
    if min(n, options.batch) < 1 or options.first < 0:
        got = f"-n {n}, --batch {options.batch}, --first {options.first}"
        raise ConfigError(explain("-n and --batch of 1 or more and --first of 0 or more", got, "Change it."))
    device = options.machine.prepare()
    units = read_units(options.run)
    out = options.out or default_output(options.run, units)
    if is_mixed(options.run):
        _refuse(
            options.label, "--label", "runs trained with --conditional", "Give a column instead: --given city=Paris."
        )
        _refuse(options.source, "--source", "runs of `pushforward train DATA --source OTHER`", "Leave it out.")
        _refuse(options.shard, "--shard", "runs that sample numbers", "Give each machine its --first and -n instead.")
        sample_table(options.run, out, n, options.machine.seed, options.first, options.given)
        return print(f"{n:,} rows of {units.name} in {out}")
    _refuse(options.given, "--given", "runs of a table trained with --model nsf or maf", "Leave it out.")
    folder = parts_folder(options.out, options.shard)
    if options.source is not None:
        _refuse(folder, "-o FOLDER", "samples that are drawn", "Carry rows over into one file.")
    if out != folder:
        check_output(out, units)
    if folder is not None:
        return sample_parts(options, folder, units, device)
    solver = options.solve.build(options.run)
    if options.source is None:
        z, labels = None, units.classes(n, options.first, options.label)
    else:
        z, labels = carried(options, units)
        n = len(z)
    model = guided(pf.load(options.run, device=str(device)), options.run, options.guidance)

    @torch.no_grad()
    def draw(count: int, start: int) -> torch.Tensor:
        these = slice(start - options.first, start - options.first + count)
        context = None if labels is None else labels[these].to(device)
        if z is None:
            return units.values(model.sample(count, context, solver, options.machine.seed, start))
        return units.values(model.decode(z[these].to(device), context, solver))

    parts = list(pf.models.in_chunks(draw, n, options.batch, options.first))
    write_samples(out, torch.cat(parts), units, labels)
    return print(f"{n:,} samples of {units.name} in {out}")


def _refuse(value: object, flag: str, belongs: str, fix: str) -> None:
    if value:
        raise ConfigError(explain(f"{flag} for {belongs} alone", f"{flag} for another", fix))

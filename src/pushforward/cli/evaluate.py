"""`pushforward evaluate`: how well a run models data it has not seen, in numbers with their errors.

Distances between finite sets are never 0, so each stands above its floor: the same distance from as many real training
events to the same held-out events, which is what a perfect sampler would get.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._durable import write_text
from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT, Machine, Session, Solve, carries_divergence
from pushforward.cli.parts import likelihood_parts
from pushforward.cli.tables import is_mixed, score_table
from pushforward.cli.units import Units, data_of, read_units

if TYPE_CHECKING:
    import torch

    from pushforward.report import Bits, Estimate

_FEWEST: Final = 3
"""Events of either part that have a distance at all;"""
_USUAL: Final = 40
"""samples that it takes to say one with a standard error."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure how well a run models data it has not seen.

    Bits per dimension of held-out events (fewer is better), distances from samples to held-out events (each beside the
    floor that real data get), and how straight the ways from noise to data are: on the straight path, whatever the
    run's own, as in reports and where reflow makes its lines.

    Examples:
      pushforward evaluate runs/digits
      pushforward evaluate runs/digits --solver euler --steps 4          what four network calls are worth
      pushforward evaluate runs/digits --solver rk4 --draws 8            a closer bound of its bits
      pushforward evaluate runs/digits --solver tuned-8 --likelihood 0   a solver that only samples
      pushforward evaluate runs/one-step --solver heun                   bits, of the velocity of a run that jumps
      pushforward evaluate runs/customers --data new.csv -o scores.json
      pushforward evaluate runs/photos --likelihood 10000 --shard 3/16    its likelihoods, the fourth of sixteen shares
      pushforward evaluate runs/photos --likelihood 10000                 all of them are there: the result
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder that `pushforward train` wrote."""
    data: Annotated[str | None, arg(metavar="DATA")] = None
    """Where the data are, if they have moved, or other data of the same kind."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE")] = None
    """Also write the numbers to this .json file."""
    n: Annotated[int | None, arg(aliases=["-n"], metavar="INT")] = None
    """How many samples to compare; by default as many as there are training events, at most 1000."""
    likelihood: int = 256
    """Held-out events whose likelihood is computed; 0 skips the slowest part. Jumps have none."""
    draws: int = 1
    """Draws of the noise that spreads whole numbers, for a closer bound; above 1 divergences are exact and slower.
    Rows of a table by nsf or maf take 16 at least."""
    shard: Annotated[str | None, arg(metavar="I/N")] = None
    """Compute this share of the likelihoods only, counted from 0, and keep them in the run folder."""
    solve: Annotated[Solve, FLAT] = Solve()
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Evaluate) -> None:
    """Measure, print, and write if asked."""
    if options.likelihood < 0 or options.draws < 1 or (options.n is not None and options.n < _USUAL):
        got = f"--likelihood {options.likelihood}, --draws {options.draws}, -n {options.n}"
        raise ConfigError(
            explain("--likelihood of 0 or more, --draws of 1 or more and -n of 40 or more", got, "Change it.")
        )
    device = options.machine.prepare()
    if options.shard is not None and (is_mixed(options.run) or not options.likelihood):
        got = f"--shard {options.shard} and none"
        raise ConfigError(explain("likelihoods that take long, of numbers, for --shard", got, "Leave --shard out."))
    if is_mixed(options.run):
        return _score(options)
    units, data = data_of(options.run, options.data)
    model = pf.load(options.run, device=str(device))
    solver = options.solve.build(options.run)
    _check_solver(model, solver, options)
    scored = options.likelihood and not isinstance(solver, pf.solvers.Jumps) and model.base.has_density
    bits = _bits(model, data, solver, options, units) if scored else None
    if options.shard is not None:
        return None
    rows = measure(model, data, solver, options, units, bits)
    print(data.describe())
    width = max(map(len, rows), default=0)
    for name, (value, floor) in rows.items():
        print(f"  {name:<{width}}  {value}{f'   (real data: {floor})' if floor is not None else ''}")
    if bits is not None:
        print(f"  likelihood: {bits}".replace("\n", "\n    "))
        _warn(model)
    if "energy distance" not in rows:
        print(f"  no distances: they compare {_FEWEST} events or more, held out and trained on")
    if not model.base.has_density:
        print("  no likelihood: samples start from rows of data, which have no density")
    if options.out is not None:
        numbers = {name: _numbers(value, floor) for name, (value, floor) in rows.items()}
        text = json.dumps(numbers, indent=2) + "\n"
        write_text(options.out, text)
    return None


def _warn(model: "pf.models.Model") -> None:
    """Say where a likelihood is what the network's errors make of it."""
    from pushforward.models.straight import blind_at_data

    if isinstance(model, pf.Diffusion) and blind_at_data(model):
        print("    a network of x0 sees noise as what it leaves over, near the data a thousandth: its errors weigh")
        print("    a thousandfold there; for likelihoods train with --prediction velocity, v or eps")


def _score(options: Evaluate) -> None:
    """The likelihood of a table's held-out rows; whatever its columns hold, nats are what compares."""
    if not options.likelihood:
        fix = "Leave --likelihood out."
        raise ConfigError(explain("rows to judge a run of a table by", "--likelihood 0", fix))
    draws = 16 if options.draws == 1 else options.draws
    table, score = score_table(options.run, read_units(options.run), options.data, options.likelihood, draws)
    print(f"{table.describe()}\n  log-likelihood  {score}")
    if options.out is not None:
        found = {"value": score.nats.value, "standard_error": score.nats.error, "rows": score.rows}
        text = json.dumps({"nats per row": found | {"rows_of_density_0": score.outside}}, indent=2) + "\n"
        write_text(options.out, text)


def measure(
    model: "pf.models.Model",
    data: "pf.data.Dataset",
    solver: "pf.solvers.Solver",
    options: Evaluate,
    units: Units,
    bits: "Bits | None",
) -> "dict[str, tuple[Estimate, Estimate | None]]":
    """Every number by name, with what real data get where that is known."""
    report, seed = pf.report, options.machine.seed
    rows: dict[str, tuple[Estimate, Estimate | None]] = {}
    if bits is not None:
        rows["bits per dimension"] = bits.one_draw, None
    if bits is not None and bits.more_draws is not None:
        rows[f"bits per dimension, {bits.draws} draws"] = bits.more_draws, None
    if min(len(data.held_out), len(data.values)) >= _FEWEST:
        rows |= _distances(model, data, solver, options, units)
    if isinstance(model, pf.Diffusion) and not units.labels and carries_divergence(solver):
        lines = report.on_lines(model)
        name = f"straightness per dimension{'' if lines is model else ', on the straight path'}"
        rows[name] = report.straightness(lines, solver, seed=seed).per_dimension, None
    return rows


def _distances(
    model: "pf.models.Model", data: "pf.data.Dataset", solver: "pf.solvers.Solver", options: Evaluate, units: Units
) -> "dict[str, tuple[Estimate, Estimate | None]]":
    """From samples to held-out events, beside those from as many training events."""
    report, seed = pf.report, options.machine.seed
    n = min(len(data.values), 1000) if options.n is None else options.n
    held, real = _held_out(data, seed), _real(data, n, seed)
    x = _samples(model, data, n, solver, seed, units)
    features = report.judge(data, seed).features
    widths, seen = report.median_bandwidths(held, held), features(held)
    groups = min(20, *(len(each) // 2 for each in (x, real, held)))
    return {
        "energy distance": (report.energy_distance(x, held), report.energy_distance(real, held)),
        "mmd": (report.mmd(x, held, widths), report.mmd(real, held, widths)),
        "frechet distance of features": (
            report.frechet_distance(features(x), seen, groups),
            report.frechet_distance(features(real), seen, groups),
        ),
    }


def _samples(
    model: "pf.models.Model", data: "pf.data.Dataset", n: int, solver: "pf.solvers.Solver", seed: int, units: Units
) -> "torch.Tensor":
    """Samples in the model's units, on the CPU; a conditioned model is asked for the classes of real events."""
    import torch

    parts = list[torch.Tensor]()
    for first in range(0, n, 512):
        count = min(512, n - first)
        context = None
        if units.labels and data.context is not None:
            context = data.context[torch.arange(first, first + count) % len(data.context)].to(model.device)
        parts.append(model.sample(count, context, solver, seed, first).cpu())
    return torch.cat(parts)


def _check_solver(model: "pf.models.Model", solver: "pf.solvers.Solver", options: Evaluate) -> None:
    """Refuse, before anything is computed, likelihoods that neither the run nor its solver can give."""
    if options.shard is not None and not model.base.has_density:
        got, fix = f"--shard {options.shard} for a run that starts from rows of data", "Leave --shard out."
        raise ConfigError(explain("a run with likelihoods, for a share of them", got, fix))
    scored = options.likelihood and model.base.has_density
    if scored and isinstance(model, pf.Diffusion) and not carries_divergence(solver):
        expected = "a solver that carries the divergence of a likelihood (euler, midpoint, heun, rk4, adaptive)"
        fix = "Choose one of them, or measure the samples alone with --likelihood 0."
        raise ConfigError(explain(expected, f"--solver {options.solve.solver}", fix))


def _bits(
    model: Any, data: "pf.data.Dataset", solver: "pf.solvers.Solver", options: Evaluate, units: Units
) -> "Bits | None":
    """Two probes an event tell the error of the mean over events; several draws need exact divergences.

    None from a share of them.
    """
    from pushforward.report.bits import summed

    solvers, seed = pf.solvers, options.machine.seed
    trace = solvers.Exact() if options.draws > 1 else solvers.ByDimension(above=solvers.Hutchinson(probes=2))
    n = min(options.likelihood, len(data.held_out))
    arguments: dict[str, Any] = {
        "n": n,
        "solver": solver,
        "trace": trace,
        "seed": seed,
        "conditional": bool(units.labels),
    }
    arguments["draws"] = options.draws
    found = likelihood_parts(model, data, arguments, options)
    if found is not None:
        return summed(model, data, found, seed)
    return None if options.shard is not None else pf.report.bits(model, data, **arguments)


def _held_out(data: "pf.data.Dataset", seed: int) -> "torch.Tensor":
    from pushforward._random import Draw

    return data.held_out_batch(Draw(seed, "report")).x


def _real(data: "pf.data.Dataset", n: int, seed: int) -> "torch.Tensor":
    from pushforward._random import Draw

    return data.train_batch(Draw(seed, "report"), min(n, len(data.values))).x


def _numbers(value: "Estimate", floor: "Estimate | None") -> dict[str, float]:
    numbers = {"value": value.value, "standard_error": value.error}
    return numbers if floor is None else numbers | {"real_data": floor.value}

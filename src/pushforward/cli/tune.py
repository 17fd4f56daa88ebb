"""`pushforward tune`: the best solver of a run for a budget of network calls.

Two ways of taking a start differ in where they end. Starts are followed with many calls, and a solver is judged by how
far from there it ends with few,

    error = sqrt( mean |x - x_ref|**2 / mean |x_ref|**2 ),

on starts that the search did not see. Well-known solvers stand beside it, at as many calls, on the same starts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.options import AUTO, FLAT, SOLVERS, Machine, Session
from pushforward.cli.reflow import diffusion_of
from pushforward.cli.units import Units

if TYPE_CHECKING:
    import torch

BESIDE = {"ddim": 1, "heun": 2, "euler": 1}
"""What a found solver is compared with, and the network calls of a step of each."""


@dataclass(frozen=True, slots=True)
class Tune:
    """Find the best solver of a run for a budget of network calls.

    First a grid of times and a method are chosen by trying many; then every time and every weight is fitted to this
    run. It is done once, needs no data, and leaves the run as it is: `pushforward sample RUN --solver NAME` uses the
    solver from then on. It was fitted for its number of calls; for another number, tune again.

    Examples:
      pushforward tune runs/digits --calls 8
      pushforward sample runs/digits -n 64 --solver tuned-8 -o grid.png
      pushforward tune runs/digits --calls 5 --grid-only      quicker: nothing is fitted
      pushforward tune runs/digits --calls 6 --label 7        for one class; by default for all in turn
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a diffusion model."""
    calls: int = 8
    """Network calls of one trajectory."""
    grid_only: bool = False
    """Choose a grid and a method and fit no weights: quicker, with a larger error."""
    name: Annotated[str | None, arg(metavar="NAME")] = None
    """What --solver will call it; by default tuned-CALLS, or auto-CALLS with --grid-only. Replaces one of this name."""
    label: Annotated[str | None, arg(metavar="NAME")] = None
    """The class to tune for, for runs trained with --conditional; by default all classes in turn."""
    samples: int = 512
    """Starts to follow, all at once; a quarter of them is kept to measure the error of what was found."""
    memory: int = 4
    """Network outputs that a fitted step may look back at, its own included."""
    rounds: int = 12
    """Most rounds of fitting; it ends earlier where starts kept aside no longer gain."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


class Row(NamedTuple):
    """A solver's network calls, and its error and median error on the same starts."""

    calls: int
    error: float
    median: float


def run(options: Tune) -> None:
    """Search, compare, write."""
    _check(options)
    name, device = _name(options), options.machine.prepare()
    units, model = diffusion_of(options.run, device)
    labels = units.classes(options.samples, 0, options.label)
    context = None if labels is None else labels.to(device)
    choice = _search(model, context, options)
    file = options.run / "solvers" / f"{name}.json"
    pf.solvers.save(choice.solver, file)
    print(f"{_about(units, options)}; error: how far from the flow's own ends, on starts that were kept aside")
    print(_table({name: Row(choice.calls, choice.error, choice.median)} | beside(model, context, options)))
    print(f"It took {choice.spent:,} network calls, each on up to {choice.samples} starts, and is in {file}. Next:")
    print(f"  pushforward sample {options.run} --solver {name}")


def beside(model: "pf.Diffusion", context: "torch.Tensor | None", options: Tune) -> dict[str, Row]:
    """The errors of well-known solvers at as many network calls, on the starts that judge the one found."""
    import torch
    from tqdm import tqdm

    from pushforward.models.auto import Search

    rows, costs = dict[str, Row](), {name: cost for name, cost in BESIDE.items() if cost <= options.calls}
    with torch.no_grad(), tqdm(desc="others at as many calls", total=1 + len(costs), leave=False) as bar:
        starts = Search.start(model, options.calls, context, options.samples, options.machine.seed).unseen
        for name, cost in costs.items():
            bar.update()
            steps = options.calls // cost
            x = model.decode(starts.z, starts.context, SOLVERS[name](steps, 0.0))
            squares = (x - starts.ends).flatten(1).square().mean(1).double() / starts.size**2
            rows[name] = Row(steps * cost, squares.mean().sqrt().item(), squares.sqrt().median().item())
    return rows


def _check(options: Tune) -> None:
    """Refuse, before a run is opened, numbers that make no sense."""
    if min(options.calls, options.memory, options.rounds) < 1 or options.samples < 8:
        got = f"{options.calls}, {options.memory}, {options.rounds} and {options.samples}"
        expected = "--calls, --memory and --rounds of 1 or more and --samples of 8 or more"
        raise ConfigError(explain(expected, got, "Change it."))


def _name(options: Tune) -> str:
    """What the solver will be called.

    Raises:
        ConfigError: a name that --solver could not tell from another.
    """
    kind, of = "auto" if options.grid_only else "tuned", "" if options.label is None else f"-{options.label}"
    name = options.name if options.name is not None else f"{kind}-{options.calls}{of}".replace("/", "-")
    if name in (AUTO, *SOLVERS) or not name or name.startswith(".") or name.endswith(".json") or set(name) & set("/\\"):
        expected = "a --name that is no solver's already, no path and no .json"
        raise ConfigError(explain(expected, repr(name), "Choose another, or leave it out."))
    return name


def _search(model: "pf.Diffusion", context: "torch.Tensor | None", options: Tune) -> "pf.models.Choice":
    seed, models = options.machine.seed, pf.models
    if options.grid_only:
        return models.auto(model, options.calls, context, options.samples, seed, progress=True)
    return models.tune(
        model, options.calls, context, options.samples, seed, options.memory, options.rounds, progress=True
    )


def _about(units: Units, options: Tune) -> str:
    if not units.labels:
        return units.name
    return f"{units.name}, {'all classes in turn' if options.label is None else f'class {options.label}'}"


def _table(rows: dict[str, Row]) -> str:
    """Solvers under each other, the found one first.

    >>> print(_table({"tuned-8": Row(8, 0.012345, 0.004), "heun": Row(8, 1.5, float("inf"))}))
      solver   calls    error   median
      tuned-8      8   0.0123    0.004
      heun         8      1.5      inf
    """
    width = max(len(name) for name in ["solver", *rows])
    lines = [f"  {'solver':<{width}}  calls    error   median"]
    lines += [f"  {name:<{width}}  {r.calls:>5}  {r.error:>7.3g}  {r.median:>7.3g}" for name, r in rows.items()]
    return "\n".join(lines)

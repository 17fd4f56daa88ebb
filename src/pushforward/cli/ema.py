"""`pushforward ema`: averages of the weights of any width, made after training from what was kept on the way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

import pushforward as pf
from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT, Machine, Session
from pushforward.cli.runs import beside, speak
from pushforward.cli.tables import is_mixed
from pushforward.cli.units import FILE, read_units, write_units


@dataclass(frozen=True, slots=True)
class Ema:
    """Make averages of a run's weights of any width, after training.

    How long averaged weights remember decides how good samples are, and the best memory is known only afterwards. A run
    trained with --profiles keeps averages of a few widths on its way; this makes any width between them, and
    about them, without training again. A width is a share of training: 0.1 averages over roughly its last tenth. Each
    average is a run folder of its own, which sample, evaluate and compare read as any other.

    Examples:
      pushforward train digits --profiles 0.05 0.1 --checkpoint-every 100 --out runs/digits
      pushforward ema runs/digits --std 0.03 0.07 0.15     writes runs/digits-ema-0.03, ...
      pushforward ema runs/digits --std 0.07 --step 1000   as if training had ended there
      pushforward compare runs/digits runs/digits-ema-0.07
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder of a training with --profiles."""
    std: Annotated[tuple[float, ...], arg(metavar="WIDTH [WIDTH ...]")] = (0.05, 0.1)
    """Widths of the averages wanted, above 0 and below 0.288; from half to twice those that the run followed they are
    right to about a hundredth, and further away less so (5 hundredths at 0.28, from 0.05 and 0.1)."""
    step: Annotated[int | None, arg(metavar="INT")] = None
    """After how many updates; by default at the last snapshot."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """What the new folders' names begin with; by default that of the run."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Ema) -> None:
    """A run folder for each width."""
    from pushforward.training.table_file import read_columns, write_columns
    from pushforward.training.weights import put_weights, weights

    if options.step is not None and options.step < 1:
        raise ConfigError(explain("--step of 1 or more", str(options.step), "Leave it out for the last."))
    if not options.std:
        raise ConfigError(explain("--std with a width", "none", "Give 0.05, say."))
    options.machine.prepare()
    about, model = pf.training.read_run(options.run), pf.load(options.run)
    start, at = options.out or options.run, "" if options.step is None else f"-step-{options.step}"
    paths = [beside(start, f"-ema-{std:g}{at}") for std in options.std]
    for std, path in zip(options.std, paths):
        averaged = pf.training.averaged(options.run, std, about.settings.profiles, options.step)
        put_weights(model, {**weights(model), **averaged})
        pf.training.save_run(model, path, about.model, about.classes, about.data, about.settings)
        if (options.run / FILE).is_file():
            write_units(read_units(options.run), path)
        if is_mixed(options.run):
            write_columns(read_columns(options.run), path)
    speak(*(f"{path}: averaged over a width of {std:g}" for std, path in zip(options.std, paths)))
    speak("Next:", f"  pushforward compare {options.run} {' '.join(map(str, paths))}")

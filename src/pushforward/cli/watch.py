"""`pushforward watch`: a run's curve and state in a terminal, while it trains or afterwards.

It reads files alone, so it can look from another terminal or another machine, and disturbs nothing.
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from tyro.conf import Positional, arg

from pushforward._errors import ConfigError, explain
from pushforward.cli.curves import Metrics, pace, plot
from pushforward.cli.options import FLAT, Session

_HOME: Final = "\x1b[H\x1b[J"
"""To the upper left, and clear."""


@dataclass(frozen=True, slots=True)
class Watch:
    """See how a run is doing, while it trains or afterwards.

    It shows the loss from the first step to the last, how fast steps go and how long they will take, memory, the last
    checkpoint, and the state of the run:

      running    a process is writing to it (which one is said)
      stopped    not done, and nobody is at it: a signal, a power cut or kill -9; the same command goes on
      failed     it ended with an error, which is said
      finished   all steps are made, `sample` and `evaluate` have the final weights

    In a terminal it keeps looking until the run is no longer running; Ctrl-C leaves, and the run does not notice.

    Examples:
      pushforward watch runs/digits                      while `pushforward train digits` runs elsewhere
      pushforward watch runs/digits --once               one look, for scripts and logs
      pushforward watch runs/digits --curve judged       another number of metrics.jsonl
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """The run folder."""
    once: bool = False
    """Look once; so it is where the output is no terminal."""
    every: float = 2.0
    """Seconds from one look to the next."""
    curve: str = "loss"
    """Which number is drawn: loss, norm, lr, judged, memory."""
    session: Annotated[Session, FLAT] = Session()


def run(options: Watch) -> None:
    """Look, and again until there is nothing more to see."""
    if options.every <= 0:
        raise ConfigError(explain("--every of more than 0 seconds", f"{options.every}", "2 is usual."))
    moving = sys.stdout.isatty() and not options.once
    try:
        while True:
            running, lines = frame(options.run, options.curve, shutil.get_terminal_size((80, 24)).columns)
            print(_HOME * moving + "\n".join(lines), flush=True)
            if not (moving and running):
                return
            time.sleep(options.every)
    except KeyboardInterrupt:
        print()


def frame(path: Path, curve: str = "loss", width: int = 80) -> tuple[bool, list[str]]:
    """Whether a run is running, and what is to be seen of it.

    Raises:
        RunError: there is none.
        ConfigError: its metrics have no such number.
    """
    from pushforward.training.run import read_run

    config, metrics = read_run(path), Metrics.of(path)
    state, detail = state_of(path)
    steps, made = config.settings.steps, metrics.step
    lines = [
        f"{path}: {state}{f' ({detail})' if detail else ''}",
        f"step {made:,} of {steps:,} ({100 * made // max(steps, 1)} %)",
        *_curve(metrics, curve, max(20, min(width, 100) - 10)),
    ]
    seconds = metrics.seconds_per_step()
    if seconds is not None:
        left = f", {_spell(seconds * (steps - made))} left" if state == "running" and made < steps else ""
        lines.append(f"{pace(seconds)}{left}")
    lines += [f"memory {held}"] if (held := metrics.memory()) else []
    lines.append(_last_checkpoint(path))
    return state == "running", lines


def state_of(path: Path) -> tuple[str, str]:
    """A run's state, and what more there is to say."""
    from pushforward.training.lock import held
    from pushforward.training.run_folder import FAILURE

    if (who := held(path)) != "":
        return "running", who
    if (path / "manifest.json").is_file():
        return "finished", ""
    if (path / FAILURE).is_file():
        return "failed", " ".join((path / FAILURE).read_text(encoding="utf-8", errors="replace").split())
    return "stopped", "give the same command again to go on"


def _curve(metrics: Metrics, name: str, width: int) -> list[str]:
    found = metrics.curve(name)
    if not found:
        known = sorted({key for line in metrics.lines for key in line if metrics.curve(key)} - {"step"})
        if known:
            raise ConfigError(explain(f"a number of metrics.jsonl ({', '.join(known)})", repr(name), "Choose another."))
        return ["no metrics yet"]
    (first, began), (last, now) = found[0], found[-1]
    best, where = min((value, step) for step, value in found)
    return [
        f"{name} {now:.4g} at step {last:,}; {began:.4g} at {first:,}, lowest {best:.4g} at {where:,}",
        *plot([value for _, value in found], width),
    ]


def _last_checkpoint(path: Path) -> str:
    steps = [int(each.name.removeprefix("step-")) for each in (path / "checkpoints").glob("step-*") if _whole(each)]
    return f"last checkpoint at step {max(steps):,}" if steps else "no checkpoint yet"


def _whole(place: Path) -> bool:
    return place.name.removeprefix("step-").isdigit() and (place / "manifest.json").is_file()


def _spell(seconds: float) -> str:
    """A time to wait: 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

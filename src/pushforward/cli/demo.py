"""`pushforward demo`: the whole library at work on handwritten digits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from pushforward.cli.options import FLAT, Machine, Session


@dataclass(frozen=True, slots=True)
class Demo:
    """See the whole library at work on handwritten digits, in about two minutes.

    Examples:
      pushforward demo
      pushforward demo --small --out demo     in seconds, to see that everything runs
    """

    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("runs/demo")
    """Where the runs, the samples and the page go."""
    small: bool = False
    """Few steps and few samples: quick, and not good."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: Demo) -> None:
    """Train, sample, evaluate, straighten, and write the page."""
    raise NotImplementedError(options)

"""`pushforward positions audit`: what a checkpoint says about positions, and whether it is so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pushforward.cli.options import FLAT, Machine, Session


@dataclass(frozen=True, slots=True)
class PositionsAudit:
    """Say what a checkpoint's folder says about positions.

    Examples:
      pushforward positions audit models/mine
    """

    folder: Annotated[Path, Positional, arg(metavar="FOLDER")]
    """A folder with config.json."""
    machine: Annotated[Machine, FLAT] = Machine()
    session: Annotated[Session, FLAT] = Session()


def run(options: PositionsAudit) -> None:
    """Read, check, print."""

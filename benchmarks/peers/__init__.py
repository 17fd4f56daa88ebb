"""Other libraries' deterministic solvers, each behind the same call.

A `Peer` takes the perfect denoiser, eps and a number of steps, and returns endpoints in the data's units. It scales
eps to its own first noise level, steps as its library does by itself, and ends where its library ends. One file per
library; each is imported only where that library is installed.
"""

import importlib.util
from collections.abc import Iterator

from peers.peer import Peer
from peers.problem import Curve

LIBRARIES = ("diffusers", "k_diffusion", "azula", "flow_matching")


def installed(curve: Curve) -> Iterator[Peer]:
    """Every row that the installed libraries have on this path."""
    for library in LIBRARIES:
        if importlib.util.find_spec(library):
            yield from importlib.import_module(f"peers.from_{library}").peers(curve)

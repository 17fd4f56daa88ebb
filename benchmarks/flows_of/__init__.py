"""Flows of the same architecture in several libraries, by the names this library gives them.

Each module has `made(name, n)`: the flow of n numbers and its log-density, or None where the library has none. zuko's
and nflows's are asked for every name; normflows's where the other two have nothing.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator

from torch import Tensor, nn

LogProb = Callable[[Tensor], Tensor]
Made = tuple[nn.Module, LogProb]

LIBRARIES = ("pushforward", "zuko", "nflows", "normflows")

TABLES = (
    "nice", "real_nvp", "real_nvp_sigmoid", "maf", "iaf", "nsf", "nsf_tempered", "nsf_autoregressive", "sos",
    "bernstein", "naf", "umnn", "bnaf", "flowpp", "gaussianization", "planar", "radial", "sylvester", "residual_flow",
    "ffjord",
)  # fmt: skip
IMAGES = ("glow", "tarflow")
"""Of 8 x 8 images alone."""

LONGER = "nsf_larger"


def of(library: str) -> Callable[[str, int], Made | None]:
    """The library's flows."""
    return importlib.import_module(f"flows_of.from_{library}").made


def installed() -> Iterator[str]:
    """The libraries there are."""
    return (name for name in LIBRARIES if importlib.util.find_spec(name))

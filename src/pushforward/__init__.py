"""Generative models that push noise forward to data: flows, diffusion and rectified flow in one language.

    x_t = alpha_t x0 + sigma_t eps        t = 0 is data, t = 1 is noise

Rooms, in the order data travel: `data`, `paths`, `transforms`, `positions`, `nets`, `solvers`, `models`,
`objectives`, `training`, `interop`, `report`. The names below are all one usually needs. Rooms are imported
when first touched, so `import pushforward` is quick and does not load torch.
"""

import importlib
from typing import TYPE_CHECKING

from pushforward._version import __version__

if TYPE_CHECKING:
    from pushforward import (
        data,
        interop,
        models,
        nets,
        objectives,
        paths,
        positions,
        report,
        solvers,
        training,
        transforms,
    )
    from pushforward._errors import PushforwardError
    from pushforward._random import Draw
    from pushforward.models import Diffusion, NormalizingFlow
    from pushforward.training import load, train

_HOMES = {
    "Diffusion": "models",
    "Draw": "_random",
    "NormalizingFlow": "models",
    "PushforwardError": "_errors",
    "load": "training",
    "train": "training",
}

__all__ = [
    "Diffusion",
    "Draw",
    "NormalizingFlow",
    "PushforwardError",
    "__version__",
    "data",
    "interop",
    "load",
    "models",
    "nets",
    "objectives",
    "paths",
    "positions",
    "report",
    "solvers",
    "train",
    "training",
    "transforms",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

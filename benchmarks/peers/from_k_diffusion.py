"""k-diffusion's samplers: functions of (denoiser, y, noise levels), on any path whose first noise level is finite.

Its package imports training code at once, so `sampling.py` is loaded by itself, with stand-ins for what only that
needs. Stochastic samplers are rows with eta = 0. `dpm_adaptive` chooses its own number of calls for a batch as a
whole and is left out.
"""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peers.peer import Peer
from peers.problem import VE, VP, Curve, Denoiser


@cache
def sampling() -> Any:
    """k-diffusion's module of samplers, without its package."""
    spec = importlib.util.find_spec("k_diffusion")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package, tools = types.ModuleType("_k_diffusion"), types.ModuleType("_k_diffusion.utils")
    tools.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]  # type: ignore[attr-defined]
    package.utils = tools  # type: ignore[attr-defined]
    file = Path(spec.submodule_search_locations[0]) / "sampling.py"
    inner = importlib.util.spec_from_file_location("_k_diffusion.sampling", file)
    assert inner is not None
    assert inner.loader is not None
    module = importlib.util.module_from_spec(inner)
    names = {"_k_diffusion": package, "_k_diffusion.utils": tools, "_k_diffusion.sampling": module}
    sys.modules.update(names)
    try:
        inner.loader.exec_module(module)
    finally:
        for name in names:
            del sys.modules[name]
    return module


def _quiet(_from: Any, _to: Any) -> float:
    """No noise: eta is 0."""
    return 0.0


def _grids(curve: Curve) -> dict[str, Callable[[int], Tensor]]:
    k, span = sampling(), (curve.last, curve.first)
    grids = {
        "karras": lambda n: k.get_sigmas_karras(n, *span),
        "exponential": lambda n: k.get_sigmas_exponential(n, *span),
        "polyexponential": lambda n: k.get_sigmas_polyexponential(n, *span, rho=2.0),
    }
    if curve is VP:
        beta = np.linspace(1e-4, 0.02, 1000)
        kept = np.cumprod(1 - beta)
        levels = np.log((1 - kept) / kept) / 2
        # the grid of its `DiscreteSchedule`: evenly in the chain's own time, log-linear between steps
        even = lambda n: torch.tensor([*np.exp(np.interp(np.linspace(999, 0, n), np.arange(1000), levels)), 0.0])  # noqa: E731
        grids["chain"] = even
        grids["vp"] = lambda n: k.get_sigmas_vp(n)
    return grids


def peers(curve: Curve) -> Iterator[Peer]:
    """Every deterministic sampler on every grid."""
    if curve not in (VE, VP):
        return  # sigma / alpha is infinite at the start
    k = sampling()
    plain = {name: {} for name in ("euler", "heun", "dpm_2", "lms", "dpmpp_2m")}
    still = {"eta": 0.0, "noise_sampler": _quiet}
    plain |= {f"{name} eta=0": still for name in ("dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde")}
    for label, grid in _grids(curve).items():
        for name, extra in plain.items():
            yield Peer("k_diffusion", f"{name}, {label}", _on(getattr(k, "sample_" + name.split()[0]), grid, extra))
    yield Peer("k_diffusion", "dpm_fast", _fast(k.sample_dpm_fast, curve, last=False))
    yield Peer("k_diffusion", "dpm_fast, then D", _fast(k.sample_dpm_fast, curve, last=True))


def _on(sample: Any, grid: Callable[[int], Tensor], extra: dict[str, Any]) -> Callable[..., Tensor]:
    def run(denoiser: Denoiser, eps: Tensor, steps: int) -> Tensor:
        levels = grid(steps).to(eps.dtype)
        return sample(lambda y, s: denoiser(y, s[0].item()), eps * levels[0], levels, disable=True, **extra)

    return run


def _fast(sample: Any, curve: Curve, last: bool) -> Callable[..., Tensor]:
    def run(denoiser: Denoiser, eps: Tensor, steps: int) -> Tensor:
        y = eps * curve.first
        end = sample(lambda y, s: denoiser(y, s[0].item()), y, curve.last, curve.first, steps, disable=True)
        return denoiser(end, curve.last) if last else end

    return run

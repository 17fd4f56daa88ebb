"""diffusers' deterministic schedulers, driven as its pipelines do: set_timesteps, then step after step.

    family    schedulers                        x is            first level and network
    chain     DDIM, PNDM                        alpha = abar^.5 the table's entry at its timestep
    levels    DPM-Solver++, DEIS, UniPC         alpha^2+sigma^2=1 its own `sigmas`, not the nearest timestep
    flow      the same with flow sigmas         alpha = 1 - sigma its own `sigmas`
    k         Euler, Heun, KDPM2, LMS           y               its own `sigmas`
    match     FlowMatchEuler, FlowMatchHeun     alpha = 1 - sigma its own `sigmas`
    edm       EDMEuler, EDM DPM-Solver++        y               its own `sigmas`
    ipndm     IPNDM                             its own circle  its own `alphas`, `betas`

Where a library would show the network a rounded timestep, the perfect network here sees the noise level that the
scheduler itself believes in: a favour, so that rows measure solvers. The VE path, which only the EDM schedulers have,
is given to the others as 1000 `trained_betas` whose noise levels are Karras's from 0.002 to 80, so "linspace" is
nearly Karras's grid too. Rows "then D" add one denoising (one call) where a scheduler stops at its last noise level.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import numpy as np
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

from peers.peer import Peer, at
from peers.problem import LINEAR, VE, VP, Curve, Denoiser

diffusers_logging.set_verbosity(logging.ERROR)
warnings.filterwarnings("ignore", module="diffusers")

GRIDS = {
    "linspace": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
TRAILING = {"trailing": {"timestep_spacing": "trailing"}}
LU = {"lu": {"use_lu_lambdas": True}}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 1M": ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    "DPM++ 2M heun": ("DPMSolverMultistepScheduler", {"solver_order": 2, "solver_type": "heun"}),
    "DPM++ 3M": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "DPM++ 2S": ("DPMSolverSinglestepScheduler", {"solver_order": 2, "lower_order_final": True}),
    "DPM++ 3S": ("DPMSolverSinglestepScheduler", {"solver_order": 3, "lower_order_final": True}),
    "DEIS 2": ("DEISMultistepScheduler", {"solver_order": 2}),
    "DEIS 3": ("DEISMultistepScheduler", {"solver_order": 3}),
} | {
    f"UniPC {n} {kind}": ("UniPCMultistepScheduler", {"solver_order": n, "solver_type": kind})
    for n in (1, 2, 3)
    for kind in ("bh1", "bh2")
}
K_METHODS = {
    "Euler": "EulerDiscreteScheduler",
    "Heun": "HeunDiscreteScheduler",
    "KDPM2": "KDPM2DiscreteScheduler",
    "LMS": "LMSDiscreteScheduler",
}


def peers(curve: Curve) -> Iterator[Peer]:
    """Every row on this path."""
    if curve is LINEAR:
        yield from _flow()
        return
    table = _table(curve)
    yield from _chain(table)
    yield from _levels(table)
    for name, kind in K_METHODS.items():
        for label, extra in GRIDS.items():
            yield Peer("diffusers", f"{name}, {label}", _follow(kind, table | extra, _k, noise_of_x))
    if curve is VE:
        yield from _edm()


def _table(curve: Curve) -> dict[str, Any]:
    if curve is VP:
        return {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    levels = np.linspace(curve.last ** (1 / 7), curve.first ** (1 / 7), 1000) ** 7
    kept = 1 / (1 + levels**2)
    return {"trained_betas": (1 - kept / np.concatenate([[1.0], kept[:-1]])).tolist()}


def _chain(table: dict[str, Any]) -> Iterator[Peer]:
    for spacing in ("leading", "trailing", "linspace"):
        config = table | {"timestep_spacing": spacing}
        ddim = config | {"clip_sample": False}
        yield Peer("diffusers", f"DDIM, {spacing}", _follow("DDIMScheduler", ddim, _by_table, noise_of_x))
        for label, skip in {"PNDM": False, "PLMS": True}.items():
            pndm = config | {"set_alpha_to_one": True, "skip_prk_steps": skip}
            yield Peer("diffusers", f"{label}, {spacing}", _follow("PNDMScheduler", pndm, _by_table, noise_of_x))


def _levels(table: dict[str, Any]) -> Iterator[Peer]:
    for name, (kind, options) in METHODS.items():
        single = "Singlestep" in kind
        grids = GRIDS | ({} if single else TRAILING) | (LU if kind == "DPMSolverMultistepScheduler" else {})
        for label, extra in grids.items():
            config = table | options | extra
            yield from _ended(f"{name}, {label}", kind, config, _by_level, noise_of_x)


def _edm() -> Iterator[Peer]:
    for grid in ("karras", "exponential"):
        config = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_schedule": grid}
        yield Peer("diffusers", f"EDM Euler, {grid}", _follow("EDMEulerScheduler", config, _k, raw_of_edm))
        for order in (1, 2, 3):
            more = config | {"solver_order": order}
            run = _follow("EDMDPMSolverMultistepScheduler", more, _k, raw_of_edm)
            yield Peer("diffusers", f"EDM DPM++ {order}M, {grid}", run)


def _flow() -> Iterator[Peer]:
    for name, (kind, options) in METHODS.items():
        for shift in (1.0, 3.0):
            config = options | {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
            yield from _ended(f"{name}, flow shift {shift:g}", kind, config, _by_flow, velocity_of_x)
    for shift in (1.0, 3.0):
        euler, heun = "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"
        rule = {"shift": shift}
        for label, extra in GRIDS.items():
            run = _follow(euler, rule | extra, _by_flow, velocity_of_x)
            yield Peer("diffusers", f"FlowMatchEuler shift {shift:g}, {label}", run)
        run = _follow(euler, rule, _by_flow, velocity_of_x, sigmas=lambda n: np.linspace(1, 1 / n, n).tolist())
        yield Peer("diffusers", f"FlowMatchEuler shift {shift:g}, pipelines' sigmas", run)
        run = _follow(heun, rule, _by_flow, velocity_of_x)
        yield Peer("diffusers", f"FlowMatchHeun shift {shift:g}", run)
    yield Peer("diffusers", "IPNDM", _follow("IPNDMScheduler", {}, _by_circle, v_of_x))


def _ended(name: str, kind: str, config: dict[str, Any], clock: "Clock", output: "Output") -> Iterator[Peer]:
    """The row; and where it keeps its last noise, the same with one denoising more."""
    if name.startswith("DEIS"):
        yield Peer("diffusers", f"{name}, then D", _follow(kind, config, clock, output, last=True))
    if "bh1" in name:  # divides infinity by infinity in a step to zero noise
        config = config | {"final_sigmas_type": "sigma_min"}
        yield Peer("diffusers", f"{name}, then D", _follow(kind, config, clock, output, last=True))
    yield Peer("diffusers", name, _follow(kind, config, clock, output))


Clock = Callable[[Any, int, Any], tuple[float, float]]
"""(scheduler, number of the call, its timestep) -> (alpha, sigma) of the x it is at."""
Output = Callable[[Tensor, Tensor, float, float], Tensor]
"""(x, E[x0], alpha, sigma) -> what the network would have said."""


def _by_table(scheduler: Any, call: int, t: Any) -> tuple[float, float]:
    kept = scheduler.alphas_cumprod[int(t)].double()
    return kept.sqrt().item(), (1 - kept).sqrt().item()


def _by_level(scheduler: Any, call: int, t: Any) -> tuple[float, float]:
    level = scheduler.sigmas[call].double().item()
    alpha = 1 / (1 + level**2) ** 0.5
    return alpha, level * alpha


def _by_flow(scheduler: Any, call: int, t: Any) -> tuple[float, float]:
    sigma = scheduler.sigmas[call].double().item()
    return 1 - sigma, sigma


def _by_circle(scheduler: Any, call: int, t: Any) -> tuple[float, float]:
    return scheduler.alphas[call].double().item(), scheduler.betas[call].double().item()


def _k(scheduler: Any, call: int, t: Any) -> tuple[float, float]:
    # KDPM2 calls at its own levels and, every other time, between two of them
    between = getattr(scheduler, "sigmas_interpol", None)
    levels = scheduler.sigmas if between is None or call % 2 == 0 else between
    return 1.0, levels[call].double().item()


def noise_of_x(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """eps."""
    return (x - alpha * x0) / sigma


def velocity_of_x(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """eps - x0, on the straight path."""
    return (x - x0) / sigma


def v_of_x(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """alpha eps - sigma x0, on a circle."""
    return (alpha * x - x0) / sigma


def raw_of_edm(x: Tensor, x0: Tensor, alpha: float, sigma: float) -> Tensor:
    """EDM's F, for data of std 0.5."""
    total = sigma**2 + 0.25
    return (x0 - x * (0.25 / total)) * (total**0.5 / (sigma * 0.5))


def _follow(
    kind: str,
    config: dict[str, Any],
    clock: Clock,
    output: Output,
    last: bool = False,
    sigmas: Callable[[int], list[float]] | None = None,
) -> Callable[[Denoiser, Tensor, int], Tensor]:
    def run(denoiser: Denoiser, eps: Tensor, steps: int) -> Tensor:
        scheduler = getattr(diffusers, kind)(**config)
        if sigmas is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(sigmas=sigmas(steps))
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        x, now = eps, (1.0, 1.0)
        for call, t in enumerate(scheduler.timesteps):
            now = clock(scheduler, call, t)
            if call == 0:
                x = eps * now[1]
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(x, t)
            x = scheduler.step(output(x, at(denoiser, x, *now), *now), t, x).prev_sample.to(eps.dtype)
        if last:
            alpha, sigma = clock(scheduler, len(scheduler.timesteps), None)
            return at(denoiser, x, alpha, sigma)
        return x

    return run

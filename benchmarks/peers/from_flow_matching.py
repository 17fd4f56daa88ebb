"""flow_matching's ODESolver on its straight path: torchdiffeq's fixed steps over a grid of times.

In its time data are at 1. Methods that look at the field at the very end meet a perfect velocity that is singular
there where the data are points. The grid "edm" is the skewed one of its image example: Karras's noise levels s, as
times 1 / (1 + s), from its first level.
"""

from collections.abc import Callable, Iterator

import torch
from flow_matching.solver import ODESolver
from torch import Tensor

from peers.peer import Peer, at
from peers.problem import LINEAR, Curve, Denoiser

METHODS = ("euler", "midpoint", "heun2", "heun3", "rk4")


def _uniform(steps: int) -> Tensor:
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def _edm(steps: int) -> Tensor:
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    levels = torch.linspace(high, low, steps, dtype=torch.float64) ** 7
    return torch.cat([1 / (1 + levels), torch.ones(1, dtype=torch.float64)])


def peers(curve: Curve) -> Iterator[Peer]:
    """Every method with fixed steps on two grids."""
    if curve is LINEAR:
        for label, grid in {"uniform": _uniform, "edm": _edm}.items():
            for method in METHODS:
                yield Peer("flow_matching", f"{method}, {label}", _on(method, grid))


def _on(method: str, grid: Callable[[int], Tensor]) -> Callable[..., Tensor]:
    def run(denoiser: Denoiser, eps: Tensor, steps: int) -> Tensor:
        def velocity(x: Tensor, t: Tensor) -> Tensor:
            sigma = max(1 - float(t), 1e-9)
            x0 = at(denoiser, x, t, sigma)
            return x0 - (x - t * x0) / sigma  # x0 - eps

        times = grid(steps)
        start = eps * (1 - times[0])
        return ODESolver(velocity).sample(x_init=start, step_size=None, method=method, time_grid=times)

    return run

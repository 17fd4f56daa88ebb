"""What solvers are compared on: data whose perfect denoiser is known, three paths, and where the exact flow ends.

Everything is said in the coordinates all paths share, y = x / alpha and s = sigma / alpha:

    dy/ds = (y - D(y, s)) / s,          D(y, s) = E[x0 | x0 + s eps = y].

For a mixture of equal Gaussians with centres c_k and one std tau (tau = 0: a finite data set, whose perfect denoiser
is a softmax over its members),

    w = softmax((y . c_k - |c_k|**2 / 2) / (tau**2 + s**2)),    D = (tau**2 y + s**2 sum_k w_k c_k) / (tau**2 + s**2).

    path     s from       to          in x
    VE       80           0.002       EDM's
    VP       157.407      0.010001    DDPM's chain: 1000 betas evenly from 1e-4 to 0.02
    linear   infinity     0           flow matching; x = eps at t = 1

All solvers start from one eps, as y = s eps at their own first noise level s. The truth starts at the path's and is
followed down to s = 1e-6; what is left is one denoising. So a solver is held to where the exact flow ends, s = 0, and
whatever noise it leaves in its samples is part of its error.

References: Karras et al. 2022 (arXiv 2206.00364), Ho et al. 2020 (arXiv 2006.11239).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

Denoiser = Callable[[Tensor, float], Tensor]
"""(y [batch, dimensions], s) -> E[x0], in the coordinates that all paths share."""


@dataclass(frozen=True)
class Mixture:
    """Equal Gaussians around `centres` [k, dimensions] with one `std`, and their perfect denoiser."""

    name: str
    centres: Tensor
    std: float

    def __call__(self, y: Tensor, s: float) -> Tensor:
        s = min(max(float(s), 1e-9), 1e9)
        centres = self.centres.to(y.dtype)
        total = self.std**2 + s**2
        logits = torch.addmm(centres.square().sum(1) / (-2 * total), y, centres.T, alpha=1 / total)
        return (self.std**2 / total) * y + (s**2 / total) * (torch.softmax(logits, 1) @ centres)

    def mode(self, x: Tensor) -> Tensor:
        """The centre next to each sample, [batch]."""
        return torch.cdist(x, self.centres.to(x.dtype)).argmin(1)


def ring(modes: int = 8, radius: float = 1.0, std: float = 0.1) -> Mixture:
    """Gaussians on a circle."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return Mixture("ring", radius * torch.stack([angle.cos(), angle.sin()], 1), std)


def digits() -> Mixture:
    """The digits this library ships, in the model's units, as a finite set."""
    from pushforward.data import digits as load

    data = load()
    rows = data.scaling.to_model(data.values.double()).flatten(1)
    return Mixture("digits", rows.unique(dim=0), 0.0)


@dataclass(frozen=True)
class Curve:
    """A path, by its name and the noise levels sigma / alpha it runs between."""

    name: str
    first: float
    last: float


VE = Curve("VE", 80.0, 0.002)
VP = Curve("VP", 157.40728, 0.010001)
LINEAR = Curve("linear", math.inf, 0.0)
CURVES = {curve.name: curve for curve in (VE, VP, LINEAR)}


def truth(denoiser: Mixture, curve: Curve, eps: Tensor, rtol: float = 1e-8) -> Tensor:
    """Where the exact flow ends: 8th order, in log s, from the path's first noise level to 1e-6 and one denoising.

    From s = infinity it starts at 1e7, where y is s eps + E[x0] to 1e-7.
    """
    first, mean = min(curve.first, 1e7), denoiser.centres.mean(0)
    start = first * eps + (mean if math.isinf(curve.first) else 0.0)

    # the scaled state x = y / sqrt(1 + s^2) is of order one from end to end
    def slope(log_s: float, flat: np.ndarray) -> np.ndarray:
        s = math.exp(log_s)
        scale = math.hypot(1.0, s)
        x = torch.from_numpy(flat).view_as(eps)
        return (x / scale**2 - denoiser(x * scale, s) / scale).flatten().numpy()

    span = (math.log(first), math.log(1e-6))
    flat = (start / math.hypot(1.0, first)).flatten().numpy()
    end = solve_ivp(slope, span, flat, method="DOP853", rtol=rtol, atol=rtol / 100)
    return denoiser(torch.from_numpy(end.y[:, -1]).view_as(eps) * math.hypot(1.0, 1e-6), 1e-6)


@dataclass(frozen=True)
class Score:
    """How far endpoints are from where the exact flow ends.

    rmse: root of the mean squared distance, by the root of the mean square of the truth.
    median: of the distances, each by the length of its truth.
    wrong: the share that ended next to another mode.
    """

    rmse: float
    median: float
    wrong: float


def score(denoiser: Mixture, found: Tensor, exact: Tensor) -> Score:
    """The three figures of one set of endpoints."""
    found = torch.nan_to_num(found.to(exact.dtype), nan=1e9, posinf=1e9, neginf=-1e9)
    off = (found - exact).square().sum(1)
    size = exact.square().sum(1)
    wrong = denoiser.mode(found) != denoiser.mode(exact)
    ratio = (off / size).sqrt().median()
    return Score((off.mean() / size.mean()).sqrt().item(), ratio.item(), wrong.double().mean().item())

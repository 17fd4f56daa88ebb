"""The path of a table: DDPM's chain of T steps, at every real time between them.

A chain with betas b_0, ..., b_{T-1} keeps abar_k = (1 - b_0) ... (1 - b_k) of the data's variance after k + 1 steps:

    x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) eps,        t = k / (T - 1).

Between two steps the log-SNR l = log(abar / (1 - abar)) is a straight line, so

    alpha**2 = sigmoid(l),   alpha' = alpha sigma**2 l' / 2,   sigma' = -sigma alpha**2 l' / 2,

and the table's own values are met exactly. In the last interval of a chain that ends in pure noise (abar = 0,
l = -infinity) the angle asin(alpha) is the straight line instead.

    schedule             b_k
    linear               evenly from start to end                               (Ho et al. 2020)
    scaled_linear        squares of evenly spaced roots                         (latent diffusion)
    squaredcos_cap_v2    1 - f(k + 1) / f(k), at most 0.999;  f a squared cosine   (Nichol and Dhariwal 2021)
    sigmoid              a sigmoid from -6 to 6, between start and end          (GeoDiff)

The names are those that checkpoints in the diffusers format carry.

References: Ho et al. 2020 (arXiv 2006.11239), Nichol and Dhariwal 2021 (arXiv 2102.09672), Rombach et al. 2022
(arXiv 2112.10752), Lin et al. 2024 (arXiv 2305.08891) for the end in pure noise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path


@dataclass(frozen=True, slots=True)
class Discrete(Path):
    """A chain of noise levels as a path.

    At t = 0 it is already one step into the chain: samples carry the noise of the first level.

    Args:
        alphas_cumprod: the share of the data's variance that is left at each step, falling, in [0, 1); two or more.
            Only the last may be 0. (This is alpha**2; the name is the one found in checkpoints.)

    Raises:
        ConfigError: a table that does not fall, or leaves [0, 1).

    >>> Discrete((0.8, 0.5, 0.2)).coefficients(torch.tensor([0.5])).alpha.square()
    tensor([0.5000])
    """

    alphas_cumprod: tuple[float, ...] = field(repr=False)
    _log_snr: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = torch.tensor(self.alphas_cumprod, dtype=torch.float64)
        falls = len(table) > 1 and bool((table.diff() < 0).all()) and table[0] < 1 and table[-1] >= 0
        if not falls:
            got = f"{len(table)} values from {table[0]:g} to {table[-1]:g}" if len(table) else "none"
            fix = "Pass the cumulative product of 1 - beta."
            raise ConfigError(explain("two or more values that fall strictly within [0, 1)", got, fix))
        object.__setattr__(self, "_log_snr", table.logit())

    @classmethod
    def scheduled(
        cls, schedule: str = "linear", beta_start: float = 1e-4, beta_end: float = 0.02, steps: int = 1000
    ) -> "Discrete":
        """The chain of a named schedule of betas.

        Args:
            schedule: linear, scaled_linear, squaredcos_cap_v2 or sigmoid.
            beta_start, beta_end: the first and last beta; squaredcos_cap_v2 has its own.
            steps: T.

        Raises:
            ConfigError: a schedule that is not in the table.

        >>> Discrete.scheduled("scaled_linear", 0.00085, 0.012)  # Stable Diffusion
        Discrete(steps=1000)
        """
        if schedule not in _BETAS:
            raise ConfigError(explain(f"a schedule of {', '.join(_BETAS)}", repr(schedule), "Choose one of them."))
        betas = _BETAS[schedule](beta_start, beta_end, steps)
        return cls(tuple((1 - betas).cumprod(0).tolist()))

    @property
    def steps(self) -> int:
        """T, the length of the table."""
        return len(self.alphas_cumprod)

    def __repr__(self) -> str:
        return f"Discrete(steps={self.steps})"

    def ending_in_noise(self) -> "Discrete":
        """The same chain stretched so that nothing of the data is left at t = 1 (Lin et al. 2024, algorithm 1)."""
        root = torch.tensor(self.alphas_cumprod, dtype=torch.float64).sqrt()
        stretched = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        return Discrete(tuple(stretched.square().tolist()))

    def coefficients(self, t: Time) -> Coefficients:
        left, right = self._ends(t)
        place = t * (self.steps - 1)
        k = place.detach().floor().clamp(0, self.steps - 2).long()
        part = place - k
        straight = right[k].isfinite()
        rate = torch.where(straight, right[k] - left[k], 0.0)
        log_snr = left[k] + part * rate
        alpha, sigma = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        slope = rate * ((self.steps - 1) / 2)
        last = _last_angle(left)
        angle = last * (1 - part)
        turn = last * (self.steps - 1)
        return Coefficients(
            torch.where(straight, alpha, angle.sin()),
            torch.where(straight, sigma, angle.cos()),
            torch.where(straight, alpha * sigma.square() * slope, -angle.cos() * turn),
            torch.where(straight, -sigma * alpha.square() * slope, angle.sin() * turn),
        )

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        log_snr = 2 * (alpha.log() - sigma.log())
        left, right = self._ends(log_snr)
        k = torch.searchsorted(-left, -log_snr.detach(), right=True).sub(1).clamp(0, self.steps - 2)
        straight = right[k].isfinite()
        part = (log_snr - left[k]) / torch.where(straight, right[k] - left[k], -1.0)
        turned = 1 - torch.atan2(alpha, sigma) / _last_angle(left)
        return (k + torch.where(straight, part, turned)) / (self.steps - 1)

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The log-SNR at the left and right end of each interval."""
        table = self._log_snr.to(like.device, like.dtype)
        return table[:-1], table[1:]


def _last_angle(left: Tensor) -> Tensor:
    """asin(alpha) at the left end of the last interval."""
    return left[-1].sigmoid().sqrt().asin()


def _linear(start: float, end: float, steps: int) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64)


def _scaled_linear(start: float, end: float, steps: int) -> Tensor:
    return _linear(math.sqrt(start), math.sqrt(end), steps).square()


def _squared_cosine(start: float, end: float, steps: int) -> Tensor:
    place = torch.arange(steps + 1, dtype=torch.float64) / steps
    level = torch.cos((place + 0.008) / 1.008 * (math.pi / 2)).square()
    return (1 - level[1:] / level[:-1]).clamp(max=0.999)


def _sigmoid(start: float, end: float, steps: int) -> Tensor:
    return _linear(-6, 6, steps).sigmoid() * (end - start) + start


_BETAS: Final[Mapping[str, Callable[[float, float, int], Tensor]]] = MappingProxyType(
    {
        "linear": _linear,
        "scaled_linear": _scaled_linear,
        "squaredcos_cap_v2": _squared_cosine,
        "sigmoid": _sigmoid,
    }
)

"""The path of a table: DDPM's chain of T steps, at every real time between them.

A chain with betas b_0, ..., b_{T-1} keeps abar_k = (1 - b_0) ... (1 - b_k) of the data's variance after k + 1 steps:

    x_k = sqrt(abar_k) x0 + sqrt(1 - abar_k) eps,        t = k / (T - 1).

Between two steps l = log(abar) is a monotone cubic with slopes from the neighbouring steps, so the table's own
values are met exactly and solvers meet no kinks:

    alpha = exp(l / 2),   sigma**2 = 1 - exp(l),   alpha' = alpha l' / 2,   sigma' = -alpha**2 l' / (2 sigma).

(l is nearly a parabola for every schedule in use, while the log-SNR bends sharply at the data's end: the same cubic
there costs an adaptive solver a thousand times its error.) In the last interval of a chain that ends in pure noise,
abar = 0, the angle asin(alpha) is a parabola to 0 instead, which leaves with the slope that l arrives with.

    schedule             b_k
    linear               evenly from start to end                               (Ho et al. 2020)
    scaled_linear        squares of evenly spaced roots                         (latent diffusion)
    squaredcos_cap_v2    1 - f(k + 1) / f(k), at most 0.999;  f a squared cosine   (Nichol and Dhariwal 2021)
    sigmoid              a sigmoid from -6 to 6, between start and end          (GeoDiff)

The names are those that checkpoints in the diffusers format carry.

References: Ho et al. 2020 (arXiv 2006.11239), Nichol and Dhariwal 2021 (arXiv 2102.09672), Rombach et al. 2022
(arXiv 2112.10752), Lin et al. 2024 (arXiv 2305.08891) for the end in pure noise, Fritsch and Carlson 1980 for the
cubic.
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
    _table: Tensor = field(init=False, repr=False, compare=False)
    _rounds: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = torch.tensor(self.alphas_cumprod, dtype=torch.float64)
        falls = len(table) > 1 and bool((table.diff() < 0).all()) and table[0] < 1 and table[-1] >= 0
        if not falls:
            got = f"{len(table)} values from {table[0]:g} to {table[-1]:g}" if len(table) else "none"
            fix = "Pass the cumulative product of 1 - beta."
            raise ConfigError(explain("two or more values that fall strictly within [0, 1)", got, fix))
        level = table.log()
        slopes = _slopes(level)
        object.__setattr__(self, "_table", torch.stack([level, slopes]))
        object.__setattr__(self, "_rounds", _newton_rounds(level, slopes))

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
        return cls.from_betas(tuple(_BETAS[schedule](beta_start, beta_end, steps).tolist()))

    @classmethod
    def from_betas(cls, betas: tuple[float, ...]) -> "Discrete":
        """The chain of these betas.

        >>> Discrete.from_betas((0.1, 0.5)).alphas_cumprod
        (0.9, 0.45)
        """
        return cls(tuple((1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0).tolist()))

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
        place = t * (self.steps - 1)
        k = place.detach().floor().clamp(0, self.steps - 2).long()
        table = self._table.to(t.device, t.dtype)
        level, slope = _cubic(place - k, table, k)
        alpha, sigma = (level / 2).exp(), (-level.expm1()).sqrt()
        angle, turn = _last(place - k, table)
        pure = table[0, k + 1].isinf()
        return Coefficients(
            torch.where(pure, angle.sin(), alpha),
            torch.where(pure, angle.cos(), sigma),
            torch.where(pure, angle.cos() * turn, alpha * slope / 2) * (self.steps - 1),
            torch.where(pure, -angle.sin() * turn, -alpha.square() * slope / (2 * sigma)) * (self.steps - 1),
        )

    def time_at(self, alpha: Tensor, sigma: Tensor) -> Time:
        angle, level = torch.atan2(alpha, sigma), -torch.log1p((sigma / alpha).square())
        table = self._table.to(angle.device, angle.dtype)
        k = torch.searchsorted(-table[0], -level.detach(), right=True).sub(1).clamp(0, self.steps - 2)
        pure = table[0, k + 1].isinf()
        # the cubic falls and bends little: Newton's steps, within what earlier ones have left of [0, 1]
        low, high = torch.zeros_like(angle), torch.ones_like(angle)
        part = (low + high) / 2
        for _ in range(self._rounds):
            here, slope = _cubic(part, table, k)
            low, high = torch.where(here > level, part, low), torch.where(here > level, high, part)
            part = torch.minimum(torch.maximum(part - (here - level) / slope, low), high)
        part = torch.where(pure, _last_part(angle, table), part)
        return (k + part) / (self.steps - 1)


def _slopes(level: Tensor) -> Tensor:
    """The slope per step at each step: the mean of both sides, no steeper than keeps each cubic monotone."""
    sides = level[level.isfinite()].diff()
    slopes = torch.zeros_like(level)
    if len(sides) == 1:
        slopes[:2] = sides
    elif len(sides):
        ends = torch.stack([3 * sides[0] - sides[1], 3 * sides[-1] - sides[-2]]) / 2
        ends = torch.maximum(ends, 3 * sides[[0, -1]]).clamp(max=0.0)
        inner = torch.maximum((sides[1:] + sides[:-1]) / 2, 3 * torch.maximum(sides[1:], sides[:-1]))
        slopes[: len(sides) + 1] = torch.cat([ends[:1], inner, ends[1:]])
    return slopes


def _newton_rounds(level: Tensor, slopes: Tensor) -> int:
    """Newton's steps that find a place in a cubic to rounding: few where all are nearly straight."""
    rise = level[level.isfinite()].diff()
    ends = torch.stack([slopes[: len(rise)], slopes[1 : len(rise) + 1]]) / rise
    return 8 if bool(((ends > 0.5) & (ends < 2)).all()) else 60


def _cubic(part: Tensor, table: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope of the cubic in interval k, where it is finite."""
    (left, m), (right, n) = table[:, k], table[:, k + 1]
    rise = torch.where(right.isinf(), 0.0, right - left)
    bend, twist = 3 * rise - 2 * m - n, m + n - 2 * rise
    return left + part * (m + part * (bend + part * twist)), m + part * (2 * bend + part * 3 * twist)


def _last(part: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """asin(alpha) and its slope in the last interval of a chain that ends in pure noise."""
    start, slope, bend = _parabola(table)
    return start + part * (slope + part * bend), slope + 2 * part * bend


def _last_part(angle: Tensor, table: Tensor) -> Tensor:
    """The inverse of `_last`: the root at which the parabola falls through the angle."""
    start, slope, bend = _parabola(table)
    fall = start - angle
    root = (slope.square() - 4 * bend * fall).clamp(min=0).sqrt()
    return torch.where(fall > 0, 2 * fall / (root - slope), 0.0)


def _parabola(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """start + part slope + part**2 bend, from the angle before the last interval to 0."""
    level, m = table[:, -2]
    start = (level / 2).exp().asin()
    slope = torch.maximum(m / 2 * start.tan(), -2 * start)
    return start, slope, -start - slope


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

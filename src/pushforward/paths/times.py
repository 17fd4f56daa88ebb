"""How t is drawn in training: every distribution is its quantile function.

`quantile(u, path, span)` turns uniform numbers into times inside the span, so one stream of u serves them all.

    name           t at u, on the span [0, 1]
    Uniform        u
    Stops          floor(n u) / (n - 1)                          the whole steps of a chain (DDPM)
    LogitNormal    sigmoid(mean + std z)                         z = Phi**-1(u)
    LogNormal      where sigma / alpha = exp(mean + std z)       the same noise on every path (EDM)
    Mode           u - s (sin(pi u / 2)**2 - u)                  heavier in the middle or at both ends
    CosMap         sin(pi u / 2) / (sin(pi u / 2) + cos(pi u / 2))   uniform on the cosine path, seen on the linear

How the u of a batch are spread is another matter (`Spread`); each u_i depends on the sample's index alone:

    low-discrepancy   u_0 + i 0.618... mod 1                   the golden-ratio sequence, the default
    stratified        u_0 + (r_i + reverse(i)) / 256 mod 1     one in each of 256 strata; reverse is i with its bits
    independent       r_i                                      reversed, so smaller batches are stratified too

References: Karras et al. 2022 (arXiv 2206.00364) for the log-normal; Esser et al. 2024 (arXiv 2403.03206) for the
logit-normal, the mode and the cosine map; Kingma et al. 2021 (arXiv 2107.00630) for low-discrepancy times.
"""

import abc
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Time
from pushforward.paths.path import Path

_GOLDEN = 0.6180339887498949
_LEVELS = 8

Span = tuple[float, float]
"""The first and the last time of training."""

Spread = Literal["low-discrepancy", "stratified", "independent"]
"""How evenly the times of a batch are spread over their distribution."""


class TimeDistribution(abc.ABC):
    """Where training looks; a frozen dataclass."""

    @abc.abstractmethod
    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        """The time in `span` below which a fraction `u` of the draws fall."""

    def sample(
        self, n: int, draw: Draw, path: Path, span: Span = (0.0, 1.0), spread: Spread = "low-discrepancy"
    ) -> Time:
        """`n` times in `span`, [n], in float64."""
        return self.quantile(uniforms(n, draw, spread), path, span).clamp(*span)


def uniforms(n: int, draw: Draw, spread: Spread = "low-discrepancy") -> Tensor:
    """`n` numbers, each uniform on [0, 1), together spread as the module's table says, [n], in float64.

    Raises:
        ConfigError: a spread that is not in the table.
    """
    if spread not in get_args(Spread):
        raise ConfigError(explain(f"a spread of {', '.join(get_args(Spread))}", repr(spread), "Choose one of them."))
    if spread == "independent":
        return draw.uniform(n, dtype=torch.float64)
    start = Draw(draw.seed, draw.purpose, draw.step, device=draw.device).uniform(1, dtype=torch.float32).double()
    index = torch.arange(draw.first, draw.first + n, device=draw.device)
    if spread == "low-discrepancy":
        return (start + index.double() * _GOLDEN) % 1.0
    strata = sum((index >> bit & 1) << (_LEVELS - 1 - bit) for bit in range(_LEVELS))
    return (start + (strata + draw.of("inside").uniform(n, dtype=torch.float64)) / 2**_LEVELS) % 1.0


@dataclass(frozen=True, slots=True)
class Uniform(TimeDistribution):
    """Every time alike.

    >>> from pushforward.paths import Linear
    >>> Uniform().quantile(torch.tensor([0.25]), Linear())
    tensor([0.2500])
    """

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        return _inside(u, span)


@dataclass(frozen=True, slots=True)
class Stops(TimeDistribution):
    """The whole steps of a chain of this many, alike, the first at t = 0 and the last at t = 1.

    Args:
        count: how many, at least 2: that of a `Discrete` path for its own steps.
    """

    count: int = 1000

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ConfigError(explain("2 stops or more", repr(self.count), "Take as many as the chain has steps."))

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        return (u * self.count).floor().clamp(max=self.count - 1) / (self.count - 1)


@dataclass(frozen=True, slots=True)
class LogitNormal(TimeDistribution):
    """logit(t) ~ N(mean, std**2): more often in the middle, where the regression is hardest.

    >>> from pushforward.paths import Linear
    >>> LogitNormal().quantile(torch.tensor([0.5]), Linear())
    tensor([0.5000])
    """

    mean: float = 0.0
    std: float = 1.0

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        return _inside(torch.sigmoid(self.mean + self.std * _normal(u)), span)


@dataclass(frozen=True, slots=True)
class LogNormal(TimeDistribution):
    """log(sigma / alpha) ~ N(mean, std**2), cut to the noise of the span: where EDM trains, on whatever path.

    Args:
        mean, std: EDM's P_mean and P_std.

    >>> from pushforward.paths import Linear
    >>> LogNormal(mean=0.0).quantile(torch.tensor([0.5]), Linear())  # sigma = alpha
    tensor([0.5000])
    """

    mean: float = -1.2
    std: float = 1.2

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        ends = path.log_snr(torch.tensor(span, dtype=torch.float64, device=u.device)) / -2
        low, high = torch.special.ndtr((ends - self.mean) / self.std)
        noise = (self.mean + self.std * _normal(low + (high - low) * u)).exp().to(u.dtype)
        return path.time_at(torch.ones_like(noise), noise).clamp(*span)


@dataclass(frozen=True, slots=True)
class Mode(TimeDistribution):
    """A symmetric density: heavier in the middle for scale > 0, at both ends for scale < 0.

    Args:
        scale: s, from -1 to 2 / (pi - 2), where the density would touch 0.
    """

    scale: float = 1.29

    def __post_init__(self) -> None:
        if not -1 <= self.scale <= 2 / (math.pi - 2):
            raise ConfigError(explain("a scale from -1 to 1.75", repr(self.scale), "Beyond, times run backwards."))

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        return _inside(u - self.scale * ((math.pi / 2 * u).sin().square() - u), span)


@dataclass(frozen=True, slots=True)
class CosMap(TimeDistribution):
    """The times of the linear path whose log-SNRs are those of uniform times on the cosine path."""

    def quantile(self, u: Tensor, path: Path, span: Span = (0.0, 1.0)) -> Time:
        sine, cosine = (math.pi / 2 * u).sin(), (math.pi / 2 * (1 - u)).sin()
        return _inside(sine / (sine + cosine), span)


def _normal(u: Tensor) -> Tensor:
    """z with Phi(z) = u, finite."""
    return torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))


def _inside(t: Tensor, span: Span) -> Time:
    """A time of [0, 1] at the same place of the span."""
    low, high = span
    return low + (high - low) * t

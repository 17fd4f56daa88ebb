"""Base distributions: what gets pushed forward.

normal     log p(z) = -((z-m)/s)**2 / 2 - log s - log(2 pi) / 2                    per dimension
logistic   log p(z) = -softplus(z) - softplus(-z)
student    log p(z) = log G((nu+1)/2) - log G(nu/2) - log(pi nu)/2 - (nu+1)/2 log(1 + z**2/nu)
uniform    log p(z) = -log(high - low) between low and high, -inf elsewhere
von Mises  log p(z) = kappa cos z - log(2 pi I_0(kappa)) on [-pi, pi)               a circle

These are frozen values, as any of torch's are in `torch_base.py`; those with weights (learned, mixtures, one for each
class) are in `learned_base.py`, data in `rows.py`, other models in `flow_base.py`.

A Student t is sampled by Bailey's polar method, z = sqrt(nu (u**(-2/nu) - 1)) cos(2 pi v), exact for every nu > 0; a
von Mises by its distribution function, tabulated. So every draw is a function of a fixed count of uniforms, as an
address of random numbers needs, where the usual rejection methods take as many as they like.

References:
    Bailey 1994, Math. Comp. 62 (the polar method).
    Jaini, Kobyzev, Yu, Brubaker 2020, arXiv 1907.04481 (heavy-tailed bases).
"""

import abc
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample


class Base(abc.ABC):
    """A distribution over noise of a given event shape: a frozen dataclass, or a module if it has weights.

    `std` is the deviation that a start from data (`models.prepare`) aims at, around mean 0: the base's own where it
    has one. `low` and `high` bound every number of an event.
    """

    shape: tuple[int, ...]
    std: float | Tensor
    low: float = -math.inf
    high: float = math.inf
    cut: bool = False
    """Whether it is the noise of a model, rare draws left out: solvers of the reverse SDE may then start from it."""

    @property
    def has_rsample(self) -> bool:
        """Whether draws have the derivatives of every weight: whether the gradient of a mean over draws is right."""
        return True

    @property
    def has_density(self) -> bool:
        """Whether `log_prob` exists."""
        return True

    @abc.abstractmethod
    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        """`n` draws, [n, *shape], each a function of the draw's address and its index (and its context)."""

    @abc.abstractmethod
    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        """Log-density in nats, [batch]."""


@dataclass(frozen=True, eq=False)
class Normal(Base):
    """Independent normals: one mean and one standard deviation, or tensors of them that broadcast over the event.

    >>> round(Normal((2,)).log_prob(torch.zeros(1, 2)).item(), 4)
    -1.8379
    """

    shape: tuple[int, ...]
    std: float | Tensor = 1.0
    mean: float | Tensor = 0.0

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        z = draw.normal(n, self.shape)
        return z * like(self.std, z) + like(self.mean, z)

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        if isinstance(self.std, Tensor) or isinstance(self.mean, Tensor):
            std = like(self.std, z)
            each = -0.5 * ((z - like(self.mean, z)) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
            return _total(each)
        centred, size = z - self.mean if self.mean else z, math.prod(self.shape)
        scaled = centred / self.std if self.std != 1 else centred
        return -0.5 * _total(scaled.square()) - size * (math.log(self.std) + 0.5 * math.log(2 * math.pi))


@dataclass(frozen=True)
class Logistic(Base):
    """Independent standard logistics (NICE's prior on MNIST and SVHN; Dinh et al. 2014, arXiv 1410.8516)."""

    shape: tuple[int, ...]
    std: float | Tensor = field(default=math.pi / math.sqrt(3), init=False)

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        # log(u/(1-u)) with u kept off both ends, by a quarter of float32's spacing at 1
        return draw.uniform(n, self.shape).clamp(3e-8, 1 - 6e-8).logit()

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        return _total(-softplus(z) - softplus(-z))


@dataclass(frozen=True)
class StudentT(Base):
    """Independent Student t: a base whose tails are powers, for data whose tails are.

    Args:
        shape: the event's shape.
        freedom: nu, above 0; moments of order nu and above do not exist. `std` is 1 where there is no variance.

    Raises:
        ConfigError: `freedom` is not above 0.

    >>> round(StudentT((1,), freedom=1.0).log_prob(torch.zeros(1, 1)).exp().item() * math.pi, 4)
    1.0
    """

    shape: tuple[int, ...]
    freedom: float = 3.0
    std: float | Tensor = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.freedom < math.inf:
            raise ConfigError(explain("freedom above 0", f"{self.freedom}", "3.0 has a variance, 1.0 no mean."))
        std = math.sqrt(self.freedom / (self.freedom - 2)) if self.freedom > 2 else 1.0
        object.__setattr__(self, "std", std)

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        # float64: the smallest u decides how far the tail reaches
        radius, angle = (draw.of(word).uniform(n, self.shape, torch.float64) for word in ("radius", "angle"))
        radius = torch.expm1(radius.clamp_min(1e-300).log() * (-2 / self.freedom)) * self.freedom
        return (radius.sqrt() * torch.cos(2 * math.pi * angle)).to(torch.get_default_dtype())

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        nu = self.freedom
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi * nu)
        return _total(constant - 0.5 * (nu + 1) * torch.log1p(z.square() / nu))


@dataclass(frozen=True)
class Uniform(Base):
    """Uniform on a box, or on a circle cut open at `low`: the density is 0 outside.

    Args:
        shape: the event's shape.
        low, high: the ends, for every number.

    Raises:
        ConfigError: low is not below high.

    >>> Uniform((2,), 0.0, 2.0).log_prob(torch.tensor([[1.0, 1.0], [1.0, 3.0]])).exp()
    tensor([0.2500, 0.0000])
    """

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    std: float | Tensor = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigError(explain("low < high", f"low={self.low}, high={self.high}", "Give a box of some size."))
        object.__setattr__(self, "std", (self.high - self.low) / math.sqrt(12))

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        return self.low + (self.high - self.low) * draw.uniform(n, self.shape)

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        each = torch.full_like(z, -math.log(self.high - self.low))
        return _total(each.masked_fill((z < self.low) | (z > self.high), -math.inf))


@dataclass(frozen=True)
class VonMises(Base):
    """The normal of the circle, around 0; angles in [-pi, pi). (Uniform(shape, -pi, pi) is its limit at 0.)

    Args:
        shape: the event's shape.
        concentration: kappa, above 0; about 1 / std**2 where large.

    Raises:
        ConfigError: `concentration` is not above 0.
    """

    shape: tuple[int, ...]
    concentration: float = 1.0
    std: float | Tensor = field(default=1.0, init=False)
    low: float = field(default=-math.pi, init=False)
    high: float = field(default=math.pi, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.concentration < math.inf:
            fix = "Use Uniform(shape, -pi, pi) for 0."
            raise ConfigError(explain("a concentration above 0", f"{self.concentration}", fix))
        angle, cumulative = self._table()
        middle = 0.5 * (angle[1:] + angle[:-1])
        object.__setattr__(self, "std", (cumulative.diff() * middle.square()).sum().sqrt().item())

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        u = draw.uniform(n, self.shape, torch.float64)
        angle, cumulative = (each.to(u.device) for each in self._table())
        k = torch.searchsorted(cumulative, u, right=True).clamp(1, len(angle) - 1)
        below = cumulative[k - 1]
        share = (u - below) / (cumulative[k] - below)
        return torch.lerp(angle[k - 1], angle[k], share).to(torch.get_default_dtype())

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        kappa = torch.tensor(self.concentration, dtype=torch.float64)
        # kappa (cos z - 1), and I_0 scaled likewise, so that neither overflows
        constant = math.log(2 * math.pi) + torch.special.i0e(kappa).log().item()
        return _total(-2 * self.concentration * (z / 2).sin().square() - constant)

    def _table(self, size: int = 2**14) -> tuple[Tensor, Tensor]:
        """The distribution function at equal steps over where it rises; between them it is taken as straight."""
        reach = min(math.pi, 12 / math.sqrt(self.concentration))
        angle = torch.linspace(-reach, reach, size + 1, dtype=torch.float64)
        density = (-2 * self.concentration * (angle / 2).sin().square()).exp()
        cumulative = torch.cat([density.new_zeros(1), (density[1:] + density[:-1]).cumsum(0)])
        return angle, cumulative / cumulative[-1]


def like(number: float | Tensor, z: Tensor) -> Tensor:
    """A number or tensor with z's dtype and device."""
    return torch.as_tensor(number, dtype=z.dtype, device=z.device)


def _total(each: Tensor) -> PerSample:
    return each.flatten(1).sum(1) if each.ndim > 1 else each

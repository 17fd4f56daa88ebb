"""What a column of a table holds: values as numbers on the whole line, with exact log-determinants, and back.

    kind          y =                                          gain = log |dy/dv|               decoded
    Real          v                                            0                                any number
    Positive      log(v - low)                                 -y                               above low
    Bounded       probit p,   p = (v - low)/(high - low)       -log phi(y) - log(high - low)    in [low, high]
    Circular      probit p,   p = frac((v - cut)/period)       -log phi(y) - log period         from low, once round
    Categorical   probit p,   p = P(before v) + P(v) u         log P(v) - log phi(y)            one of its values
    Integer       w = v + u                                    0                                whole
                  log(exp(w - low) - 1), if bounded below      -log(1 - exp(low - w))           whole, at least low
                  as Bounded, if on both sides                                                  whole, low to high

with phi the normal density and probit its quantile function, so a uniform column is standard normal at once, and a
category has at the start the probability that it was counted with. u is uniform on [0, 1): for whole numbers and
categories log P(v) = log E_u exp(log p_y(y) + gain), of which some draws of u give a lower bound on average.

A value outside the support has gain = -inf, density 0. The ends of an interval belong to it: within 1e-9 of its width
they are taken for what stands 1e-9 inside. A circle is cut open where its data leave the widest gap, and densities are
free to differ on both sides of the cut.

References: Uria et al. 2013 (arXiv 1306.0186) for u; Hoogeboom et al. 2021 (arXiv 2102.05379) on categories in flows.
"""

import abc
import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain

Value = str | int | float | bool
"""One category."""

_EDGE = 1e-9


class Column(abc.ABC):
    """What a column holds; a frozen dataclass. Values are float64, categories the numbers of their values."""

    @property
    @abc.abstractmethod
    def discrete(self) -> bool:
        """Whether values have probabilities instead of densities."""

    @abc.abstractmethod
    def learned(self, values: Tensor) -> "Column":
        """The column with what it needs to know of these values: where to cut, how often each category is."""

    @abc.abstractmethod
    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """(y, gain) of values [n] and u [n] in [0, 1)."""

    @abc.abstractmethod
    def decode(self, y: Tensor) -> Tensor:
        """Values [n] within the support."""


class _Plain(Column):
    """Numbers with a density, of which nothing need be learned."""

    @property
    def discrete(self) -> bool:
        return False

    def learned(self, values: Tensor) -> Column:
        return self


@dataclass(frozen=True, slots=True)
class Real(_Plain):
    """Any number."""

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return values, torch.zeros_like(values)

    def decode(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True, slots=True)
class Positive(_Plain):
    """Numbers above `low`.

    >>> Positive().decode(torch.tensor([-800.0])) > 0
    tensor([True])
    """

    low: float = 0.0

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        inside = values > self.low
        y = torch.where(inside, values - self.low, 1.0).log()
        return y, torch.where(inside, -y, -math.inf)

    def decode(self, y: Tensor) -> Tensor:
        above = math.nextafter(self.low, math.inf) if self.low else float(torch.finfo(y.dtype).tiny)
        return (self.low + y.exp()).clamp(above, torch.finfo(y.dtype).max)


@dataclass(frozen=True, slots=True)
class Bounded(_Plain):
    """Numbers from `low` to `high`, ends included.

    Raises:
        ConfigError: an empty interval.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigError(explain("low < high, both finite", f"{self}", "Positive has one bound, Real none."))

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y, gain = _probit((values - self.low) / (self.high - self.low))
        inside = (values >= self.low) & (values <= self.high)
        return y, torch.where(inside, gain - math.log(self.high - self.low), -math.inf)

    def decode(self, y: Tensor) -> Tensor:
        return (self.low + (self.high - self.low) * torch.special.ndtr(y)).clamp(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Circular(Column):
    """Angles, hours, days of the year: v and v + period are the same. Samples lie in [low, low + period).

    Args:
        period: once round.
        low: where samples begin to count.
        cut: where the circle is opened; found from the data if None.
    """

    period: float = 2 * math.pi
    low: float = 0.0
    cut: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period < math.inf:
            raise ConfigError(explain("a period above 0", f"{self.period}", "Degrees have 360, radians 2 pi."))

    @property
    def discrete(self) -> bool:
        return False

    def learned(self, values: Tensor) -> Column:
        if self.cut is not None:
            return self
        sorted_values = torch.remainder(values, self.period).sort().values
        gaps = torch.cat([sorted_values[1:], sorted_values[:1] + self.period]) - sorted_values
        widest = int(gaps.argmax())
        return replace(self, cut=float(torch.remainder(sorted_values[widest] + gaps[widest] / 2, self.period)))

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y, gain = _probit(torch.remainder(values - (self.cut or 0.0), self.period) / self.period)
        return y, gain - math.log(self.period)

    def decode(self, y: Tensor) -> Tensor:
        turned = (self.cut or 0.0) + self.period * torch.special.ndtr(y) - self.low
        values = self.low + torch.remainder(turned, self.period)
        return torch.where(values < self.low + self.period, values, self.low)


@dataclass(frozen=True, slots=True)
class _Above(_Plain):
    """y = log(exp(v - low) - 1): as Positive near `low`, but a line far from it, so that sums of counts stay tame."""

    low: float

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        inside = values > self.low
        v = torch.where(inside, values - self.low, 1.0)
        slope = -torch.log(-torch.expm1(-v))
        return v - slope, torch.where(inside, slope, -math.inf)

    def decode(self, y: Tensor) -> Tensor:
        return self.low + torch.nn.functional.softplus(y)


@dataclass(frozen=True, slots=True)
class Integer(Column):
    """Whole numbers from `low` to `high`, both included; None is no bound.

    Raises:
        ConfigError: an upper bound without a lower one, or an empty range.
    """

    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        if self.high is not None and (self.low is None or self.high < self.low):
            raise ConfigError(explain("low <= high, or low alone", f"{self}", "Give both bounds, or low, or neither."))

    @property
    def discrete(self) -> bool:
        return True

    def learned(self, values: Tensor) -> Column:
        return self

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y, gain = self._spread.encode(values + u.clamp(_EDGE, 1 - _EDGE), u)
        return y, torch.where(values == values.floor(), gain, -math.inf)

    def decode(self, y: Tensor) -> Tensor:
        low, high = (
            bound if bound is not None else off for bound, off in ((self.low, -math.inf), (self.high, math.inf))
        )
        return self._spread.decode(y).floor().clamp(low, high)

    @property
    def _spread(self) -> Column:
        if self.low is None:
            return Real()
        return _Above(self.low) if self.high is None else Bounded(self.low, self.high + 1)


@dataclass(frozen=True, slots=True)
class Categorical(Column):
    """One of a few values; codes are their places in `values`.

    Args:
        values: all of them; those of the data, in order, if empty.
        shares: how often each was counted, plus 1; learned.

    Raises:
        ConfigError: a value twice.
    """

    values: tuple[Value, ...] = ()
    shares: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(set(self.values)) < len(self.values):
            raise ConfigError(explain("different values", f"{self.values}", "Name each once."))

    @property
    def discrete(self) -> bool:
        return True

    def learned(self, values: Tensor) -> Column:
        counts = values[values >= 0].long().bincount(minlength=len(self.values)) + 1.0
        return replace(self, shares=tuple((counts / counts.sum()).tolist()))

    def encode(self, values: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        shares = torch.tensor(self.shares, dtype=values.dtype)
        known = (values >= 0) & (values < len(shares))
        at = values.long().clamp(0, len(shares) - 1)
        share = shares[at]
        y, gain = _probit(shares.cumsum(0)[at] - share * (1 - u))
        return y, torch.where(known, gain + share.log(), -math.inf)

    def decode(self, y: Tensor) -> Tensor:
        ends = torch.tensor(self.shares, dtype=y.dtype).cumsum(0)[:-1]
        return torch.bucketize(torch.special.ndtr(y), ends, right=True).to(y.dtype)


def _probit(p: Tensor) -> tuple[Tensor, Tensor]:
    """(y, -log phi(y)) of probabilities, off the ends by a hair."""
    y = torch.special.ndtri(p.clamp(_EDGE, 1 - _EDGE))
    return y, 0.5 * y.square() + 0.5 * math.log(2 * math.pi)

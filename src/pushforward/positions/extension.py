"""Longer contexts without training anew: frozen values that say how frequencies change.

The c-th of r/2 pairs has the period p_c = base**(2c/r) and the frequency theta_c = 1/p_c in radians per position.
With f the factor by which the context grows, N the length trained on and L the length to serve:

    Plain              1 / p
    Interpolation      1 / p / f                                          all waves longer
    NTK                base -> base f**(r/(r-2))                          slow waves longer, fast ones kept
    DynamicNTK         base -> base (f L/N - (f - 1))**(r/(r-2)), L >= N
    YaRN               (1/(f p)) m + (1/p) (1 - m),   m = clip((c - low)/(high - low), 0, 1)
    Llama3             1/p for wavelengths below N/high, 1/p/f above N/low, a blend between
    LongRoPE           1 / (e_c p), e the short factors, or the long ones if L > N
    Proportional       1 / p / f for the first pairs, 0 for the rest

YaRN's low and high are corr(fast), corr(slow) with corr(n) = r ln(N/(2 pi n)) / (2 ln base). YaRN and LongRoPE also
multiply cosines and sines by an amplitude, so scores by its square.

A formula is written once and runs in two arithmetics (`arithmetic.py`): decimals, or float32 in the order of operations
that made the tables of published checkpoints. (YaRN's ends and the amplitudes are float64 numbers in both.) Where a
method depends on the length to serve, that length is a field: change it with `dataclasses.replace` and move cached
keys with `rerotate_`. Nothing changes behind your back.

References: Chen et al. 2023 (position interpolation), arXiv 2306.15595; Peng et al. 2023 (YaRN), arXiv 2309.00071;
Ding et al. 2024 (LongRoPE), arXiv 2402.13753; Grattafiori et al. 2024 (Llama 3), arXiv 2407.21783; Barbero et al.
2024 (p-RoPE), arXiv 2410.06205.
"""

import abc
import math
from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward.positions.arithmetic import Arithmetic, Number


class Extension(abc.ABC):
    """How the frequencies of a row of pairs are changed."""

    @abc.abstractmethod
    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        """Radians per position of each of `rotated // 2` pairs."""

    @property
    @abc.abstractmethod
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""


@dataclass(frozen=True, slots=True)
class Plain(Extension):
    """Frequencies as they were trained."""

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        return [1 / p for p in numbers.periods(numbers.constant(base), rotated)]


@dataclass(frozen=True, slots=True)
class Interpolation(Extension):
    """Position interpolation ("linear"): every position is divided by the factor.

    Args:
        factor: how many times longer the context becomes, at least 1.
    """

    factor: float

    def __post_init__(self) -> None:
        check_factor(self.factor)

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        f = numbers.constant(self.factor)
        return [1 / p / f for p in numbers.periods(numbers.constant(base), rotated)]


@dataclass(frozen=True, slots=True)
class NTK(Extension):
    """A larger base, so that the slowest wave grows by the factor and the fastest stays.

    Args:
        factor: how many times longer the context becomes, at least 1.
    """

    factor: float

    def __post_init__(self) -> None:
        check_factor(self.factor)

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        return _rebased(base, self.factor, rotated, numbers)


@dataclass(frozen=True, slots=True)
class DynamicNTK(Extension):
    """NTK whose factor follows the length: unchanged up to the trained length.

    Args:
        factor: how fast the base grows with the length, at least 1.
        trained: the length trained on.
        length: the length to serve. A cache made for another length must be moved (`rerotate_`).
    """

    factor: float
    trained: int
    length: int

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length(self.trained)

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        length = max(self.length, self.trained)
        return _rebased(base, self.factor * length / self.trained - (self.factor - 1), rotated, numbers)


@dataclass(frozen=True, slots=True)
class YaRN(Extension):
    """Fast waves are kept, slow ones interpolated, those between blended; scores are sharpened.

    Args:
        factor: how many times longer the context becomes, at least 1.
        trained: the length trained on.
        fast: waves that turn more often than this within the trained length are kept.
        slow: waves that turn less often than this are interpolated.
        truncate: round the ends of the blend to whole pairs, as most checkpoints do.
        attention_factor: the amplitude; None takes it from the factor, 0.1 ln(factor) + 1.
        mscale: with `mscale_all`, the amplitude is (0.1 mscale ln f + 1) / (0.1 mscale_all ln f + 1) (DeepSeek).
        mscale_all: see `mscale`.
    """

    factor: float
    trained: int
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length(self.trained)
        if not self.fast > self.slow > 0:
            raise ConfigError(explain("fast > slow > 0", f"fast={self.fast:g}, slow={self.slow:g}", "Swap them."))

    @property
    def amplitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all:
            return self._gain(self.mscale) / self._gain(self.mscale_all)
        return self._gain(1.0)

    def _gain(self, scale: float) -> float:
        return 0.1 * scale * math.log(self.factor) + 1.0

    def ends(self, base: float, rotated: int) -> tuple[float, float]:
        """First and last pair of the blend (fractional if not truncated)."""

        def pair(turns: float) -> float:
            return rotated * math.log(self.trained / (turns * 2 * math.pi)) / (2 * math.log(base))

        low, high = pair(self.fast), pair(self.slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, rotated - 1)
        return low, high + 0.001 if low == high else high

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        low, high = self.ends(base, rotated)
        f, start, width = (numbers.constant(z) for z in (self.factor, low, high - low))
        out: list[Number] = []
        for c, p in enumerate(numbers.periods(numbers.constant(base), rotated)):
            kept = 1 - min(max((numbers.number(c) - start) / width, 0), 1)
            out.append(1 / (f * p) * (1 - kept) + 1 / p * kept)
        return out


@dataclass(frozen=True, slots=True)
class Llama3(Extension):
    """Llama 3.1's rule: by wavelength, in positions.

    Args:
        factor: how many times slower the slowest waves become, at least 1.
        low: wavelengths above trained / low are slowed by the factor.
        high: wavelengths below trained / high are kept.
        trained: the length trained on.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    trained: int = 8192

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length(self.trained)
        if not self.high > self.low > 0:
            raise ConfigError(explain("high > low > 0", f"high={self.high:g}, low={self.low:g}", "Swap them."))

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        f, n, low, high = map(numbers.constant, (self.factor, self.trained, self.low, self.high))
        out: list[Number] = []
        for p in numbers.periods(numbers.constant(base), rotated):
            theta = 1 / p
            wavelength = numbers.turn / theta
            if wavelength > n / low:
                theta = theta / f
            elif not wavelength < n / high:
                kept = (n / wavelength - low) / (high - low)
                theta = (1 - kept) * theta / f + kept * theta
            out.append(theta)
        return out


@dataclass(frozen=True, slots=True)
class LongRoPE(Extension):
    """A factor for every pair, found by search: one set for short texts, one for long ones.

    Args:
        short: a factor per pair for lengths up to `trained`.
        long: a factor per pair beyond.
        trained: the length trained on.
        length: the length to serve. A cache made with the other set must be moved (`rerotate_`).
        factor: the longest length over the trained one; it sets the amplitude, sqrt(1 + ln f / ln trained).
        attention_factor: the amplitude, if not that.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    trained: int
    length: int
    factor: float = 1.0
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length(self.trained)

    @property
    def amplitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return math.sqrt(1 + math.log(self.factor) / math.log(self.trained))

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        factors = self.long if self.length > self.trained else self.short
        if len(factors) != rotated // 2:
            raise ConfigError(explain(
                f"a factor for each of {rotated // 2} pairs", f"{len(factors)}", "Check the size of a head.",
            ))  # fmt: skip
        periods = numbers.periods(numbers.constant(base), rotated)
        return [1 / (numbers.number(e) * p) for e, p in zip(factors, periods, strict=True)]


@dataclass(frozen=True, slots=True)
class Proportional(Extension):
    """The fastest pairs turn and the others stand still, with frequencies as if all turned (p-RoPE).

    Not to be confused with `Rotary(fraction=...)`, whose frequencies fill the rotated part and whose pairs lie in it.

    Args:
        fraction: the part of the pairs that turns, in (0, 1].
        factor: what their frequencies are divided by.
    """

    fraction: float
    factor: float = 1.0

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if not 0 < self.fraction <= 1:
            raise ConfigError(explain("a fraction in (0, 1]", f"{self.fraction:g}", "Use Unordered to turn none."))

    @property
    def amplitude(self) -> float:
        return 1.0

    def frequencies(self, base: float, rotated: int, numbers: Arithmetic) -> list[Number]:
        f, turning = numbers.constant(self.factor), int(self.fraction * rotated // 2)
        periods = numbers.periods(numbers.constant(base), rotated)
        return [1 / p / f if c < turning else numbers.number(0) for c, p in enumerate(periods)]


def check_factor(factor: float) -> None:
    """Refuse to shorten a context."""
    if not 1 <= factor < math.inf:
        raise ConfigError(
            explain("a factor of at least 1", f"{factor:g}", "It is the new length over the trained one.")
        )


def check_length(trained: int) -> None:
    """Refuse a trained length whose logarithm is 0 or nothing."""
    if trained < 2:
        raise ConfigError(explain("a trained length of at least 2", f"{trained}", "It counts tokens."))


def _rebased(base: float, growth: float, rotated: int, numbers: Arithmetic) -> list[Number]:
    """Frequencies of the base times growth**(r/(r-2))."""
    if rotated <= 2:
        raise ConfigError(explain("more than one rotated pair", f"{rotated // 2}", "NTK has nothing to spread there."))
    exponent = numbers.constant(rotated) / numbers.constant(rotated - 2)
    larger = numbers.constant(base) * numbers.constant(growth) ** exponent
    return [1 / p for p in numbers.periods(larger, rotated)]

"""Where a path stands at the times of a grid, as plain numbers in double precision.

Solvers of fixed steps know all their times beforehand, so whatever they multiply by is computed once, here, and the
loop over steps touches no tensor but the samples'. In the letters of the docstrings around:

    rho = sigma / alpha        u = alpha / sigma        theta = atan2(sigma, alpha)        lambda = log u

rho is the noise level of EDM, x / alpha its variance-exploding sample; lambda is half the log-SNR.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from pushforward._errors import ConfigError, ConversionError, explain
from pushforward.paths import Coefficients, Path, Prediction, Row, bridge, velocity
from pushforward.solvers.grids import Grid, checked


class Level(NamedTuple):
    """One time of a grid and the path's coefficients there."""

    t: float
    alpha: float
    sigma: float
    alpha_dot: float
    sigma_dot: float

    @property
    def size(self) -> float:
        """sqrt(alpha**2 + sigma**2)."""
        return math.hypot(self.alpha, self.sigma)

    @property
    def ratio(self) -> float:
        """rho = sigma / alpha, infinite where no signal is left."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def angle(self) -> float:
        """theta, from 0 at clean data to pi / 2 at pure noise."""
        return math.atan2(self.sigma, self.alpha)

    @property
    def share(self) -> float:
        """tau = sigma / (alpha + sigma), the time of the straight path with the same ratio."""
        return self.sigma / (self.alpha + self.sigma)

    @property
    def log_ratio(self) -> float:
        """log rho = -lambda, infinite at both pure ends."""
        return math.log(self.ratio) if self.alpha and self.sigma else math.copysign(math.inf, self.sigma - self.alpha)


CLEAN = Level(0.0, 1.0, 0.0, 0.0, 0.0)
"""Data without noise, where the paths that end above them do not go."""


def levels(path: Path, times: Sequence[float]) -> tuple[Level, ...]:
    """The path at these times."""
    c = path.coefficients(torch.tensor(times, dtype=torch.float64))
    return tuple(Level(*row) for row in zip(times, *(part.tolist() for part in c)))


def grid_levels(grid: Grid, steps: int, path: Path, start: float, end: float, clean: bool) -> tuple[Level, ...]:
    """The levels where the network is called, and the last, where it is not: with `clean`, t = 0 stands for clean data.

    Raises:
        ConfigError: times that do not go one way within [0, 1].
    """
    if start == end:
        raise ConfigError(explain("an end that is not the start", f"t={start:g} twice", "Give another end."))
    checked((start, end), path)
    if clean and end == 0 and levels(path, (end,))[0].sigma > 0:
        if grid.stops_short:
            times = grid.times(steps, start, end, path)[:-1]
        else:
            times = grid.times(steps - 1, start, end, path) if steps > 1 else (start,)
        return (*levels(path, checked(times, path)), CLEAN._replace(t=end))
    return levels(path, checked(grid.times(steps, start, end, path), path))


def bridges(
    here: Sequence[Level], source: Prediction, target: Prediction, strict: bool = True
) -> tuple[tuple[float, float], ...]:
    """(a, b) at each level, with target = a x_t + b m for a network's output m of kind `source`.

    Where the output does not determine the target, they are NaN if not `strict`.

    Raises:
        ConversionError: strict, and there is such a level.
    """
    columns = [torch.tensor(column, dtype=torch.float64) for column in zip(*here)]
    try:
        a, b = bridge(Coefficients(*columns[1:]), source, target)
    except ConversionError:
        if strict:
            raise
        if len(here) == 1:
            return ((math.nan, math.nan),)
        return sum((bridges([level], source, target, strict=False) for level in here), ())
    return tuple(zip(a.tolist(), b.tolist()))


def needs_path(path: Path | None, solver: object) -> Path:
    """The path, for solvers that cannot do without.

    Raises:
        ConfigError: there is none.
    """
    if path is None:
        got = f"none for {type(solver).__name__}"
        raise ConfigError(explain("a path", got, "Pass path=, or use Euler, Midpoint, Heun, RK4 or Adaptive."))
    return path


def velocity_needs(path: Path | None, prediction: Prediction) -> None:
    """Refuse an output that is no velocity where no path says how to make it one.

    Raises:
        ConfigError: there is no path.
    """
    if path is None and prediction != velocity:
        got = f"{prediction.name!r} without one"
        raise ConfigError(explain("a path, to turn the output into a velocity", got, "Pass path= as well."))


@dataclass(frozen=True, slots=True)
class _Point(Prediction):
    """alpha x0 + sigma eps at another level: what DDIM moves to, as a row of the table."""

    level: Level

    @property
    def name(self) -> str:
        return f"x at t={self.level.t:g}"

    def row(self, c: Coefficients) -> Row:
        one = torch.ones_like(c.alpha)
        return Row(one * self.level.alpha, one * self.level.sigma, one)


def across(here: Level, later: Level, prediction: Prediction) -> tuple[float, float]:
    """(a, b) of a DDIM step, x_later = a x + b m: x0 and eps are held, exact where they do not change."""
    return bridges([here], prediction, _Point(later))[0]

"""Exponential multistep methods: what is known of the ODE is solved exactly, what the network says is extrapolated.

In the right variable the probability-flow ODE is a plain integral of what a network says. With rho = sigma / alpha,
u = 1 / rho, theta = atan2(sigma, alpha), s = hypot(alpha, sigma), w = alpha + sigma and tau = sigma / w:

    hold x0     d(x / sigma) = x0 du               x' = (sigma' / sigma) x + sigma' int x0 du
    hold eps    d(x / alpha) = eps drho            x' = (alpha' / alpha) x + alpha' int eps drho
    hold v      d(x / s) = (v / s) dtheta          x' = (s' / s) x         + s' int (v / s) dtheta
    hold flow   d(x / w) = (eps - x0) dtau         x' = (w' / w) x         + w' int (eps - x0) dtau

A method of order k puts a polynomial in some clock through the last k held values and integrates that, so each is a row
of weights w_j = int l_j(clock) d(variable), with l_j Lagrange's polynomials. Order 1 is DDIM (but for v: Euler on the
circle).

    hold   clock             known as
    x0     log_snr           DPM-Solver++ (multistep), exponential Adams-Bashforth
    eps    log_snr           DPM-Solver (multistep)
    eps    ratio             DEIS with rho as the clock, iPNDM for equal intervals
    v      angle             Adams-Bashforth on the circle
    flow   linear            Adams-Bashforth on the straight path

With `correct`, the value that a step reached is put right at the next call with the polynomial that goes through the
new value too (UniPC): one order more for the same number of calls.

References: Lu et al. 2022 (arXiv 2206.00927, 2211.01095), Zhang and Chen 2022 (arXiv 2204.13902), Zhao et al. 2023
(arXiv 2302.04867), Hochbruck and Ostermann 2010 for exponential methods.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch

from pushforward._errors import ConfigError, explain
from pushforward.paths import Coefficients, Path, Prediction, Row, eps, v, x0
from pushforward.solvers.levels import Level, across, bridges
from pushforward.solvers.multistep import Linear, Step

Hold = Literal["x0", "eps", "v", "flow"]
Clock = Literal["log_snr", "ratio", "angle", "linear"]


@dataclass(frozen=True, slots=True)
class _Flow(Prediction):
    """eps - x0, the velocity of the straight path, on any path."""

    @property
    def name(self) -> str:
        return "eps - x0"

    def row(self, c: Coefficients) -> Row:
        one = torch.ones_like(c.alpha)
        return Row(-one, one, one)


HELD: Mapping[Hold, Prediction] = MappingProxyType({"x0": x0, "eps": eps, "v": v, "flow": _Flow()})
"""What may be held, as rows of the table; v is divided by s."""


@dataclass(frozen=True)
class Exponential(Linear):
    """Exponential Adams-Bashforth of orders 1 to 4, with Adams-Moulton's correction if wanted.

    Args:
        order: how many values the polynomial goes through; 2 and 3 are usual.
        hold: what is extrapolated. x0 is the safe choice under guidance and for few steps.
        clock: the variable of the polynomial.
        correct: put each step right at the next call.

    At the end that a clock does not reach (log-SNR at clean data) a step is of order 1. Pure noise, which log-SNR does
    not reach either, counts as rho = exp(5), where chains begin.
    """

    order: int = 2
    hold: Hold = "x0"
    clock: Clock = "log_snr"
    correct: bool = False

    def validate(self) -> None:
        if not 1 <= self.order <= 4 or self.hold not in HELD or self.clock not in _CLOCKS:
            got = f"order {self.order}, hold {self.hold!r}, clock {self.clock!r}"
            expected = f"an order of 1 to 4, hold of {', '.join(HELD)}, and clock of {', '.join(_CLOCKS)}"
            raise ConfigError(explain(expected, got, "Change it."))

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        here, later = nodes[i], nodes[i + 1]
        before = [nodes[i - back] for back in range(min(self.order, i - first + 1))]
        hold = self._row(here, prediction)
        weights = self._weights(here, later, before) if hold else ()
        # where what is held says too little, at one end of the path: DDIM
        carried, direct = (self._carried(here, later), 0.0) if weights else across(here, later, prediction)
        if hold and self.correct and i > first:
            pairs = zip_longest(weights, self._fix(nodes, i, first), fillvalue=0.0)
            weights = tuple(weight + carried * fix for weight, fix in pairs)
        return Step(carried, direct, weights, hold=hold or (0.0, 0.0))

    def _row(self, here: Level, prediction: Prediction) -> tuple[float, float] | None:
        """(a, b) of what is held here, or None where the output does not say."""
        a, b = bridges([here], prediction, HELD[self.hold], strict=False)[0]
        if math.isnan(a):
            return None
        return (a / here.size, b / here.size) if self.hold == "v" else (a, b)

    def _carried(self, here: Level, later: Level) -> float:
        """What x is multiplied by."""
        return _coordinate(self.hold, later) / _coordinate(self.hold, here)

    def _weights(self, here: Level, later: Level, at: Sequence[Level]) -> tuple[float, ...]:
        """Weights of the values held at these levels; none where x cannot be carried."""
        if _coordinate(self.hold, here) == 0:
            return ()
        readings = [self._reading(level) for level in at]
        known = next((k for k, reading in enumerate(readings) if not math.isfinite(reading)), len(readings))
        if known < 2 or not math.isfinite(self._reading(later)):
            carried = self._carried(here, later)
            if self.hold == "v":
                return (later.size * (later.angle - here.angle),)
            if self.hold == "x0":
                return (later.alpha - here.alpha * carried,)
            return (later.sigma - here.sigma * carried,)
        return _integrals(self.hold, here, later, tuple(readings[:known]), _CLOCKS[self.clock])

    def _fix(self, nodes: Sequence[Level], i: int, first: int) -> tuple[float, ...]:
        """How the step from node i - 1 changes once node i has spoken."""
        here, now = nodes[i - 1], nodes[i]
        back = [nodes[i - 1 - k] for k in range(min(self.order, i - first))]
        predicted, better = self._weights(here, now, back), self._weights(here, now, [now, *back])
        if len(better) < 2:
            return ()
        padded = (*predicted, *(0.0,) * (len(better) - 1 - len(predicted)))
        return (better[0], *(after - was for after, was in zip(better[1:], padded)))

    def _reading(self, level: Level) -> float:
        """The clock at a level."""
        log_ratio = level.log_ratio if level.alpha else NOISE
        table = {"log_snr": log_ratio, "ratio": level.ratio, "angle": level.angle, "linear": level.share}
        return table[self.clock]


def _coordinate(hold: Hold, level: Level) -> float:
    """What x is divided by, so that the held quantity is the slope of the quotient."""
    return {"x0": level.sigma, "eps": level.alpha, "v": level.size, "flow": level.alpha + level.sigma}[hold]


NOISE = 5.0
"""What the clock of log-SNR reads at pure noise, where it has no reading: log(rho) at the top of usual chains."""

_CLOCKS: dict[Clock, Callable[[np.ndarray], np.ndarray]] = {
    "log_snr": lambda angle: np.log(np.tan(angle)),
    "ratio": np.tan,
    "angle": np.asarray,
    "linear": lambda angle: np.sin(angle) / (np.sin(angle) + np.cos(angle)),
}
"""Each clock as a function of the angle."""


def _integrals(
    hold: Hold, here: Level, later: Level, at: tuple[float, ...], clock: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, ...]:
    """The weights of the values held where the clock reads `at`, by Gauss and Legendre's quadrature."""
    if hold == "x0" and later.sigma == 0:  # all the weight is at the end
        return tuple(later.alpha * float(basis[0]) for basis in _lagrange(at, clock(np.zeros(1))))
    points, weights = _gauss()
    if hold in ("v", "flow") or here.alpha == 0 or later.sigma == 0:
        angle = here.angle + (later.angle - here.angle) * points
        sin, cos = np.sin(angle), np.cos(angle)
        slope = {"x0": -1 / sin**2, "eps": 1 / cos**2, "v": np.ones_like(angle), "flow": 1 / (sin + cos) ** 2}[hold]
        measure = weights * slope * (later.angle - here.angle)
    else:  # in log(rho), where both kernels are exponentials
        start, change = here.log_ratio, later.log_ratio - here.log_ratio
        ratio = np.exp(start + change * points)
        angle, measure = np.arctan(ratio), weights * change * {"x0": -1 / ratio, "eps": ratio}[hold]
    return tuple(_coordinate(hold, later) * float(measure @ basis) for basis in _lagrange(at, clock(angle)))


def _lagrange(at: tuple[float, ...], z: np.ndarray) -> list[np.ndarray]:
    """Lagrange's polynomials through `at`, at the places z."""
    return [
        np.prod([(z - other) / (own - other) for other in at if other != own], axis=0) * np.ones_like(z) for own in at
    ]


@cache
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss and Legendre's rule on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(32)
    return (points + 1) / 2, weights / 2

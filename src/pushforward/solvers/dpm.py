"""DPM-Solver++ and its stochastic form, to the letter of their papers and reference programs.

In lambda = log(alpha / sigma), with h = lambda' - lambda, g = (1 + eta) h and D_0, D_1, D_2 the newest x0 estimates,

    x' = (sigma' / sigma) e**(-eta h) x + alpha' ( (1 - e**-g) D_0 + phi_2 d - phi_3 c )
         + sigma' sqrt(1 - e**(-2 eta h)) z

    order 1     d = c = 0                                                            (eta = 0: DDIM)
    order 2     d = (D_0 - D_1) / r with the weight (1 - e**-g) / 2 for phi_2       (2M)
    order 3     d, c the divided differences of three, phi_2 = (e**-g - 1) / g + 1, phi_3 = phi_2 / g - 1 / 2     (3M)

r is the previous interval over this one. eta = 0 is the ODE, eta = 1 the SDE with the noise of the reverse process.
The last interval into clean data is of order 1. The published 3M gives c half the weight of the exact integral
(2 phi_3), so it converges with order 2; `Exponential(hold="x0", order=3)` has the exact weights and order 3.

References: Lu et al. 2022 (arXiv 2211.01095); Crowson 2022 (k-diffusion) for the stochastic 2M and 3M.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward.paths import Path, Prediction, x0
from pushforward.solvers.levels import Level, across, bridges
from pushforward.solvers.multistep import Linear, Step


@dataclass(frozen=True)
class DPMSolver(Linear):
    """DPM-Solver++ multistep of orders 1 to 3, and SDE-DPM-Solver++ for eta above 0.

    Args:
        order: 1, 2 (2M) or 3 (3M).
        eta: 0 is deterministic, 1 the reverse SDE.
    """

    order: int = 2
    eta: float = 0.0

    def validate(self) -> None:
        if not 1 <= self.order <= 3 or self.eta < 0:
            got = f"order {self.order}, eta {self.eta}"
            raise ConfigError(explain("an order of 1 to 3 and an eta of 0 or more", got, "Change it."))

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        here, later = nodes[i], nodes[i + 1]
        hold = bridges([here], prediction, x0)[0]
        if not (here.alpha and here.sigma and later.alpha and later.sigma):
            return Step(*across(here, later, prediction), hold=hold)
        h = here.log_ratio - later.log_ratio
        known = [nodes[i - back] for back in range(min(self.order, i - first + 1)) if nodes[i - back].alpha]
        weights = _weights([level.log_ratio for level in known], h, (1 + self.eta) * h)
        return Step(
            later.sigma / here.sigma * math.exp(-self.eta * h),
            0.0,
            tuple(later.alpha * weight for weight in weights),
            noise=later.sigma * math.sqrt(-math.expm1(-2 * self.eta * h)) if h > 0 else 0.0,
            hold=hold,
        )


def _weights(at: Sequence[float], h: float, g: float) -> tuple[float, ...]:
    """What D_0, D_1, ... are multiplied by, where log(rho) was `at`."""
    whole = -math.expm1(-g)
    if len(at) == 1:
        return (whole,)
    r = (at[1] - at[0]) / h
    if len(at) == 2:
        return (whole * (1 + 0.5 / r), -whole * 0.5 / r)
    r_2 = (at[2] - at[1]) / h
    phi_2 = 1 - whole / g
    phi_3 = phi_2 / g - 0.5
    mix = r / (r + r_2)
    # d = (1 + mix) (D_0 - D_1) / r - mix (D_1 - D_2) / r_2,   c = ((D_0 - D_1) / r - (D_1 - D_2) / r_2) / (r + r_2)
    newer = (phi_2 * (1 + mix) - phi_3 / (r + r_2)) / r
    older = (-phi_2 * mix + phi_3 / (r + r_2)) / r_2
    return (whole + newer, older - newer, -older)

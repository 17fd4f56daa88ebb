"""DDIM and DDPM: move to the next level along what the network says now, with or without noise of one's own.

With x0 and eps solved from the network's output, rho = sigma / alpha,

    x' = alpha' x0 + sqrt(sigma'**2 - s**2) eps + s z,       s = eta alpha' rho' sqrt(1 - (rho' / rho)**2)

eta = 0 is DDIM, eta = 1 the posterior of the forward process, DDPM's ancestral sampling with its smaller variance.

References: Ho et al. 2020 (arXiv 2006.11239), Song et al. 2020 (arXiv 2010.02502, eq. 16).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward.paths import Path, Prediction
from pushforward.solvers.levels import Level, across
from pushforward.solvers.multistep import Linear, Step


@dataclass(frozen=True)
class DDIM(Linear):
    """First order and deterministic: x0 and eps are held over each interval.

    >>> import torch
    >>> from pushforward.paths import Linear
    >>> from pushforward.solvers.state import drain
    >>> drain(DDIM(steps=1).trajectory(lambda x, t: x - 3.0, torch.ones(1, 1), path=Linear()))  # 1 - (1 - 3)
    tensor([[3.]])
    """

    def validate(self) -> None:
        pass

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        return Step(*across(nodes[i], nodes[i + 1], prediction))


@dataclass(frozen=True)
class Ancestral(Linear):
    """DDPM's sampling over any grid, and everything between it and DDIM.

    Args:
        eta: 1 is DDPM, 0 is DDIM.
    """

    eta: float = 1.0

    def validate(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ConfigError(explain("an eta of 0 to 1", f"{self.eta}", "1 is DDPM, 0 is DDIM."))

    def step(self, nodes: Sequence[Level], i: int, first: int, prediction: Prediction, path: Path) -> Step:
        here, later = nodes[i], nodes[i + 1]
        fresh = later.ratio / here.ratio if later.ratio <= here.ratio else 1.0
        s = self.eta * later.sigma * math.sqrt(1 - fresh**2)
        kept = later._replace(sigma=math.sqrt(later.sigma**2 - s**2))
        return Step(*across(here, kept, prediction), noise=s)

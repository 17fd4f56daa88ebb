"""Pairs that do not cross: minibatch optimal transport.

Of the ways to pair the data of a batch with its noise, take the one that moves least,

    min over plans P with uniform marginals of   sum_ij P_ij |x0_i - eps_j|**2   (+ r P log P):

a permutation without r (exact), or with it a plan from which each event draws its noise (Sinkhorn; r in units of the
mean cost). Each noise is still normal and each event still data, so the flow ends where it must, on straighter lines,
and the fewer steps it takes the more that matters.

Given a context, each context is matched on its own. Matched together, the data of each class would get the noise
nearest to it, the noise of a class would no longer be the source, and samples of that class, which start from the whole
source, would start where nothing was learned. (A context that no other event of the batch shares leaves nothing to
match: with continuous contexts this is the independent coupling.)

A pair depends on its whole batch: equal batches are paired equally, but a part of a batch otherwise than the whole. Of
all that training draws only this does not split by sample, so gradient accumulation and more processes change it.

References: Tong et al. 2023 (arXiv 2302.00482), Pooladian et al. 2023 (arXiv 2304.14772), Cheng and Schwing 2025
(arXiv 2503.10636) for the context; Cuturi 2013 (arXiv 1306.0895) for the entropy. POT (Flamary et al. 2021) solves.
"""

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, Sample
from pushforward.paths.coupling import Coupling, Independent, groups


@dataclass(frozen=True, slots=True)
class OptimalTransport(Coupling):
    """The noise of a batch, rearranged so that pairs move least within each context.

    Args:
        regularisation: r, in units of the mean squared distance; 0 is exact, 0.01 to 0.1 usual for Sinkhorn.
        source: where the noise comes from before it is rearranged.
        iterations: at most so many of the solver's.

    Raises:
        ConfigError: a negative r; when pairing, POT is not installed.
    """

    regularisation: float = 0.0
    source: Coupling = Independent()
    iterations: int = 1_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.regularisation < math.inf:
            fix = "0 is exact, 0.05 a usual start for Sinkhorn."
            raise ConfigError(explain("a regularisation of 0 or more", repr(self.regularisation), fix))

    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        eps, solver = self.source.pair(x0, context, draw), pot()
        chance = draw.of("plan").uniform(len(x0), dtype=torch.float64).to(x0.device)
        chosen = torch.arange(len(x0), device=x0.device)
        for rows in groups(context, len(x0)):
            rows = rows.to(x0.device)
            cost = torch.cdist(x0[rows].flatten(1).double(), eps[rows].flatten(1).double()).square()
            chosen[rows] = rows[self._match(solver, cost, chance[rows])]
        return eps[chosen]

    def _match(self, solver: Any, cost: Tensor, chance: Tensor) -> Tensor:
        """Which column each row is paired with, [rows]."""
        n = len(cost)
        if n == 1:
            return torch.zeros_like(chance, dtype=torch.long)
        if self.regularisation == 0:
            plan = solver.emd([], [], cost.cpu().numpy(), numItermax=self.iterations)
            return torch.as_tensor(plan).argmax(1).to(cost.device)
        even, entropy = torch.full_like(chance, 1 / n), self.regularisation * cost.mean().item()
        plan = solver.sinkhorn(
            even, even, cost, entropy, method="sinkhorn_log", numItermax=min(self.iterations, 2000), warn=False
        )
        reached = plan.cumsum(1)
        return torch.searchsorted(reached, chance[:, None] * reached[:, -1:]).squeeze(1).clamp(max=n - 1)


def pot() -> Any:
    """POT, imported when it is first needed.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("ot")
    except ModuleNotFoundError as error:
        fix = "Install it: pip install 'pushforward[ot]'."
        raise ConfigError(explain("the package POT for optimal transport", "an environment without it", fix)) from error

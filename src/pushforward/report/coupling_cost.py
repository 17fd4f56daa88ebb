"""What a coupling pays to move noise to data, and what it would have to pay.

    paid = E |eps - x0|**p,      least = min over permutations of the same points,      ratio = paid / least >= 1

For every convex cost of the difference reflow pays no more than before (Liu et al. 2022, arXiv 2209.03003, theorem
3.5), and p = 1, 2 and 4 are three of them; least is what is left to win. It is exact, of the points at hand: pairs are
cut into random blocks and matched within each, contexts apart. Few points can be matched less well than whole
distributions, so the ratio is below that of the distributions, and the more so the more numbers an event has.

The ratio of two means over B blocks has the error of its linearisation, std(paid_b - ratio least_b) / (sqrt(B) least).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward.objectives import Pairs
from pushforward.paths.coupling import groups
from pushforward.paths.optimal_transport import pot
from pushforward.report.estimate import Estimate, mean

_ITERATIONS = 10**7


@dataclass(frozen=True, slots=True)
class CouplingCost:
    """What is paid, and what would do.

    Args:
        power: p.
        paid: E |eps - x0|**p of the pairs, in units of the data to the power p.
        least: the same of the best permutation.
        ratio: how many times the least is paid; 1 is optimal.
    """

    power: float
    paid: Estimate
    least: Estimate
    ratio: Estimate

    def __str__(self) -> str:
        return f"E|eps - x0|**{self.power:g} = {self.paid}, at least {self.least}: {self.ratio} times"


def coupling_cost(pairs: Pairs, power: float = 2.0, blocks: int = 8) -> CouplingCost:
    """The cost of pairs beside the exact optimum for the same points; POT solves (the extra `ot`).

    Args:
        pairs: of a model, `objectives.pairs(model, n)`, or of any coupling, `objectives.matched(x, coupling)`.
        power: p of |eps - x0|**p, at least 1, where it is convex.
        blocks: how many sets of points are matched, each on its own. A few thousand pairs to a block take seconds.

    Raises:
        ConfigError: a power below 1, less than two blocks, or POT is not installed.
        ShapeError: less than two pairs to a block.

    >>> from pushforward.models import gaussian
    >>> from pushforward.objectives import pairs
    >>> found = coupling_cost(pairs(gaussian(std=0.5, shape=(2,)), 64), blocks=2)  # a normal's flow is the optimal map
    >>> round(found.ratio.value, 6)
    1.0
    """
    if not (power >= 1 and blocks >= 2):
        fix = "1, 2 and 4 are usual powers, 8 blocks enough."
        raise ConfigError(explain("a power of 1 or more, and two blocks or more", f"{power:g} and {blocks}", fix))
    if len(pairs) < 2 * blocks:
        got, fix = f"{len(pairs)} for {blocks} blocks", "Make more pairs."
        raise ShapeError(explain("two pairs or more to a block", got, fix))
    parts = [_block(pairs, rows, power) for rows in Draw(0, "blocks").permutation(len(pairs)).tensor_split(blocks)]
    paid, least = (torch.tensor(column, dtype=torch.float64) for column in zip(*parts))
    ratio = float(paid.mean() / least.mean())
    error = float((paid - ratio * least).std() / math.sqrt(blocks) / least.mean())
    return CouplingCost(power, mean(paid), mean(least), Estimate(ratio, error))


def _block(pairs: Pairs, rows: Tensor, power: float) -> tuple[float, float]:
    """The mean cost of these pairs, and of the best permutation of them."""
    x, eps = (end[rows].flatten(1).double().cpu() for end in (pairs.x, pairs.eps))
    paid = (eps - x).square().sum(1).sqrt() ** power
    context = None if pairs.context is None else pairs.context[rows].cpu()
    least = sum(_least(x[these], eps[these], power) for these in groups(context, len(rows)))
    return float(paid.mean()), least / len(rows)


def _least(x: Tensor, eps: Tensor, power: float) -> float:
    """The sum of the best permutation's costs."""
    cost = torch.cdist(x, eps, compute_mode="donot_use_mm_for_euclid_dist") ** power
    plan = torch.as_tensor(pot().emd([], [], cost.numpy(), numItermax=_ITERATIONS))
    return float(cost.gather(1, plan.argmax(1, keepdim=True)).sum())

"""Who may depend on whom: the order, the levels and the units of a masked network.

An adjacency says which numbers of an event each number may depend on, A[i, j] for "i on j"; it must have no
cycle. Everything else follows:

    level(i) = 1 + max level of those i depends on        0 if there are none: known at once
    order    = numbers by level                           then A is strictly lower triangular in blocks
    set(u)   = one of the distinct rows of A              what hidden unit u has seen

with u feeding u' where set(u) is within set(u'), and output i where set(u) is within row i. Units are sorted
by the level at which their set is complete, so every mask is triangular in blocks as well, whatever the graph:
half of each product is never computed, and a unit never changes once its set is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain


def ranked(features: int, order: Tensor | Sequence[int] | None = None, passes: int | None = None) -> Tensor:
    """The adjacency of a total order, or of the coarser one that is known after `passes` passes.

    Args:
        features: how many numbers an event has.
        order: which number stands at each place; in their own order by default.
        passes: levels of (nearly) equal size; `features` by default, 2 is a coupling, 1 lets nobody see.

    Raises:
        ConfigError: an order that is no permutation, or impossible passes.

    >>> ranked(3, order=[2, 0, 1]).int().tolist()
    [[0, 0, 1], [1, 0, 1], [0, 0, 0]]
    """
    order = torch.arange(features) if order is None else torch.as_tensor(order, dtype=torch.int64).cpu()
    if not torch.equal(order.sort().values, torch.arange(features)):
        fix = "Give the number at each place, as torch.randperm(n) does."
        raise ConfigError(explain(f"an order holding each of 0..{features - 1} once", f"{order.tolist()}", fix))
    passes = features if passes is None else passes
    if not 1 <= passes <= features:
        raise ConfigError(explain(f"from 1 to {features} passes", f"{passes}", "2 passes are a coupling."))
    level = order.argsort() * passes // features
    return level[:, None] > level


@dataclass(frozen=True, slots=True)
class Dependencies:
    """A graph laid out for computing, every tensor on the CPU.

    Args:
        order: which number stands at each place, [features].
        rows: the adjacency of the places, [features, features].
        sets: what each hidden unit has seen, [units, features], sorted by when that is known.
        sizes: how many places each level has.
        ready: how many units are known once all levels below are, for each level.
    """

    order: Tensor
    rows: Tensor
    sets: Tensor
    sizes: tuple[int, ...]
    ready: tuple[int, ...]

    def feeds(self, rows: Tensor) -> Tensor:
        """Which units may feed something that may depend on `rows` [n, features]: [n, units]."""
        outside = (~rows).to(torch.float32) @ self.sets.T.to(torch.float32)
        return outside == 0


def dependencies(adjacency: Tensor, units: int, blind: bool = False) -> Dependencies:
    """Lay out a graph for a layer of `units` hidden units.

    Args:
        adjacency: A[i, j] says that number i may depend on number j, boolean [features, features].
        units: hidden units; spread evenly over the distinct rows of A.
        blind: give an eighth of the units nothing to see: a context then reaches numbers that see nobody.

    Raises:
        ConfigError: not a square, a cycle, or too few units for each number to hear from somebody.
    """
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
        fix = "Give a boolean square, A[i, j] for 'i depends on j'."
        raise ConfigError(explain("an adjacency [features, features]", f"shape {tuple(adjacency.shape)}", fix))
    adjacency = adjacency.to("cpu", torch.bool)
    level = _levels(adjacency)
    order = level.argsort(stable=True)
    rows, level = adjacency[order][:, order], level[order]
    sets, known = _spread(rows, level, units, blind)
    sizes = tuple(torch.bincount(level).tolist())
    ready = tuple(int((known <= each).sum()) for each in range(len(sizes)))
    found = Dependencies(order, rows, sets, sizes, ready)
    deaf = rows.any(1) & ~found.feeds(rows).any(1)
    if bool(deaf.any()):
        got = f"{units} units, with which {int(deaf.sum())} numbers would depend on nobody"
        raise ConfigError(explain("a unit for each number that depends on others", got, "Make hidden larger."))
    return found


def _levels(adjacency: Tensor) -> Tensor:
    """The longest way to each number, [features]: peel off those that wait for nobody, again and again."""
    level, waiting = torch.full((len(adjacency),), -1), adjacency.sum(1)
    for each in range(len(adjacency)):
        free = (waiting == 0) & (level < 0)
        level[free] = each
        waiting -= adjacency[:, free].sum(1)
    if bool((level < 0).any()):
        fix = "Remove an edge; no number may depend on itself."
        raise ConfigError(explain("an adjacency without cycles", "one with a cycle", fix))
    return level


def _spread(rows: Tensor, level: Tensor, units: int, blind: bool) -> tuple[Tensor, Tensor]:
    """A set for each unit [units, features] and the level by which it is known [units], sorted by it."""
    kinds = torch.unique(rows, dim=0)
    known = torch.where(kinds, level + 1, 0).amax(1)
    by_time = (known * (len(rows) + 1) + kinds.sum(1)).argsort(stable=True)
    kinds, known = kinds[by_time], known[by_time]
    sighted = kinds.any(1)
    seeing, count = sighted.nonzero().squeeze(1), units
    blinded = torch.zeros(0, dtype=torch.int64)
    if not len(seeing):
        return kinds[:1].expand(units, -1), known[:1].expand(units)
    if blind:
        blinded = (~sighted).nonzero().squeeze(1).expand(min(max(1, units // 8), units - 1))
        count = units - len(blinded)
    place = torch.arange(count) * len(seeing) // count
    if count < len(seeing):
        place = torch.linspace(0, len(seeing) - 1, count, dtype=torch.float64).round().long()
    chosen = torch.cat([blinded, seeing[place]])
    return kinds[chosen], known[chosen]

"""What a flow of every conditional learns from a table: some values asked for, some known, some missing.

    with probability c    a value is known with probability s ~ U[0, 1); of the others, all are asked for in half of
                          these rows, and in half each is left out with probability r ~ U[0, 1) (marginals)
    otherwise             every value that is there is asked for: p(row) keeps 1 - c of the training

s and r are drawn for the row, so that few, some and many known values are equally likely.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.data.columns import Columns
from pushforward.data.order import order
from pushforward.models import AnyConditional


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Batches of asked numbers and contexts without end, for `train`.

    Args:
        values: of the table, [rows, columns], NaN where missing.
        middle: the same standardised, u = 1/2 for whole numbers and categories: what is conditioned on.
        columns: how to standardise.
        model: which prepares what its flow is given.
        conditionals: share of the rows of which some values are known.
    """

    values: Tensor
    middle: Tensor
    columns: Columns
    model: AnyConditional
    conditionals: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return (self.values.shape[1],)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """As `data.Dataset.batches`."""
        for step, rows in order(len(self.values), size, draw, start, rank, world):
            yield self._batch(self.values[rows], self.middle[rows], step)

    def named(self, size: int, draw: Draw, step: int, rank: int = 0, world: int = 1) -> list[str]:
        """As `data.Dataset.named`."""
        _, rows = next(order(len(self.values), size, draw, step, rank, world))
        return [f"training row {row + 1}" for row in rows.tolist()]

    def _batch(self, values: Tensor, middle: Tensor, draw: Draw) -> Batch:
        n, there, z = len(values), ~values.isnan(), middle
        if self.columns.discrete.any():
            z = self.columns.encode(values, draw.of("u").uniform(n, self.shape, torch.float64))[0]
        kind, shares = draw.of("kind").uniform(n, (1,)), draw.of("shares").uniform(n, (2,))
        known = there & (draw.of("known").uniform(n, self.shape) < shares[:, :1]) & (kind < self.conditionals)
        left = (draw.of("left").uniform(n, self.shape) < shares[:, 1:]) & (kind < self.conditionals / 2)
        x, context = self.model.told(torch.where(known, middle, z).float(), there & ~known & ~left, known)
        return Batch(x, context)

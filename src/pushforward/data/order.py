"""In which order samples come: a pure function of the draw's address and the step.

Write all epochs one after another, each in an order of its own,

    position p  ->  epoch e = p // n,   row = permutation_e[p mod n],

then step s of a global batch of `size` is positions s size .. (s + 1) size - 1, and rank r of `world` takes
the r-th contiguous slice of it. Every row comes once per epoch; no step needs the steps before it, so a
stream may start anywhere; and the batch is the same however many processes share it. Memory: one permutation.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw


def order(
    n: int, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[Draw, Tensor]]:
    """For each step without end: the step's draw, `first` set to this rank's slice, and the slice's rows.

    Args:
        n: how many rows there are.
        size: the global batch.
        draw: the address; its step, first and device are not used (orders are drawn on the cpu).
        start: the first step.
        rank: which slice of the global batch.
        world: how many slices there are.

    Raises:
        ConfigError: a size below `world`, or a rank outside 0..world-1, or a negative start.
    """
    if not 0 <= rank < world or size < world or start < 0 or n < 1:
        raise ConfigError(
            explain(
                "a batch of at least one sample per process, 0 <= rank < world and start >= 0",
                f"size={size}, world={world}, rank={rank}, start={start} on {n} rows",
                "Raise the batch size or lower the number of processes.",
            )
        )
    return _steps(n, size, replace(draw, device="cpu"), start, size * rank // world, size * (rank + 1) // world)


def _steps(n: int, size: int, draw: Draw, step: int, low: int, high: int) -> Iterator[tuple[Draw, Tensor]]:
    shuffle = draw.of("order")
    known, permutation = -1, torch.empty(0, dtype=torch.int64)
    while True:
        begin, end = step * size + low, step * size + high
        parts: list[Tensor] = []
        for epoch in range(begin // n, (end - 1) // n + 1):
            if epoch != known:
                known, permutation = epoch, shuffle.at(epoch).permutation(n)
            parts.append(permutation[max(begin - epoch * n, 0) : end - epoch * n])
        yield replace(draw, step=step, first=low), parts[0] if len(parts) == 1 else torch.cat(parts)
        step += 1

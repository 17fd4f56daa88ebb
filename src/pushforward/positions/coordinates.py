"""Positions as tensors: of grids, and of several sequences packed in one row.

Positions are always passed explicitly; these functions make the usual ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def grid(*sizes: int, device: torch.device | None = None) -> Tensor:
    """Coordinates of a grid in row-major order, [tokens, axes].

    >>> grid(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    axes = [torch.arange(size, device=device) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


def packed(lengths: Sequence[int], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Positions and mask of several sequences in one row, so that each is treated as if it were alone.

    Args:
        lengths: how many tokens each sequence has.
        device: where the tensors live.

    Returns:
        Positions that start again at 0 in each sequence, [tokens], and a mask that is True where query and
        key belong to one sequence, [tokens, tokens].

    >>> pos, mask = packed([2, 1])
    >>> pos.tolist(), mask.int().tolist()
    ([0, 1, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    """
    pos = torch.cat([torch.arange(length, device=device) for length in lengths])
    owner = torch.repeat_interleave(torch.tensor(lengths, device=device))
    return pos, owner[:, None] == owner[None, :]

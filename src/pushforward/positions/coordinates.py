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


def padded(lengths: Sequence[int], tokens: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Positions and mask of a batch whose sequences are padded on the left, so that padding changes nothing.

    Args:
        lengths: how many tokens each sequence has.
        tokens: how many it has with its padding, which stands at position 0.
        device: where the tensors live.

    Returns:
        Positions [batch, tokens], and a mask that is True where the key is no padding or is the query itself (so that
        padding attends to something), [batch, 1, tokens, tokens].

    >>> pos, mask = padded([1, 3], 3)
    >>> pos.tolist(), mask[0, 0].int().tolist()
    ([[0, 0, 0], [0, 1, 2]], [[1, 0, 1], [0, 1, 1], [0, 0, 1]])
    """
    pos = torch.arange(tokens, device=device) - (tokens - torch.tensor(lengths, device=device))[:, None]
    itself = torch.eye(tokens, dtype=torch.bool, device=device)
    return pos.clamp(min=0), (pos >= 0)[:, None, None, :] | itself

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


def illustrated(*parts: int | tuple[int, int, int], device: torch.device | None = None) -> Tensor:
    """Positions of text with pictures in it, for `Multimodal`, [tokens, 3]: time, row, column.

    Text advances all coordinates together; a picture spreads from where the text stands; what follows begins after
    its largest coordinate. The next position is the maximum of all + 1, whatever the number of tokens.

    Args:
        parts: a number of text tokens, or (frames, rows, columns) of a picture or a video, in order.
        device: where the tensor lives.

    References:
        Wang et al. 2024, Qwen2-VL, arXiv 2409.12191, section 2.1.

    >>> illustrated(2, (1, 2, 2), 1).tolist()
    [[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 2, 3], [2, 3, 2], [2, 3, 3], [4, 4, 4]]
    """
    rows: list[Tensor] = []
    start = 0
    for part in parts:
        if isinstance(part, int):
            rows.append(torch.arange(part, device=device)[:, None].expand(-1, 3) + start)
            start += part
        else:
            rows.append(grid(*part, device=device) + start)
            start += max(part)
    return torch.cat(rows) if rows else torch.zeros(0, 3, dtype=torch.int64, device=device)


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

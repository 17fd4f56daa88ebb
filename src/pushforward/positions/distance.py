"""Distances between explicit positions, and what may be read off them.

    distance(i, j) = pos_k[j] - pos_q[i]

Of Q queries and K keys in a row there are Q + K - 1 distinct distances and Q K pairs. What depends on the distance
is therefore made for the distinct ones and spread over the pairs by an index (`distances`, `pick`). Positions may
be packed, padded, in any order, or fractional: then there are more distinct distances, and the same two lines hold.
"""

import torch
from torch import Tensor

from pushforward._errors import ShapeError, explain


def widest(device: torch.device) -> torch.dtype:
    """The widest floating type of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def readable(pos: Tensor) -> bool:
    """Whether the values may steer the computation: not while compiling, not on the meta device, not if empty."""
    return not torch.compiler.is_compiling() and not pos.is_meta and pos.numel() > 0


def check_whole(pos: Tensor, instead: str) -> None:
    """Refuse fractional positions.

    Raises:
        ShapeError: positions are not integers.
    """
    if pos.is_floating_point() or pos.is_complex():
        raise ShapeError(explain("whole positions", f"{pos.dtype}", f"Pass an integer tensor, or use {instead}."))


def reach(pos: Tensor, name: str) -> int:
    """The largest of these positions, where they count from 0. (Reading it breaks a graph in `torch.compile`.)

    Raises:
        ShapeError: a position is negative.
    """
    if pos.is_meta or not pos.numel():
        return 0
    low, high = int(pos.min()), int(pos.max())
    if low < 0:
        raise ShapeError(explain(
            "positions from 0 on", str(low), f"{name} starts at 0: shift the positions, and give padding position 0.",
        ))  # fmt: skip
    return high


def consecutive(pos: Tensor) -> bool:
    """Whether these are one row of whole positions p, p + 1, p + 2, ... (asked on processors alone)."""
    if pos.ndim != 1 or pos.device.type != "cpu" or not readable(pos) or pos.is_floating_point():
        return False
    return bool((pos[1:] - pos[:-1] == 1).all())


def distances(pos_q: Tensor, pos_k: Tensor) -> tuple[Tensor, Tensor]:
    """Distances with few repetitions, and which of them belongs to each pair.

    Returns:
        Values [n] and an index [*batch, queries, keys] into them.

    >>> values, index = distances(torch.tensor([5, 6]), torch.tensor([4, 5, 6]))
    >>> values.tolist(), index.tolist()
    ([-2, -1, 0, 1], [[1, 2, 3], [0, 1, 2]])
    """
    apart = pos_k.unsqueeze(-2) - pos_q.unsqueeze(-1)
    if not readable(apart):  # one value for each pair is right as well
        return apart.flatten(), torch.arange(apart.numel(), device=apart.device).view(apart.shape)
    if not apart.is_floating_point():
        low, high = int(apart.min()), int(apart.max())
        if high - low < 4 * sum(apart.shape[-2:]):
            return torch.arange(low, high + 1, device=apart.device), apart - low
    return torch.unique(apart, return_inverse=True)


def pick(table: Tensor, index: Tensor) -> Tensor:
    """For each pair the entry of its distance.

    Args:
        table: [batch, heads, queries, n].
        index: [*batch, queries, keys], as of `distances`.

    Returns:
        [batch, heads, queries, keys].
    """
    return table.gather(-1, index.unsqueeze(-3).expand(*table.shape[:-1], index.shape[-1]))

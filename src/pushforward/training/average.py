"""Averaged weights: an exponential moving average that forgets its start quickly.

    a_s = d_s a_{s-1} + (1 - d_s) w_s,     d_s = min(d, (s + 1) / (s + 10))

The growing memory d_s keeps the random start out of short runs. It depends on the step alone.

References: Polyak and Juditsky 1992 for averaging; Karras et al. 2023 (arXiv 2312.02696) on how much it
matters for diffusion models.
"""

import torch
from torch import Tensor


def memory(step: int, limit: float) -> float:
    """d_s: how much of the average is kept at the update number `step`, counted from 0.

    >>> memory(0, 0.999), memory(10**6, 0.999)
    (0.1, 0.999)
    """
    return min(limit, (step + 1) / (step + 10))


@torch.no_grad()
def blend(average: list[Tensor], weights: list[Tensor], step: int, limit: float) -> None:
    """Move the average towards the weights, in place, all tensors at once."""
    weight = 1.0 - memory(step, limit)
    torch._foreach_lerp_(average, weights, weight)  # pyright: ignore[reportPrivateImportUsage]

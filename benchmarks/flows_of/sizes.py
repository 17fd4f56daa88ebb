"""What is the same for every library, and who is kept by each coupling."""

import torch
from torch import Tensor

from pushforward.transforms import checkerboard, halves

BINS, REACH, HIDDEN, LAYERS = 8, 5.0, 64, 2
COUPLINGS, AUTOREGRESSIVE = 4, 3
PLANAR, ROTATIONS, RESIDUAL = 10, 8, 6
"""Transforms: planar and radial; Gaussianization; residual."""
DEGREE, COMPONENTS, SIGNAL = 16, 8, 16
"""Bernstein's degree; components of a mixture; what a monotone network is told."""
LEVELS, STEPS = 2, 4
"""Glow's."""


def masks(name: str, n: int) -> tuple[Tensor, ...]:
    """Who is kept by each of four couplings: in NICE by turns the even and the odd, as many as half of n."""
    even, first = checkerboard((n,)), halves((n,))
    if name == "nice":
        even, odd = (torch.isin(torch.arange(n), torch.arange(k, n, 2)[: n // 2]) for k in (0, 1))
        return even, odd, even, odd
    return even, ~even, first, ~first

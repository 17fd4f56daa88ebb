"""Which kernels have which derivatives.

Fused kernels are quick and have the one derivative that training needs. Exact divergences, tangents and
likelihoods need more, and there torch's fused kernels fail in two ways:

- fused attention has no forward-mode derivative at all, which is an error;
- the tangent of `layer_norm` has a wrong gradient (torch 2.13, reverse over forward,
  pytorch/pytorch#196700), which is silent.

So inside a `torch.func` transform or a forward-mode level both are computed from their formulas.
"""

import torch
from torch import Tensor

from pushforward._derivatives import transformed


def normalise(h: Tensor, eps: float = 1e-6) -> Tensor:
    """(h - mean) / sqrt(variance + eps) over the last axis, with derivatives of every kind and order."""
    if not transformed():
        return torch.nn.functional.layer_norm(h, h.shape[-1:], eps=eps)
    centred = h - h.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt()

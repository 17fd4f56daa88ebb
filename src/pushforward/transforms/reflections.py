"""Orthonormal columns as a product of reflections: any parameters give some, and nothing drifts off.

    Q = H_1 H_2 ... H_k [first m columns of the identity],      H_i = 1 - 2 v_i v_i^T / |v_i|**2

All of them at once, with unit vectors v_i as the columns of V:

    H_1 H_2 ... H_k = 1 - V S^-1 V^T,      S = 1/2 on the diagonal, V^T V above it, 0 below.

References:
    Tomczak, Welling 2016, arXiv 1611.09630.
    Joffrain, Low, Quintana-Orti, van de Geijn, Van Zee 2006, "Accumulating Householder transformations, revisited".
"""

import torch
from torch import Tensor


def orthonormal(vectors: Tensor, columns: int) -> Tensor:
    """Q [*, n, columns] from vectors [*, k, n].

    >>> q = orthonormal(torch.randn(3, 4), 2)
    >>> torch.allclose(q.T @ q, torch.eye(2), atol=1e-5)
    True
    """
    v = vectors / (vectors.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    half = 0.5 * torch.eye(v.shape[-2], dtype=v.dtype, device=v.device)
    turns = torch.linalg.solve_triangular((v @ v.mT).triu(1) + half, v[..., :columns], upper=True)
    return torch.eye(v.shape[-1], columns, dtype=v.dtype, device=v.device) - v.mT @ turns

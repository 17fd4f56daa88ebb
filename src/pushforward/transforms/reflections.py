"""Orthonormal columns as a product of reflections: any parameters give some, and nothing drifts off.

    Q = H_1 H_2 ... H_k [first m columns of the identity],      H_i = 1 - 2 v_i v_i^T / |v_i|**2

References:
    Tomczak, Welling 2016, arXiv 1611.09630.
"""

import torch
from torch import Tensor


def orthonormal(vectors: Tensor, columns: int) -> Tensor:
    """Q [*, n, columns] from vectors [*, k, n].

    >>> q = orthonormal(torch.randn(3, 4), 2)
    >>> torch.allclose(q.T @ q, torch.eye(2), atol=1e-5)
    True
    """
    q = torch.eye(vectors.shape[-1], columns, dtype=vectors.dtype, device=vectors.device)
    for v in vectors.unbind(-2)[::-1]:
        v = v / (v.square().sum(-1, keepdim=True) + 1e-12).sqrt()
        q = q - 2 * v[..., None] @ (v[..., None, :] @ q)
    return q

"""Positions that count what the query cares about (CoPE).

    g_ij = sigmoid(<q_i, k_j> / sqrt(D)),    p_ij = sum of g_it over visible keys t from j to i,    p <= farthest
    a_ij = <q_i, k_j> / sqrt(D) + z_i(p_ij),    z_i(p) = <q_i, E_p>, linear between whole p

With g = 1 this is a trained bias of the distance; with E = 0, where it starts, it is no encoding. Positions are used
for their order alone; what a mask hides is not counted.

Reference: Golovneva et al. 2024, Contextual Position Encoding, arXiv 2405.18719.
"""

import torch
from torch import Tensor, nn

from pushforward._typing import Heads
from pushforward.positions.position import Properties, Scores


class CoPE(nn.Module, Scores):
    """Contextual positions, for causal attention.

    Args:
        features: size of one head; the table is shared by all heads.
        tokens: length of the table; counts beyond tokens - 1 count as that.

    References:
        Golovneva et al. 2024, arXiv 2405.18719.
    """

    def __init__(self, features: int, tokens: int = 64) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tokens, features))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, linear_attention=False, causal_only=True)

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        count = self.count(q, k, pos_q, pos_k, mask).clamp(max=len(self.table) - 1)
        below = count.detach().floor()
        z = q @ self.table.mT
        low, high = z.gather(-1, below.long()), z.gather(-1, count.detach().ceil().long())
        return torch.lerp(low, high, (count - below).to(z.dtype))

    def count(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        """p_ij, [batch, heads, queries, keys], in float32 at least."""
        past = (pos_k.unsqueeze(-2) <= pos_q.unsqueeze(-1)).unsqueeze(-3)
        logits = ((q * q.shape[-1] ** -0.5) @ k.mT).to(torch.promote_types(q.dtype, torch.float32))
        gates = logits.sigmoid().masked_fill(~(past if mask is None else past & mask), 0)
        order = pos_k.argsort(dim=-1, descending=True, stable=True)
        back = order.argsort(dim=-1)
        order, back = (o[..., None, None, :] if o.ndim > 1 else o for o in (order, back))
        return _along(_along(gates, order).cumsum(-1), back)


def _along(x: Tensor, order: Tensor) -> Tensor:
    return x[..., order] if order.ndim == 1 else x.gather(-1, order.expand(x.shape))

"""Disentangled attention: content and distance attend to each other by projections of their own.

    a_ij = [<q_i, k_j> + <q_i, K_c> + <k_j, Q_c>] / sqrt(3 D),    K = W_k P,  Q = W_q P,    c = clip(i - j)

P holds one row per distance from -size to size - 1. The paper reads the last term at the distance from j to i; the
released code reads both terms at i - j, weights were trained with that, and so does this. Version 1 clips i - j
itself; versions 2 and 3 put it in logarithmic buckets, normalise P and use the projections of the content.

The absolute positions that DeBERTa adds to the queries of its last layers belong to its decoder, not to this hook.

Reference: He et al. 2021, DeBERTa, arXiv 2006.03654 and 2111.09543 (version 3).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward._typing import Heads
from pushforward.positions.buckets import signed_bucket
from pushforward.positions.distance import check_whole, pick
from pushforward.positions.position import Properties, Scores


class DeBERTa(nn.Module, Scores):
    """DeBERTa's disentangled positions.

    Args:
        heads: heads of attention.
        features: size of one head.
        farthest: the distance from which on all count the same (max_relative_positions).
        buckets: version 2's number of buckets per direction, usually 256; None is version 1, without buckets.
        width: size of a row of the table; None is heads * features.
        normalise: layer norm over each row (version 2).
        key: projects rows as keys; None makes one. Version 3 shares attention's own projection of the content.
        query: projects rows as queries; None makes one.

    References:
        He et al. 2021, arXiv 2006.03654.
    """

    def __init__(
        self,
        heads: int,
        features: int,
        farthest: int = 512,
        buckets: int | None = None,
        width: int | None = None,
        normalise: bool = False,
        key: Callable[[Tensor], Tensor] | None = None,
        query: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        width = width or heads * features
        self.heads, self.features = heads, features
        self.farthest, self.buckets, self.size = farthest, buckets, buckets or farthest
        self.table = nn.Parameter(torch.randn(2 * self.size, width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=1e-7) if normalise else nn.Identity()
        self.key = key or nn.Linear(width, heads * features, bias=buckets is not None)
        self.query = query or nn.Linear(width, heads * features)

    @property
    def properties(self) -> Properties:
        return Properties(
            relative=True, linear_attention=False, fractional=False, scale=(3 * self.features) ** -0.5,
        )  # fmt: skip

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        check_whole(pos_q, "TransformerXL")
        apart = pos_q.unsqueeze(-1) - pos_k.unsqueeze(-2)
        if self.buckets is not None:
            apart = signed_bucket(apart, self.buckets, self.farthest)
        index = (apart + self.size).clamp(0, 2 * self.size - 1)
        rows = self.norm(self.table)
        as_key, as_query = (f(rows).unflatten(-1, (self.heads, -1)).movedim(0, -1) for f in (self.key, self.query))
        terms = pick(q @ as_key, index) + pick(k @ as_query, index.mT).mT
        return terms * (3 * self.features) ** -0.5

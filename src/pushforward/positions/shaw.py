"""Trained vectors of the clipped distance, in the scores and in the values.

    a_ij = <q_i, k_j + K_c> / sqrt(D),    o_i = sum_j softmax(a)_ij (v_j + V_c),    c = clip(j - i, -clip, clip)

Both terms are made from one number per query and clipped distance, <q_i, K_c> and the softmax summed over the keys of
each c, so memory is that of the scores and never N N D.

Reference: Shaw et al. 2018, Self-Attention with Relative Position Representations, arXiv 1803.02155.
"""

import torch
from torch import Tensor, nn

from pushforward._typing import Heads
from pushforward.positions.distance import check_whole, pick
from pushforward.positions.position import Properties, Scores, Values


class Shaw(nn.Module, Scores, Values):
    """Shaw's relative positions: a vector for keys and one for values per clipped distance, shared by all heads.

    Args:
        features: size of one head.
        clip: the farthest distance that is told apart.

    References:
        Shaw et al. 2018, arXiv 1803.02155 (clip 16).
    """

    def __init__(self, features: int, clip: int = 16) -> None:
        super().__init__()
        self.clip = clip
        self.keys = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * clip + 1, features)))
        self.values = nn.Parameter(nn.init.xavier_uniform_(torch.empty(2 * clip + 1, features)))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, linear_attention=False, fractional=False)

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        return pick((q * q.shape[-1] ** -0.5) @ self.keys.mT, self._clipped(pos_q, pos_k))

    def value(self, v: Heads, weights: Tensor, pos_q: Tensor, pos_k: Tensor) -> Heads:
        index = self._clipped(pos_q, pos_k).unsqueeze(-3).expand(weights.shape)
        sums = weights.new_zeros(*weights.shape[:-1], len(self.values)).scatter_add(-1, index, weights)
        return sums @ self.values

    def _clipped(self, pos_q: Tensor, pos_k: Tensor) -> Tensor:
        check_whole(pos_q, "TransformerXL")
        return (pos_k.unsqueeze(-2) - pos_q.unsqueeze(-1)).clamp(-self.clip, self.clip) + self.clip

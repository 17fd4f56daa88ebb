"""Waves of the distance, projected and compared with the query.

    a_ij = [<q_i + u, k_j> + <q_i + v, W R_{i-j}>] / sqrt(D),    R_d = [sin(d theta_c) | cos(d theta_c)]

<q_i, k_j> is attention's own; u says which keys are wanted wherever the query is, v which distances. Released code
gets R_{i-j} for all pairs by padding and reshaping; here it is read at each pair's distance from explicit positions,
so memories of earlier segments are keys at earlier positions. XLNet is the same in both directions, plus a term that
says whether both tokens are of one segment, <q_i + w, S_same or S_other>.

References: Dai et al. 2019, Transformer-XL, arXiv 1901.02860; Yang et al. 2019, XLNet, arXiv 1906.08237.
"""

import torch
from torch import Tensor, nn

from pushforward._errors import ShapeError, explain
from pushforward._typing import Heads
from pushforward.positions.absolute import sinusoids
from pushforward.positions.distance import distances, pick
from pushforward.positions.position import Properties, Scores

STD = 0.02
"""Of the start values, as the authors'."""


class TransformerXL(nn.Module, Scores):
    """Transformer-XL's relative positions.

    Args:
        heads: heads of attention.
        features: size of one head.
        width: size of the waves R, an even number; None is heads * features, the width of a token.
        clamp: distances beyond it count as it (the authors' clamp_len); None for none.

    References:
        Dai et al. 2019, arXiv 1901.02860.
    """

    def __init__(self, heads: int, features: int, width: int | None = None, clamp: int | None = None) -> None:
        super().__init__()
        self.width, self.clamp = width or heads * features, clamp
        self.content = nn.Parameter(torch.randn(heads, features) * STD)
        self.distance = nn.Parameter(torch.randn(heads, features) * STD)
        self.project = nn.Linear(self.width, heads * features, bias=False)
        nn.init.normal_(self.project.weight, std=STD)

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, linear_attention=False)

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        values, index = distances(pos_q, pos_k)
        if self.clamp is not None:
            values = values.clamp(-self.clamp, self.clamp)
        waves = sinusoids(-values, self.width, layout="half").to(self.project.weight.dtype)
        r = self.project(waves).unflatten(-1, self.distance.shape).movedim(0, -1)
        placed = pick((q + self.distance[:, None]) @ r, index)
        return (self.content[:, None] @ k.mT + placed) * q.shape[-1] ** -0.5


class XLNet(nn.Module, Scores):
    """XLNet's relative positions and segments; a position is (place, segment).

    Args:
        heads: heads of attention.
        features: size of one head.
        width: size of the waves; None is heads * features.
        clamp: distances beyond it count as it; None for none.

    References:
        Yang et al. 2019, arXiv 1906.08237. Their training data run in both directions: pass negative places.
    """

    def __init__(self, heads: int, features: int, width: int | None = None, clamp: int | None = None) -> None:
        super().__init__()
        self.relative = TransformerXL(heads, features, width, clamp)
        self.segment = nn.Parameter(torch.randn(heads, features) * STD)
        self.segments = nn.Parameter(torch.randn(2, heads, features) * STD)

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, linear_attention=False, axes=2)

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        if pos_q.shape[-1] != 2 or pos_q.ndim < 2:
            raise ShapeError(explain(
                "positions [*batch, tokens, 2]: place and segment", f"shape {list(pos_q.shape)}",
                "Stack the two, or use TransformerXL, which has no segments.",
            ))  # fmt: skip
        place_q, segment_q, place_k, segment_k = (*pos_q.unbind(-1), *pos_k.unbind(-1))
        other = (segment_q.unsqueeze(-1) != segment_k.unsqueeze(-2)).long()
        both = (q + self.segment[:, None]) @ self.segments.permute(1, 2, 0)
        placed = self.relative.score(q, k, place_q, place_k)
        return placed + pick(both, other) * q.shape[-1] ** -0.5

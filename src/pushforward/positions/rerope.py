"""Rotary positions with a window: distances beyond it count as the window's length (ReRoPE).

    score(i, j) = <R_i q, R_j k> / sqrt(D)    if i - j < w,          <R_w q, k> / sqrt(D)    beyond,

so no distance is larger than those trained on, at the price of a second matrix of scores. With `trained`, queries
are also scaled by max(1, ln(i + 1) / ln(trained)), which keeps the entropy of attention over longer texts.

Attention hands the score hook queries and keys that are rotated already. They are turned back by their own positions,
which is exact up to rounding, and the hook returns the difference of the two scores where the distance is long.

References: Su 2023, Rectified Rotary Position Embeddings, github.com/bojone/rerope; Su et al. 2021, arXiv 2104.09864.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Heads
from pushforward.positions.layout import Layout, check_layout, rotated_features
from pushforward.positions.position import Properties, Rotates, Rotation, Scores
from pushforward.positions.rotary import check_base
from pushforward.positions.rotation import Turn, kept, rotate
from pushforward.positions.spectrum import PLAIN, Spectrum


@dataclass(frozen=True, slots=True, eq=False)
class Sharpened:
    """A rotation of queries scaled by `gain` and of keys as they are."""

    turn: Turn
    gain: Tensor

    def __call__(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        scaled, turned_k = self.turn(q.to(self.gain.dtype) * self.gain, k)
        return scaled.to(q.dtype), turned_k


@dataclass(frozen=True, slots=True)
class ReRoPE(Rotates, Scores):
    """Rotary positions that know no distance beyond a window; for causal attention.

    Args:
        window: from this distance on, all distances are this one.
        base: frequencies run from 1 down to about 1/base radians per position.
        layout: which features make a pair.
        fraction: the part of each head that is rotated.
        trained: the length trained on, for the scale of queries; None for none.

    References:
        Su 2023, github.com/bojone/rerope.
    """

    window: int
    base: float = 10_000.0
    layout: Layout = "interleaved"
    fraction: float = 1.0
    trained: int | None = None

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        if self.window < 1:
            raise ConfigError(explain("a window of at least 1", f"{self.window}", "Half the trained length is usual."))
        if self.trained is not None and self.trained < 2:
            raise ConfigError(explain("a trained length of at least 2", f"{self.trained}", "It counts tokens."))

    @property
    def properties(self) -> Properties:
        return Properties(relative=self.trained is None, linear_attention=False, causal_only=True)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        turn = Turn.of(self._spectrum(features), pos_q, pos_k, self.layout, dtype)
        if self.trained is None:
            return turn
        gain = (pos_q + 1).clamp(min=1).to(kept(dtype)).log() / math.log(self.trained)
        return Sharpened(turn, gain.clamp(min=1)[..., None, :, None])

    def score(self, q: Heads, k: Heads, pos_q: Tensor, pos_k: Tensor, mask: Tensor | None = None) -> Tensor:
        """What far pairs lack: their score at the window's distance less the one they have."""
        spectrum = self._spectrum(q.shape[-1])
        far = self._turn(q, self.window - pos_q, spectrum) @ self._turn(k, -pos_k, spectrum).mT - q @ k.mT
        beyond = (pos_q.unsqueeze(-1) - pos_k.unsqueeze(-2) >= self.window).unsqueeze(-3)
        return torch.where(beyond, far * q.shape[-1] ** -0.5, 0.0)

    def _spectrum(self, features: int) -> Spectrum:
        return Spectrum(((self.base, rotated_features(features, self.fraction), PLAIN),))

    def _turn(self, x: Tensor, by: Tensor, spectrum: Spectrum) -> Tensor:
        cos, sin = (table.unsqueeze(-3) for table in spectrum.tables(by, kept(x.dtype)))
        return rotate(x, cos, sin, self.layout)

"""Rotary positions whose scores fade with distance (xPos).

Pair c has a decay zeta_c = (2c + 0.4 r) / (1.4 r) in (0.28, 1), and with an origin o

    q_m -> zeta**((m - o)/scale) R_m q,      k_n -> zeta**(-(n - o)/scale) R_n k,

so that each pair's part of the score carries zeta**((m - n)/scale): it fades into the past, and grows into the future,
which is why only causal attention makes sense. The origin cancels, if queries and keys have the same one. Two other
libraries lose it: one gives queries and cached keys different origins, another centres each table on the current
length (errors as large as the scores).

Here the origin is the middle of the keys of the call, unless it is given. **Give it when rotated keys are cached**,
and keep positions within reach of it: the factor of a key 3,000 positions from its origin is 1,500, of one 30,000
positions away 8e31.

References: Sun et al. 2022, A Length-Extrapolatable Transformer, arXiv 2212.10554.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward.positions.arithmetic import Precision
from pushforward.positions.layout import Layout, check_layout, rotated_features
from pushforward.positions.position import Properties, Rotates, Rotation
from pushforward.positions.rotary import check_base, check_precision
from pushforward.positions.rotation import Turn, kept
from pushforward.positions.spectrum import PLAIN, Spectrum, paired, widest

FASTEST = -math.log(0.4 / 1.4)
"""Minus the logarithm of the smallest zeta."""


@dataclass(frozen=True, slots=True)
class XPos(Rotates):
    """Rotary positions with decay, for causal attention.

    Args:
        base: frequencies run from 1 down to about 1/base radians per position.
        layout: which features make a pair.
        fraction: the part of each head that is rotated.
        scale: positions over which the fastest pair fades to 0.29.
        origin: where factors are 1; None for the middle of the keys of each call.
        precision: see `Rotary`.

    References:
        Sun et al. 2022, arXiv 2212.10554.
    """

    base: float = 10_000.0
    layout: Layout = "interleaved"
    fraction: float = 1.0
    scale: float = 512.0
    origin: float | None = None
    precision: Precision = "exact"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)
        check_precision(self.precision)
        if not self.scale > 0:
            raise ConfigError(explain("a positive scale", f"{self.scale:g}", "512 is the paper's."))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, causal_only=True)

    def rotation(self, pos_q: Tensor, pos_k: Tensor, features: int, dtype: torch.dtype) -> Rotation:
        rotated, wide = rotated_features(features, self.fraction), widest(pos_k.device)
        spectrum = Spectrum(((self.base, rotated, PLAIN),), (), 1.0, self.precision)
        origin = self._origin(pos_k)
        c = torch.arange(rotated // 2, device=pos_k.device, dtype=wide)
        log_zeta = ((2 * c + 0.4 * rotated) / (1.4 * rotated)).log() / self.scale

        def tables(pos: Tensor, sign: int) -> tuple[Tensor, Tensor]:
            exponent = sign * (pos.to(wide) - origin)
            self._check(exponent, kept(dtype))
            gain = (exponent.unsqueeze(-1) * log_zeta).exp()
            cos, sin = spectrum.tables(pos, wide)
            cos, sin = paired(cos * gain, sin * gain, kept(dtype))
            return cos.unsqueeze(-3), sin.unsqueeze(-3)

        return Turn(*tables(pos_q, 1), *tables(pos_k, -1), self.layout)

    def _origin(self, pos_k: Tensor) -> Tensor | float:
        if self.origin is not None:
            return self.origin
        pos = pos_k.to(widest(pos_k.device))
        return (pos.amin(-1, keepdim=True) + pos.amax(-1, keepdim=True)) / 2

    def _check(self, exponent: Tensor, dtype: torch.dtype) -> None:
        """Refuse factors that `dtype` cannot hold."""
        reach = 0.9 * math.log(torch.finfo(dtype).max) * self.scale / FASTEST
        if torch.compiler.is_compiling() or exponent.is_meta or not exponent.numel():
            return
        far = float(exponent.abs().max())
        if far > reach:
            raise ShapeError(explain(
                f"positions within {reach:,.0f} of the origin, beyond which the factors overflow", f"{far:,.0f}",
                "Move the origin, attend in blocks, or use a larger scale.",
            ))  # fmt: skip

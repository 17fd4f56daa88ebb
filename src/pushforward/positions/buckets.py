"""Buckets of distances: exact when near, logarithmic when far; and T5's bias, which trains one number per bucket.

    a_ij = <q_i, k_j> + b_h[bucket(j - i)]

T5, n buckets per direction, e = n / 2 of them exact, d the distance in that direction:

    bucket = d                                                            d < e
    bucket = min(e + floor(ln(d / e) / ln(farthest / e) (n - e)), n - 1)  else

and n is half of all buckets, the upper half for keys after the query; or all of them for causal attention, where later
keys count as distance 0. DeBERTa keeps the sign, with m half the size:

    bucket = d                                                            |d| <= m
    bucket = sign(d) (m + ceil(ln(|d| / m) / ln((farthest - 1) / m) (m - 1)))    else

Logarithms are taken in float32, as released code does, so that borders fall where its borders fall.

References: Raffel et al. 2020, T5, arXiv 1910.10683; He et al. 2021, DeBERTa, arXiv 2006.03654.
"""

import math

import torch
from torch import Tensor, nn

from pushforward.positions.distance import check_whole
from pushforward.positions.position import Properties, Toeplitz


class T5(nn.Module, Toeplitz):
    """T5's relative bias.

    Args:
        heads: heads of attention.
        buckets: how many numbers are trained for each head.
        farthest: distances from here on share the last bucket.
        causal: all buckets are for the past (T5's decoder); else half of them are for what follows.
        std: standard deviation of the start values; T5's is the model's width**-0.5.
        scale: what <q, k> is multiplied by: 1 in T5, whose weights start accordingly smaller; None is 1 / sqrt(size
            of a head).

    References:
        Raffel et al. 2020, arXiv 1910.10683.
    """

    def __init__(
        self,
        heads: int,
        buckets: int = 32,
        farthest: int = 128,
        causal: bool = False,
        std: float = 0.05,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.farthest, self.causal, self.scale = farthest, causal, scale
        self.table = nn.Parameter(torch.randn(buckets, heads) * std)

    @property
    def properties(self) -> Properties:
        return Properties(
            relative=True, toeplitz=True, linear_attention=False, fractional=False,
            causal_only=self.causal, scale=self.scale,
        )  # fmt: skip

    def by_distance(self, distance: Tensor) -> Tensor:
        check_whole(distance, "ALiBi, KERPLE or FIRE")
        return self.table[t5_bucket(distance, len(self.table), self.farthest, self.causal)].movedim(-1, 0)


def t5_bucket(distance: Tensor, buckets: int = 32, farthest: int = 128, causal: bool = False) -> Tensor:
    """The bucket of a distance (key minus query).

    >>> t5_bucket(torch.tensor([-64, -1, 0, 1, 64])).tolist()
    [14, 1, 0, 17, 30]
    """
    if causal:
        side, away = torch.zeros_like(distance), (-distance).clamp(min=0)
    else:
        buckets //= 2
        side, away = (distance > 0) * buckets, distance.abs()
    exact = buckets // 2
    far = (away.clamp(min=1).float() / exact).log() / math.log(farthest / exact) * (buckets - exact)
    return side + torch.where(away < exact, away, (exact + far.long()).clamp(max=buckets - 1))


def signed_bucket(distance: Tensor, size: int, farthest: int) -> Tensor:
    """DeBERTa's bucket of a distance (query minus key), from 1 - size to size - 1 for distances below `farthest`.

    >>> signed_bucket(torch.tensor([-511, -128, 0, 200]), 256, 512).tolist()
    [-255, -128, 0, 169]
    """
    middle = size // 2
    away = distance.abs().clamp(min=middle).float()
    steepness = torch.tensor((farthest - 1) / middle, dtype=torch.float32).log().to(away.device)
    far = ((away / middle).log() / steepness * (middle - 1)).ceil().long() + middle
    return torch.where(distance.abs() <= middle, distance, far * distance.sign())

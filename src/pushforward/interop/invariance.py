"""How far the scores of a rotary encoding are from depending on the distance alone, by how it is run.

With T[m] = mu exp(i m theta) as a program makes it, a score of unit q and k at positions m and m - d is off by at most

    error = max over d <= 4,096, m < length and pairs c of |T_c[m] conj T_c[m - d] - mu**2 exp(i d theta_c)|.

    exact       phases as whole numbers, tables rounded to float32 (`Rotary`, and RoFormer's float64 tables)
    float32     frequencies and phases in float32: most programs
    bfloat16    the same with tables rounded to bfloat16, as where they are cast to the dtype of queries and keys
    cast        frequencies kept in a buffer that `model.bfloat16()` rounds, phases in float32

The last has other frequencies than it was trained with: its scores still depend on the distance, but wrongly.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pushforward.positions import CustomRotary, Multimodal, Phased, Rotary
from pushforward.positions.spectrum import theta_of

WAYS = ("exact", "float32", "bfloat16", "cast")
DISTANCES = (0, 1, 16, 256, 4_096)
CHUNK = 2_048


def score_errors(encoding: Phased, features: int, lengths: Sequence[int]) -> dict[str, list[float]]:
    """The largest error of a score, relative to |q| |k|, for each way and each length.

    Args:
        encoding: a rotary encoding of sequences.
        features: the size of a head.
        lengths: positions run from 0 to each length - 1; of long ones the last are looked at.

    >>> errors = score_errors(Rotary(), 8, [1_000, 1_000_000])
    >>> errors["exact"][1] < 1e-6 < 1e-3 < errors["float32"][1]
    True
    """
    return {way: [_error(encoding, features, length, way) for length in lengths] for way in WAYS}


def _error(encoding: Phased, features: int, length: int, way: str) -> float:
    spectrum = encoding.spectrum(features)
    theta, worst = theta_of(spectrum.rows, "exact"), 0.0
    for d in (each for each in DISTANCES if each < length):
        pos = torch.arange(max(length - CHUNK, d), length)
        found = _table(encoding, features, pos, way) * _table(encoding, features, pos - d, way).conj()
        right = torch.polar(torch.full_like(theta, spectrum.amplitude**2), d * theta)
        worst = max(worst, float((found - right).abs().max()))
    return worst


def _table(encoding: Phased, features: int, pos: Tensor, way: str) -> Tensor:
    """T as complex128, [positions, pairs]."""
    if way == "cast":
        spectrum = encoding.spectrum(features)
        theta = theta_of(spectrum.rows, "float32").to(torch.bfloat16).float()
        angles = (pos.float()[:, None] * theta).double()
        return torch.polar(torch.full_like(angles, spectrum.amplitude), angles)
    precision = "exact" if way == "exact" else "float32"
    assert isinstance(encoding, Rotary | CustomRotary | Multimodal)
    where = pos[:, None].expand(-1, 3) if isinstance(encoding, Multimodal) else pos
    cos, sin = replace(encoding, precision=precision).tables(where, features)
    if way == "bfloat16":
        cos, sin = cos.to(torch.bfloat16), sin.to(torch.bfloat16)
    return torch.complex(cos.double(), sin.double())


def lengths_for(trained: int | None) -> list[int]:
    """Lengths to look at: some usual ones, the trained one, and far beyond."""
    own = [] if trained is None else [trained]
    return sorted({1_024, 16_384, 131_072, 1_048_576, *own})

"""The rotation of feature pairs: pure functions, for our attention and for other people's.

A pair of features (a, b) at phase phi becomes

    (a, b) -> (a cos phi - b sin phi, a sin phi + b cos phi)  =  (a + i b) e^{i phi}.

Phases are position times frequency, theta_c = base**(-2c/r) for the c-th of r/2 pairs; they are formed in
float64 from explicit positions (float32 where a device has no float64) and only their cosine and sine are
rounded, so phases stay right where float32 tables are off by 3e-2 (a million positions on). The layout says
which features make a pair:

    interleaved   (0, 1), (2, 3), ...              RoFormer, the paper; a complex view without a copy
    half          (0, r/2), (1, r/2 + 1), ...      GPT-NeoX, Llama in Hugging Face format

A checkpoint of one layout becomes one of the other by permuting rows of the query and key weights
(`convert_layout`), exactly. Features beyond the pairs stay as they are (partial rotary).
Arithmetic is never below float32: bfloat16 inputs are rounded once, at the end.

References: Su et al. 2021, RoFormer, arXiv 2104.09864.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Heads

Layout = Literal["interleaved", "half"]


def frequencies(base: float, rotated: int, device: torch.device | None = None) -> Tensor:
    """Radians per position of each pair, base**(-2c/rotated), [rotated // 2].

    Args:
        base: ratio of the fastest to the (excluded) slowest frequency; 10,000 for text, 100 for small grids.
        rotated: how many features are rotated, an even number.
        device: where the numbers live.
    """
    exponents = torch.arange(0, rotated, 2, device=device, dtype=_widest(device)) / -rotated
    return torch.pow(base, exponents)


def phases(pos: Tensor, theta: Tensor) -> Tensor:
    """Position times frequency in the widest dtype, [*pos, pairs]. Whole positions are exact up to 2**53."""
    return pos.to(_widest(pos.device)).unsqueeze(-1) * theta


def rotate(x: Heads, cos: Tensor, sin: Tensor, layout: Layout = "interleaved") -> Tensor:
    """Rotate the first 2 * pairs features of `x` and leave the rest.

    Args:
        x: [..., tokens, features], of any floating dtype.
        cos: cosine of the phases, broadcastable to [..., tokens, pairs], float32 or float64.
        sin: their sine.
        layout: which features make a pair.

    Returns:
        A tensor like `x`.

    Raises:
        ShapeError: there are more pairs than features.

    >>> x = torch.tensor([[1.0, 0.0, 5.0]])
    >>> rotate(x, torch.tensor([0.0]), torch.tensor([1.0]))  # a quarter turn of the first pair
    tensor([[0., 1., 5.]])
    """
    span = 2 * cos.shape[-1]
    if span > x.shape[-1]:
        raise ShapeError(explain(
            f"at least {span} features for {span // 2} rotated pairs", f"{x.shape[-1]} features",
            "Make the phases for this head size.",
        ))  # fmt: skip
    if span < x.shape[-1]:
        head, tail = x.split([span, x.shape[-1] - span], -1)
        return torch.cat([rotate(head, cos, sin, layout), tail], -1)
    y = x.to(cos.dtype)
    if layout == "half":
        a, b = y.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)
    y = y.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # inductor has no complex numbers
        a, b = y.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(y) * torch.complex(cos, sin))
    return turned.flatten(-2).to(x.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """The rotation of queries and keys at given positions: a callable (q, k) -> (q, k).

    Args:
        phases_q: phases of the queries, [*batch, tokens, pairs].
        phases_k: phases of the keys.
        layout: which features make a pair.
        dtype: what the cosines and sines are kept in.
    """

    cos_q: Tensor
    sin_q: Tensor
    cos_k: Tensor
    sin_k: Tensor
    layout: Layout

    @classmethod
    def of(cls, phases_q: Tensor, phases_k: Tensor, layout: Layout, dtype: torch.dtype) -> "Turn":
        """From phases [*batch, tokens, pairs]; the axis of heads is added here."""
        check_layout(layout)
        kept = torch.float64 if dtype == torch.float64 else torch.float32
        cos_q, sin_q = _tables(phases_q, kept)
        cos_k, sin_k = (cos_q, sin_q) if phases_k is phases_q else _tables(phases_k, kept)
        return cls(cos_q, sin_q, cos_k, sin_k, layout)

    def __call__(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        return rotate(q, self.cos_q, self.sin_q, self.layout), rotate(k, self.cos_k, self.sin_k, self.layout)


def convert_layout(weight: Tensor, features: int, source: Layout, target: Layout, fraction: float = 1.0) -> Tensor:
    """A query or key weight (or bias, or norm weight) of one layout, re-ordered for the other. Lossless.

    Args:
        weight: [heads * features, ...]: the rows of a projection, or a vector of that length.
        features: the size of one head.
        source: the layout the weight was trained with.
        target: the layout wanted.
        fraction: the part of each head that is rotated.

    Returns:
        A tensor of the same shape; scores computed from it in the target layout equal the old ones.

    >>> convert_layout(torch.arange(4), 4, "half", "interleaved")
    tensor([0, 2, 1, 3])
    """
    check_layout(source)
    check_layout(target)
    if weight.shape[0] % features:
        raise ShapeError(explain(
            f"rows in multiples of the head size {features}", f"{weight.shape[0]} rows",
            "Pass the head size.",
        ))  # fmt: skip
    if source == target:
        return weight
    r = rotated_features(features, fraction)
    order = torch.arange(features, device=weight.device)
    pairs = order[:r].unflatten(0, (2, -1) if source == "half" else (-1, 2)).T.flatten()
    order = torch.cat([pairs, order[r:]])
    return weight.unflatten(0, (-1, features))[:, order].flatten(0, 1)


def rotated_features(features: int, fraction: float = 1.0) -> int:
    """How many features of a head are rotated: int(fraction * features), which must be even and positive."""
    rotated = int(fraction * features)
    if rotated < 2 or rotated % 2 or rotated > features:
        raise ConfigError(explain(
            "an even number of rotated features, at least 2 and at most the head size",
            f"{rotated} (head size {features}, fraction {fraction:g})",
            "Choose width / heads and fraction so that their product is even.",
        ))  # fmt: skip
    return rotated


def check_layout(layout: str) -> None:
    """Refuse a layout that does not exist."""
    if layout not in ("interleaved", "half"):
        raise ConfigError(explain("layout 'interleaved' or 'half'", repr(layout), "Choose one of the two."))


def _widest(device: torch.device | None) -> torch.dtype:
    return torch.float32 if device is not None and device.type == "mps" else torch.float64


def _tables(angles: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    angles = angles.unsqueeze(-3)
    return angles.cos().to(dtype), angles.sin().to(dtype)

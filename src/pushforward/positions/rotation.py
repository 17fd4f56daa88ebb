"""The rotation of feature pairs: pure functions, for our attention and for other people's.

A pair of features (a, b) at phase phi becomes

    (a, b) -> (a cos phi - b sin phi, a sin phi + b cos phi)  =  (a + i b) e^{i phi}.

Phases are position times frequency, theta_c = base**(-2c/r) for the c-th of r/2 pairs. The layout says which features
make a pair:

    interleaved   (0, 1), (2, 3), ...              RoFormer, the paper; a complex view without a copy
    half          (0, r/2), (1, r/2 + 1), ...      GPT-NeoX, Llama in Hugging Face format

`layout.py` turns weights of one into weights of the other. Features beyond the pairs stay as they are (partial rotary).
Arithmetic is never below float32, whatever the tables are in: bfloat16 inputs are rounded once, at the end.

    rotate(x, cos, sin)     a new tensor; inside torch.compile and torch.func it is the real formula
    rotate_(x, cos, sin)    in place, with a derivative: nothing is allocated

References: Su et al. 2021, RoFormer, arXiv 2104.09864.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ShapeError, explain
from pushforward._typing import Heads
from pushforward.positions.kernel import Turned, turn, usable
from pushforward.positions.layout import Layout, check_layout
from pushforward.positions.spectrum import Spectrum, paired, widest


def frequencies(base: float, rotated: int, device: torch.device | None = None) -> Tensor:
    """Radians per position of each pair, base**(-2c/rotated), [rotated // 2].

    Args:
        base: ratio of the fastest to the (excluded) slowest frequency; 10,000 for text, 100 for small grids.
        rotated: how many features are rotated, an even number.
        device: where the numbers live.
    """
    exponents = torch.arange(0, rotated, 2, device=device, dtype=widest(device)) / -rotated
    return torch.pow(base, exponents)


def phases(pos: Tensor, theta: Tensor) -> Tensor:
    """Position times frequency in the widest dtype, [*pos, pairs]. Whole positions are exact up to 2**53.

    The product is not: its error is about 1e-16 of it. `Spectrum.phases` has none.
    """
    return pos.to(widest(pos.device)).unsqueeze(-1) * theta


def rotate(x: Heads, cos: Tensor, sin: Tensor, layout: Layout = "interleaved") -> Tensor:
    """Rotate the first 2 * pairs features of `x` and leave the rest.

    Args:
        x: [..., tokens, features], of any floating dtype.
        cos: cosine of the phases, broadcastable to [..., tokens, pairs].
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
    span, cos, sin = _fitted(x, cos, sin)
    if span < x.shape[-1]:
        head, tail = x.split([span, x.shape[-1] - span], -1)
        return torch.cat([rotate(head, cos, sin, layout), tail], -1)
    if usable(x, cos, sin) and not _grows(x, cos):
        return Turned.apply(x, cos, sin, layout, False, False)  # pyright: ignore[reportReturnType]
    return _formula(x, cos, sin, layout)


def rotate_(x: Heads, cos: Tensor, sin: Tensor, layout: Layout = "interleaved") -> Tensor:
    """Rotate the first 2 * pairs features of `x` in place; autograd knows. See `rotate`.

    `x` may be a view, so queries and keys of one packed projection turn in one call, before they are split:

    >>> qkv = torch.randn(1, 5, 3, 4, 8)  # batch, tokens, (q, k, v), heads, features
    >>> angles = phases(torch.arange(5), frequencies(10_000.0, 8)).float()[:, None]
    >>> q_and_k = rotate_(qkv[:, :, :2].flatten(2, 3), angles.cos(), angles.sin())
    >>> q_and_k.shape, q_and_k.data_ptr() == qkv.data_ptr()
    (torch.Size([1, 5, 8, 8]), True)

    Raises:
        ShapeError: there are more pairs than features, or more rows than `x` has.
    """
    span, cos, sin = _fitted(x, cos, sin)
    if _grows(x, cos):
        raise ShapeError(explain(
            f"tables that broadcast to {list(x.shape[:-1])}", f"{list(cos.shape[:-1])}", "Use rotate, or expand x.",
        ))  # fmt: skip
    part = x[..., :span] if span < x.shape[-1] else x
    if not usable(x, cos, sin):
        part.copy_(_formula(part, cos, sin, layout))
    elif torch.is_grad_enabled() and x.requires_grad:
        Turned.apply(part, cos, sin, layout, False, True)
    else:
        turn(part, cos, sin, layout, part)
    return x


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """The rotation of queries and keys at given positions: a callable (q, k) -> (q, k).

    Args:
        cos_q: cosines for the queries, [*batch, 1, tokens, pairs].
        sin_q: sines.
        cos_k: cosines for the keys.
        sin_k: sines.
        layout: which features make a pair.
    """

    cos_q: Tensor
    sin_q: Tensor
    cos_k: Tensor
    sin_k: Tensor
    layout: Layout

    @classmethod
    def of(cls, spectrum: Spectrum, pos_q: Tensor, pos_k: Tensor, layout: Layout, dtype: torch.dtype) -> "Turn":
        """At these positions; the axis of heads is added here."""
        check_layout(layout)
        cos_q, sin_q = _with_heads(*spectrum.tables(pos_q, kept(dtype)))
        same = pos_k is pos_q
        cos_k, sin_k = (cos_q, sin_q) if same else _with_heads(*spectrum.tables(pos_k, kept(dtype)))
        return cls(cos_q, sin_q, cos_k, sin_k, layout)

    @classmethod
    def by(cls, phases_q: Tensor, phases_k: Tensor, layout: Layout, dtype: torch.dtype) -> "Turn":
        """From phases that already have an axis of heads, [*batch, heads, tokens, pairs]."""
        check_layout(layout)
        cos_q, sin_q = paired(phases_q.cos(), phases_q.sin(), kept(dtype))
        if phases_k is phases_q:
            return cls(cos_q, sin_q, cos_q, sin_q, layout)
        return cls(cos_q, sin_q, *paired(phases_k.cos(), phases_k.sin(), kept(dtype)), layout)

    def __call__(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        return rotate(q, self.cos_q, self.sin_q, self.layout), rotate(k, self.cos_k, self.sin_k, self.layout)

    def in_place(self, q: Heads, k: Heads) -> tuple[Heads, Heads]:
        """The same, written over q and k."""
        return rotate_(q, self.cos_q, self.sin_q, self.layout), rotate_(k, self.cos_k, self.sin_k, self.layout)


def kept(dtype: torch.dtype) -> torch.dtype:
    """What tables are kept in for tensors of a dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _fitted(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[int, Tensor, Tensor]:
    """How many features turn, and tables in the dtype of the arithmetic."""
    span = 2 * cos.shape[-1]
    if span > x.shape[-1]:
        raise ShapeError(explain(
            f"at least {span} features for {span // 2} rotated pairs", f"{x.shape[-1]} features",
            "Make the phases for this head size.",
        ))  # fmt: skip
    wide = torch.promote_types(torch.promote_types(x.dtype, cos.dtype), torch.float32)
    return span, cos.to(wide), sin.to(wide)


def _grows(x: Tensor, cos: Tensor) -> bool:
    """Whether the tables have rows that x has not, so that the result is larger."""
    rows = x.shape[:-1]
    return cos.ndim > x.ndim or any(c not in (1, n) for c, n in zip(reversed(cos.shape[:-1]), reversed(rows)))


def _formula(x: Tensor, cos: Tensor, sin: Tensor, layout: Layout) -> Tensor:
    """As it is written, in real numbers (inductor has no complex ones)."""
    y = x.to(cos.dtype)
    a, b = y.chunk(2, -1) if layout == "half" else y.unflatten(-1, (-1, 2)).unbind(-1)
    turned = (a * cos - b * sin, a * sin + b * cos)
    joined = torch.cat(turned, -1) if layout == "half" else torch.stack(turned, -1).flatten(-2)
    return joined.to(x.dtype)


def _with_heads(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return cos.unsqueeze(-3), sin.unsqueeze(-3)

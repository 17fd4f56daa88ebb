"""Attention in time and memory that grow with the length alone, with rotary positions in its numerator.

    out_i = sum_j <R_i phi(q_i), R_j phi(k_j)> v_j  /  sum_j <phi(q_i), phi(k_j)>

The rotation comes after the feature map, so that weights depend on the distance, and in the numerator alone, so that
the sum below stays positive. (Turned weights may be negative, and need not sum to 1.) An encoding that multiplies
queries and keys otherwise (xPos) takes the place of R; one that marks tokens leaves R = 1; one that adds to scores has
no place here, as there are none.

Sums over the keys are all there is to remember: one line of code is the parallel, the chunked and the recurrent form
(`running_sums.py`). Seen both ways, the sums are those of the whole row, and rows of several sequences (`segments`) are
read forwards and backwards. Padding (`mask`) is left out of all sums. Sums are kept in float32 at least.

References:
    Su et al. 2021, RoFormer, arXiv 2104.09864, equation 19.
    Katharopoulos et al. 2020, Transformers are RNNs, arXiv 2006.16236.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Heads, Tokens
from pushforward.nets.attention import check_width
from pushforward.nets.feature_maps import EluFeatures, FeatureMap
from pushforward.nets.running_sums import Mapped, Summed, scan
from pushforward.positions import Placed, Polar, Position, XPos, place

PIECE = 64
"""Tokens of a piece: below it loops cost, above it pairs do."""


def linear_attention(
    q: Heads, k: Heads, v: Heads, placed: Placed, map: FeatureMap, mask: Tensor | None = None,
    segments: Tensor | None = None, causal: bool = False, piece: int | None = PIECE,
) -> Heads:  # fmt: skip
    """Attention through a feature map, [batch, heads, queries, features].

    Args:
        q: queries, [batch, heads, queries, features].
        k: keys, [batch, heads, keys, features].
        v: values.
        placed: the encoding at the tokens' positions, made for the size of the map (`place_linear`).
        map: phi.
        mask: where True, a key is seen; broadcastable to [batch, heads, 1, keys]. A query that sees none gets zeros.
        segments: which sequence each token is of, whole numbers [tokens] or [batch, tokens]; those of one sequence
            stand together and see each other alone.
        causal: a token sees itself and what stands before it in the row.
        piece: how many tokens are read at once; None for all.

    Raises:
        ConfigError: the encoding needs scores.
        ShapeError: a mask for pairs; causal or with segments, other queries than keys; a sequence in two places.
    """
    tokens = _mapped(q, k, v, placed, map, mask, segments, same=causal or segments is not None)
    if causal:
        return scan(tokens, None, piece)[0].ratio(v.dtype)
    if piece is None:
        return tokens.met(tokens.together()).ratio(v.dtype)
    if segments is None:
        return tokens.read(tokens.summed(None)).ratio(v.dtype)
    past, future = scan(tokens, None, piece)[0], scan(tokens.backwards(), None, piece)[0].backwards()
    return past.plus(future).plus(tokens.itself(), -1).ratio(v.dtype)


def linear_extend(
    q: Heads, k: Heads, v: Heads, placed: Placed, map: FeatureMap, state: Summed | None = None,
    mask: Tensor | None = None, segments: Tensor | None = None, piece: int | None = PIECE,
) -> tuple[Heads, Summed]:  # fmt: skip
    """Causal attention of the next tokens to themselves and all read before, and what to remember then.

    Args:
        q, k, v, placed, map, mask, segments, piece: as in `linear_attention`, of the new tokens.
        state: what was remembered; None at the start. It is not changed.

    Raises:
        ConfigError: as there; or an `XPos` whose origin is not given, which would be another for each call.
        ShapeError: as there.
    """
    if isinstance(placed.position, XPos) and placed.position.origin is None:
        raise ConfigError(explain("XPos with an origin, where keys are remembered", "None", "Make XPos(origin=0.0)."))
    tokens = _mapped(q, k, v, placed, map, mask, segments, same=True)
    said, state = scan(tokens, state, piece, keep=True)
    assert state is not None
    return said.ratio(v.dtype), state


def place_linear(position: Position, map: FeatureMap, pos: Tensor, features: int, dtype: torch.dtype) -> Placed:
    """`place` for heads of this size behind a feature map.

    Raises:
        ConfigError: the encoding needs scores (`Properties.linear_attention`), or is a map of its own (`Polar`).
    """
    check_linear(position)
    return place(position, pos, map.size(features), dtype)


def check_linear(position: Position) -> None:
    """Refuse an encoding that needs scores, or whose map of features is not linear.

    Raises:
        ConfigError: it is such an encoding.
    """
    if isinstance(position, Polar) or not position.properties.linear_attention:
        raise ConfigError(explain(
            "an encoding that works with linear attention, where scores are never formed", type(position).__name__,
            "Use Rotary() or an encoding that marks tokens, or softmax attention.",
        ))  # fmt: skip


class LinearAttention(nn.Module):
    """Multi-head attention through a feature map, with explicit positions; weights as in `Attention`.

    Args:
        width: size of a token.
        heads: how many heads share it; width must be divisible by it.
        position: the encoding; what it does to embedded tokens is the business of the net around the layers.
        map: phi; None is elu(x) + 1.
        causal: a token sees itself and the tokens before it.

    Raises:
        ConfigError: width is not divisible by heads, or the encoding needs scores.

    >>> from pushforward.positions import Rotary
    >>> layer, x = LinearAttention(8, 2, Rotary(), causal=True), torch.randn(1, 5, 8)
    >>> first, state = layer.extend(x[:, :4], torch.arange(4))
    >>> last, state = layer.extend(x[:, 4:], torch.tensor([4]), state)
    >>> torch.allclose(torch.cat([first, last], 1), layer(x, torch.arange(5)), atol=1e-6)
    True
    """

    def __init__(
        self, width: int, heads: int, position: Position, map: FeatureMap | None = None, causal: bool = False
    ) -> None:
        super().__init__()
        check_width(width, heads)
        check_linear(position)
        self.width, self.heads, self.causal = width, heads, causal
        self.position, self.map = position, map or EluFeatures()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tokens, pos: Tensor, mask: Tensor | None = None, placed: Placed | None = None,
        segments: Tensor | None = None,
    ) -> Tokens:  # fmt: skip
        """Mix the tokens, [batch, tokens, width].

        Args:
            x: [batch, tokens, width].
            pos: where they stand, [*batch, tokens] or [*batch, tokens, axes].
            mask: where True, a key is seen; broadcastable to [batch, heads, 1, keys].
            placed: an encoding evaluated once for all layers (`place_linear`); it replaces `position` and `pos`.
            segments: which sequence each token is of, [tokens] or [batch, tokens].
        """
        q, k, v = self._split(x)
        placed = placed or place_linear(self.position, self.map, pos, q.shape[-1], q.dtype)
        return self._joined(linear_attention(q, k, v, placed, self.map, mask, segments, self.causal))

    def extend(
        self, x: Tokens, pos: Tensor, state: Summed | None = None, mask: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> tuple[Tokens, Summed]:  # fmt: skip
        """The next tokens in context of all before, and what to remember; the work does not grow with their number.

        Args:
            x, pos, mask, segments: as in `forward`, of the new tokens.
            state: what was remembered; None at the start.

        Raises:
            ConfigError: the layer sees both ways.
        """
        if not self.causal:
            raise ConfigError(explain("a causal layer", "one that sees both ways", "Make it with causal=True."))
        q, k, v = self._split(x)
        placed = place_linear(self.position, self.map, pos, q.shape[-1], q.dtype)
        out, state = linear_extend(q, k, v, placed, self.map, state, mask, segments)
        return self._joined(out), state

    def _split(self, x: Tokens) -> Iterator[Heads]:
        return (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))

    def _joined(self, out: Heads) -> Tokens:
        return self.out(out.transpose(1, 2).flatten(2))


def _mapped(
    q: Heads, k: Heads, v: Heads, placed: Placed, map: FeatureMap, mask: Tensor | None, segments: Tensor | None,
    same: bool,
) -> Mapped:  # fmt: skip
    check_linear(placed.position)
    if same and q.shape[-2] != k.shape[-2]:
        raise ShapeError(explain(
            f"{q.shape[-2]} keys, one per query", f"{k.shape[-2]}", "Read on with linear_extend instead.",
        ))  # fmt: skip
    wide = torch.promote_types(q.dtype, torch.float32)
    fq, fk, v = map(q.to(wide), free=True), map(k.to(wide)), v.to(wide)
    if mask is not None:
        fk = fk.masked_fill(~_of_keys(mask), 0.0)
    if segments is not None:
        segments = segments if segments.ndim > 1 else segments[None]
        _check_runs(segments, q.shape[-2])
    tq, tk = (fq, fk) if placed.rotation is None else placed.rotation(fq, fk)
    return Mapped(fq, fk, tq, tk, v, segments)


def _of_keys(mask: Tensor) -> Tensor:
    """A mask of keys, [..., keys, 1]."""
    if mask.ndim > 1 and mask.shape[-2] != 1:
        raise ShapeError(explain(
            "a mask of keys, [batch, heads, 1, keys]", f"one of pairs, {list(mask.shape)}",
            "Linear attention has no pairs: use causal and segments.",
        ))  # fmt: skip
    return mask.bool().unsqueeze(-1) if mask.ndim < 2 else mask.bool().mT


def _check_runs(segments: Tensor, tokens: int) -> None:
    """Refuse segments of another length, or such that do not stand together."""
    if segments.ndim != 2 or segments.shape[-1] != tokens:
        got = f"{list(segments.shape)}"
        raise ShapeError(explain(f"segments [batch, {tokens}]", got, "Say of each token which sequence it is of."))
    if torch.compiler.is_compiling() or segments.is_meta:
        return
    runs, kinds = ((row[:, 1:] != row[:, :-1]).sum(-1) for row in (segments, segments.sort(-1).values))
    if bool((runs != kinds).any()):
        first = segments[int((runs != kinds).nonzero()[0])].unique_consecutive().tolist()
        raise ShapeError(explain(
            "each sequence in one place of its row", f"segments {first}", "Give them different numbers.",
        ))  # fmt: skip

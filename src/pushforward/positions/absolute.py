"""Encodings that mark the tokens themselves, and the one that marks nothing.

    Unordered         x                     attention sees a set (or, if causal, only what is in the past)
    Learned           x + P[pos]            one vector per position of a table of fixed length
    Multiplicative    x (1 + P[pos])        the same as a factor
    Sinusoidal        x + s(pos)            s_2c = sin(pos theta_c), s_2c+1 = cos(pos theta_c)

<s(m), s(n)> = sum_c cos((m - n) theta_c) depends on the distance alone, but the scores of x + s(pos) do not.

A table of n rows reaches n**2 positions if position k = a n + b is made of two of them (`hierarchy` alpha):

    U = (P - alpha P_0) / (1 - alpha),    row(k) = alpha U_a + (1 - alpha) U_b,    row(k) = P_k for k < n,

so a trained table is extended without changing what it says where it was trained.

References: Vaswani et al. 2017, arXiv 1706.03762; Kazemnejad et al. 2023 (no encoding), arXiv 2305.19466;
Su 2020 (hierarchical decomposition), kexue.fm/archives/7947.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Tokens
from pushforward.positions.distance import check_whole, readable
from pushforward.positions.position import Embeds, Position, Properties
from pushforward.positions.rotary import check_base
from pushforward.positions.rotation import Layout, check_layout, frequencies, phases


@dataclass(frozen=True, slots=True)
class Unordered(Position):
    """No encoding (NoPE): without a causal mask, attention commutes with every permutation of the tokens.

    Args:
        axes: how many coordinates the ignored positions may have.
    """

    axes: int = 1

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, toeplitz=True, axes=self.axes)


class Learned(nn.Module, Embeds):
    """One trained vector per position, added to the token there.

    Args:
        tokens: length of the table; positions run from 0 to tokens - 1.
        width: size of a token.
        std: standard deviation of the start values.
        hierarchy: the alpha that extends the table to tokens**2 positions, usually 0.4; None does not.

    References:
        Devlin et al. 2018, arXiv 1810.04805 (std 0.02); Su 2020 (hierarchy).
    """

    def __init__(self, tokens: int, width: int, std: float = 0.02, hierarchy: float | None = None) -> None:
        super().__init__()
        _check_hierarchy(hierarchy)
        self.hierarchy = hierarchy
        self.table = nn.Parameter(torch.randn(tokens, width) * std)

    @property
    def properties(self) -> Properties:
        return Properties(extrapolates=False, fractional=False)

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """x + table[pos].

        Raises:
            ShapeError: a position lies outside the table or is not whole, or x has another width.
        """
        return x + rows(self.table, x, pos, self.hierarchy, "Learned")


class Multiplicative(nn.Module, Embeds):
    """One trained vector per position, by which the token there is multiplied: x (1 + P[pos]). It starts at x.

    Args:
        tokens: length of the table; positions run from 0 to tokens - 1.
        width: size of a token.
        hierarchy: the alpha that extends the table to tokens**2 positions; None does not.

    >>> Multiplicative(4, 2).embed(torch.ones(1, 1, 2), torch.tensor([3])).tolist()
    [[[1.0, 1.0]]]
    """

    def __init__(self, tokens: int, width: int, hierarchy: float | None = None) -> None:
        super().__init__()
        _check_hierarchy(hierarchy)
        self.hierarchy = hierarchy
        self.table = nn.Parameter(torch.zeros(tokens, width))

    @property
    def properties(self) -> Properties:
        return Properties(extrapolates=False, fractional=False)

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """x (1 + table[pos]); raises as `Learned.embed` does."""
        return x * (1 + rows(self.table, x, pos, self.hierarchy, "Multiplicative"))


@dataclass(frozen=True, slots=True)
class Sinusoidal(Embeds):
    """Fixed waves of log-spaced frequencies added to the tokens.

    Args:
        base: frequencies run from 1 down to about 1/base radians per position.
        layout: "interleaved" [sin, cos, sin, cos, ...] as in the paper, or "half" [sines | cosines].

    References:
        Vaswani et al. 2017, arXiv 1706.03762.

    >>> Sinusoidal().embed(torch.zeros(1, 1, 4), torch.tensor([0]))
    tensor([[[0., 1., 0., 1.]]])
    """

    base: float = 10_000.0
    layout: Layout = "interleaved"

    def __post_init__(self) -> None:
        check_base(self.base)
        check_layout(self.layout)

    @property
    def properties(self) -> Properties:
        return Properties()

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        return x + sinusoids(pos, x.shape[-1], self.base, self.layout).to(x.dtype)


def sinusoids(pos: Tensor, width: int, base: float = 10_000.0, layout: Layout = "interleaved") -> Tensor:
    """The waves themselves in the widest dtype, [*pos, width].

    Raises:
        ConfigError: width is odd.
    """
    if width % 2:
        raise ConfigError(explain("an even width", str(width), "Waves come in pairs of sine and cosine."))
    angles = phases(pos, frequencies(base, width, pos.device))
    if layout == "half":
        return torch.cat([angles.sin(), angles.cos()], -1)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def rows(table: Tensor, x: Tokens, pos: Tensor, hierarchy: float | None, name: str) -> Tensor:
    """The rows of a table at these positions, [*pos, width].

    Args:
        table: one row per position, [tokens, width].
        x: the tokens they are for.
        pos: whole positions.
        hierarchy: the alpha that extends the table to tokens**2 positions; None does not.
        name: whose table it is, for the error.

    Raises:
        ShapeError: a position lies outside the table or is not whole, or x has another width.
    """
    tokens, width = table.shape
    if x.shape[-1] != width:
        raise ShapeError(explain(
            f"tokens of width {width}", f"width {x.shape[-1]}", f"Make {name}({tokens}, {x.shape[-1]}).",
        ))  # fmt: skip
    check_whole(pos, "Sinusoidal or Rotary")
    end = tokens if hierarchy is None else tokens**2
    if readable(pos):
        low, high = int(pos.min()), int(pos.max())
        if low < 0 or high >= end:
            raise ShapeError(explain(
                f"positions from 0 to {end - 1}, the reach of the learned table",
                f"{low if low < 0 else high}",
                f"Make {name}({max(high + 1, tokens)}, {width}), or use Rotary.",
            ))  # fmt: skip
    if hierarchy is None:
        return table[pos]
    parts = (table - hierarchy * table[:1]) / (1 - hierarchy)
    return hierarchy * parts[pos // tokens] + (1 - hierarchy) * parts[pos % tokens]


def _check_hierarchy(hierarchy: float | None) -> None:
    if hierarchy is not None and not 0 < hierarchy < 1:
        raise ConfigError(explain("a hierarchy between 0 and 1", f"{hierarchy:g}", "Use 0.4, as its author does."))

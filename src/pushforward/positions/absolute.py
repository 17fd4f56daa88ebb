"""Encodings that mark the tokens themselves, and the one that marks nothing.

    Unordered    x                     attention sees a set (or, if causal, only what is in the past)
    Learned      x + P[pos]            one vector per position of a table of fixed length
    Sinusoidal   x + s(pos)            s_2c = sin(pos theta_c), s_2c+1 = cos(pos theta_c)

<s(m), s(n)> = sum_c cos((m - n) theta_c) depends on the distance alone, but the scores of x + s(pos) do not.

References: Vaswani et al. 2017, arXiv 1706.03762; Kazemnejad et al. 2023 (no encoding), arXiv 2305.19466.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Tokens
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

    References:
        Devlin et al. 2018, arXiv 1810.04805 (std 0.02).
    """

    def __init__(self, tokens: int, width: int, std: float = 0.02) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(tokens, width) * std)

    @property
    def properties(self) -> Properties:
        return Properties(extrapolates=False)

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """x + table[pos].

        Raises:
            ShapeError: a position lies outside the table or is not whole, or x has another width.
        """
        tokens, width = self.table.shape
        if x.shape[-1] != width:
            raise ShapeError(explain(
                f"tokens of width {width}", f"width {x.shape[-1]}", f"Make Learned({tokens}, {x.shape[-1]}).",
            ))  # fmt: skip
        if pos.is_floating_point() or pos.is_complex():
            raise ShapeError(explain(
                "whole positions", f"{pos.dtype}", "Pass an integer tensor, or use Sinusoidal or Rotary.",
            ))  # fmt: skip
        if not torch.compiler.is_compiling() and not pos.is_meta and pos.numel():
            low, high = int(pos.min()), int(pos.max())
            if low < 0 or high >= tokens:
                raise ShapeError(explain(
                    f"positions from 0 to {tokens - 1}, the length of the learned table",
                    f"{low if low < 0 else high}",
                    f"Make Learned({max(high + 1, tokens)}, {width}), or use Rotary.",
                ))  # fmt: skip
        return x + self.table[pos]


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

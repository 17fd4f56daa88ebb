"""Positions that leak from a border: a depth-wise convolution with zero padding.

    x_i <- x_i + b + sum over o of w_o x_{i + o},        x_{i + o} = 0 where no token stands

Away from the border this commutes with a shift; near it the missing neighbours tell the token where it is, and layers
carry that inwards. There is nothing to extrapolate. Neighbours are tokens in memory whose position says so as well
(pos_{i + o} = pos_i + o), so packed sequences do not touch and padding, which stands at position 0, is no neighbour.

References: Islam et al. 2020, How Much Position Information Do Convolutional Neural Networks Encode?,
arXiv 2001.08248; Chu et al. 2021, Conditional Positional Encodings for Vision Transformers, arXiv 2102.10882.
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pushforward._errors import ConfigError, explain
from pushforward._typing import Tokens
from pushforward.positions.position import Embeds, Properties


class Conditional(nn.Module, Embeds):
    """A depth-wise convolution over the tokens, added to them (CPE; on images the PEG of CPVT).

    Args:
        width: size of a token.
        kernel: taps along each axis, an odd number; with `causal`, how many tokens are read: itself and those before.
        columns: tokens in a row of an image whose rows are stored one after the other; None for sequences.
        causal: only tokens before are read (sequences).

    Raises:
        ConfigError: an even kernel that has no middle, or a causal image.
    """

    def __init__(self, width: int, kernel: int = 3, columns: int | None = None, causal: bool = False) -> None:
        super().__init__()
        if kernel < 1 or (kernel % 2 == 0 and not causal):
            raise ConfigError(explain("an odd kernel", str(kernel), "Use 3."))
        if causal and columns is not None:
            raise ConfigError(explain("a causal sequence", "causal with columns", "Drop one of them."))
        self.causal, self.axes = causal, 1 if columns is None else 2
        taps = range(1 - kernel, 1) if causal else range(-(kernel // 2), kernel // 2 + 1)
        self.offsets = tuple(product(taps, repeat=self.axes))
        self.strides = (1,) if columns is None else (columns, 1)
        bound = len(self.offsets) ** -0.5
        self.weight = nn.Parameter(torch.empty(len(self.offsets), width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(width))

    @property
    def properties(self) -> Properties:
        return Properties(relative=True, reads="past" if self.causal else "around", axes=self.axes)

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """x + its convolution; tokens are stored in the order of their positions."""
        where = pos.unsqueeze(-1) if self.axes == 1 else pos
        out = x + self.bias
        for weight, offset in zip(self.weight, self.offsets):
            by = sum(o * stride for o, stride in zip(offset, self.strides))
            if abs(by) >= x.shape[-2]:
                continue
            near = (_moved(where, by) - where == torch.tensor(offset, device=pos.device)).all(-1, keepdim=True)
            inside = _moved(torch.ones_like(where[..., :1], dtype=torch.bool), by)
            out = out + weight * _moved(x, by).masked_fill(~(near & inside), 0)
        return out


def _moved(x: Tensor, by: int) -> Tensor:
    """Row i is row i + by, zeros where there is none."""
    x = x[..., by:, :] if by > 0 else x[..., : x.shape[-2] + by, :]
    return pad(x, (0, 0, 0, by) if by > 0 else (0, 0, -by, 0))

"""Words as waves: a complex embedding whose phase runs with the position.

    z_{w,c}(pos) = r_{w,c} exp(i (omega_{w,c} pos + phi_{w,c}))

Word w has in each feature an amplitude r, a frequency omega and a phase phi; z(pos + n) = z(pos) exp(i omega n) and
|z| does not depend on the position. `complex_order` is this formula. Where words share their frequencies
(omega_c), r exp(i phi) is any complex embedding, so the encoding acts on embedded tokens alone: `ComplexOrder` reads
a token of width d as d/2 complex numbers [Re | Im] and turns each by omega_c pos, omega being trained.

Reference: Wang et al. 2020, Encoding word order in complex embeddings, arXiv 1912.12333.
"""

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Tokens
from pushforward.positions.distance import widest
from pushforward.positions.position import Embeds, Properties
from pushforward.positions.rotation import frequencies, rotate


class ComplexOrder(nn.Module, Embeds):
    """Complex tokens [Re | Im] that turn with their position, at trained frequencies all words share.

    Args:
        width: size of a token, twice the number of complex features.
        base: frequencies start from 1 down to about 1/base radians per position.

    Raises:
        ConfigError: width is odd.
    """

    def __init__(self, width: int, base: float = 10_000.0) -> None:
        super().__init__()
        if width % 2:
            raise ConfigError(explain("an even width", str(width), "Real and imaginary parts come in pairs."))
        self.frequency = nn.Parameter(frequencies(base, width).to(torch.get_default_dtype()))

    @property
    def properties(self) -> Properties:
        return Properties()

    def embed(self, x: Tokens, pos: Tensor) -> Tokens:
        """Tokens of the same width, each complex number turned by frequency * pos."""
        wide = widest(pos.device)
        angles = pos.to(wide).unsqueeze(-1) * self.frequency.to(wide)
        kept = torch.promote_types(x.dtype, torch.float32)
        return rotate(x, angles.cos().to(kept), angles.sin().to(kept), "half")


def complex_order(amplitude: Tensor, frequency: Tensor, phase: Tensor, pos: Tensor) -> Tensor:
    """r exp(i (omega pos + phi)), [*batch, tokens, features], complex.

    Args:
        amplitude: r of each token's word, [*batch, tokens, features].
        frequency: omega in radians per position, broadcastable to it: per word, per feature, or both.
        phase: phi, broadcastable to it.
        pos: positions, [*batch, tokens].

    >>> one, quarter = torch.ones(2, 1), torch.full((2, 1), torch.pi / 2)
    >>> complex_order(one, quarter, 0 * one, torch.tensor([0, 2])).real.tolist()
    [[1.0], [-1.0]]
    """
    angles = frequency.to(widest(pos.device)) * pos.unsqueeze(-1) + phase
    return amplitude * torch.complex(angles.cos().to(amplitude.dtype), angles.sin().to(amplitude.dtype))

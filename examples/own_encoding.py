"""Your own position encoding: a class with one formula, proven, then used in memory that grows with the length alone.

A bias of the distance is a `Toeplitz` encoding. `check_encoding` shows what holds and what was promised. Torch's own
attention takes the bias of all pairs as a view of one number per distance, if the queries come in reverse order.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

import pushforward as pf
from pushforward.positions import Properties, Toeplitz, check_encoding, diagonals, spread


@dataclass(frozen=True)
class Root(Toeplitz):
    """Each head forgets with the square root of the distance, at a rate of its own."""

    rates: tuple[float, ...]

    @property
    def properties(self) -> Properties:
        """Scores see the distance alone, and need to be formed."""
        return Properties(relative=True, toeplitz=True, linear_attention=False)

    def by_distance(self, distance: torch.Tensor) -> torch.Tensor:
        """The bias of each head, [heads, *distance.shape]."""
        rates = torch.tensor(self.rates, dtype=torch.float64)
        return -rates.view(-1, *[1] * distance.ndim) * distance.abs().sqrt()


root = Root((1.0, 0.5, 0.25, 0.125))
proof = check_encoding(root, heads=4)
print(proof)
assert proof.exact

torch.manual_seed(0)
tokens = 300
q, k, v = torch.randn(3, 1, 4, tokens, 16, dtype=torch.float64).unbind(0)
pos = torch.arange(tokens)

bias = spread(diagonals(root, tokens, tokens), tokens)  # [4, 300, 300], of which 4 x 599 numbers exist
theirs = scaled_dot_product_attention(q.flip(-2), k, v, attn_mask=bias[None]).flip(-2)
dense = scaled_dot_product_attention(q, k, v, attn_mask=root.bias(pos, pos)[None])
ours = pf.nets.attend(q, k, v, pf.positions.place(root, pos, 16, q.dtype))
print(f"{bias.untyped_storage().nbytes():,} bytes hold a bias of {bias.numel() * 8:,} bytes")
assert torch.allclose(theirs, dense)
assert torch.allclose(theirs, ours)

"""Position encodings with other people's attention: here torch's own `scaled_dot_product_attention`.

An encoding is a value with hooks; `rotate` is all a rotary one needs. What comes out depends on differences of
positions alone, and on two axes in `Axial`, so a picture that moves as a whole is attended to as before.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention

import pushforward as pf

torch.manual_seed(0)
q, k, v = torch.randn(3, 2, 4, 64, 32, dtype=torch.float64).unbind(0)  # batch 2, 4 heads, 8 x 8 tokens, 32 features

row_and_column = pf.positions.grid(8, 8)


def attention(position: pf.positions.Rotates, pos: torch.Tensor) -> torch.Tensor:
    """Their attention, our positions."""
    return scaled_dot_product_attention(*position.rotate(q, k, pos, pos), v)


index = torch.arange(64)
for position, pos, shift in [
    (pf.positions.Rotary(), index, torch.tensor(5)),
    (pf.positions.Axial(), row_and_column, torch.tensor([3, -2])),
]:
    here, moved = attention(position, pos), attention(position, pos + shift)
    swapped = attention(position, pos.flip(0))
    print(f"{position}: moved {(here - moved).abs().max():.0e}, reversed {(here - swapped).abs().max():.2f}")
    assert torch.allclose(here, moved)
    assert not torch.allclose(here, swapped, atol=0.1)

# weights trained with pairs (i, i + 16) of each head, used with pairs (2i, 2i + 1): reorder the rows once
x, weight = torch.randn(10, 64, dtype=torch.float64), torch.randn(2, 64, 64, dtype=torch.float64)
pos = torch.arange(10)


def scores(weights: list[torch.Tensor], layout: pf.positions.Layout) -> torch.Tensor:
    """Query-key products of two heads of 32 features."""
    q, k = ((x @ w.T).unflatten(-1, (2, 32)).transpose(0, 1) for w in weights)
    q, k = pf.positions.Rotary(layout=layout).rotate(q, k, pos, pos)
    return q @ k.mT


theirs = scores(list(weight), "half")
ours = scores([pf.positions.convert_layout(w, 32, "half", "interleaved") for w in weight], "interleaved")
print(f"after convert_layout the scores agree to {(theirs - ours).abs().max():.0e}")
assert torch.allclose(theirs, ours)

"""A window of distances, against the definition written out in two matrices of scores."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.nets import Attention
from pushforward.positions import ReRoPE, Rotary

WIDTH, HEADS, TOKENS = 24, 2, 20


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("trained", [None, 6])
@pytest.mark.parametrize("window", [1, 5, 50])
def test_attention_is_the_definition(layout, fraction, trained, window):
    torch.manual_seed(0)
    layer = Attention(WIDTH, HEADS, ReRoPE(window, 100.0, layout, fraction, trained), causal=True).double()
    x, pos = torch.randn(2, TOKENS, WIDTH, dtype=torch.float64), torch.arange(TOKENS)
    q, k, v = (z.unflatten(-1, (HEADS, -1)).transpose(1, 2) for z in layer.qkv(x).chunk(3, -1))
    if trained:
        q = q * ((pos + 1).double().log() / math.log(trained)).clamp(min=1)[:, None]
    rotary = Rotary(100.0, layout, fraction)
    near_q, near_k = rotary.rotate(q, k, pos, pos)
    far_q, far_k = rotary.rotate(q, k, torch.full_like(pos, window), torch.zeros_like(pos))
    close = pos[:, None] - pos < window
    scores = torch.where(close, near_q @ near_k.mT, far_q @ far_k.mT) / math.sqrt(WIDTH / HEADS)
    scores = scores.masked_fill(pos[:, None] < pos, -math.inf)
    expected = layer.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, pos), expected)


def test_errors_teach():
    with pytest.raises(PushforwardError, match="window of at least 1"):
        ReRoPE(0)
    with pytest.raises(PushforwardError, match="trained length"):
        ReRoPE(4, trained=1)

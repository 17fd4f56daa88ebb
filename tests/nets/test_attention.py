"""Attention against loops, with every hook a position encoding may have."""

import math
from dataclasses import dataclass

import pytest
import torch

from pushforward import PushforwardError
from pushforward.nets import Attention, attend, place
from pushforward.positions import ALiBi, Biases, Position, Properties, Rotary, Scores, Unordered, Values

T = 6


@dataclass(frozen=True, eq=False)
class Slope(Biases):
    """-|i - j| per head: a bias."""

    @property
    def properties(self):
        return Properties(relative=True, toeplitz=True, linear_attention=False)

    def bias(self, pos_q, pos_k):
        slopes = torch.tensor([0.5, 0.25], dtype=torch.float64)
        return -slopes[:, None, None] * (pos_q[:, None] - pos_k).abs()


@dataclass(frozen=True, eq=False)
class Clipped(Scores, Values):
    """Shaw's vectors of the clipped distance, in the scores and in the values."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def properties(self):
        return Properties(relative=True, linear_attention=False)

    def _index(self, pos_q, pos_k):
        return (pos_k - pos_q[:, None]).clamp(-2, 2) + 2

    def score(self, q, k, pos_q, pos_k, mask=None):
        return torch.einsum("bhid,ijd->bhij", q, self.keys[self._index(pos_q, pos_k)]) / math.sqrt(q.shape[-1])

    def value(self, v, weights, pos_q, pos_k):
        return torch.einsum("bhij,ijd->bhid", weights, self.values[self._index(pos_q, pos_k)])


def heads(tokens=T, features=4):
    torch.manual_seed(0)
    return torch.randn(3, 2, 2, tokens, features, dtype=torch.float64).unbind(0)


def loop(q, k, v, bias=None, key=None, value=None, allowed=lambda i, j: True):
    """Softmax attention, one number at a time."""
    out = torch.zeros_like(v)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                seen = [j for j in range(k.shape[2]) if allowed(i, j)]
                scores = []
                for j in seen:
                    toward = k[b, h, j] if key is None else k[b, h, j] + key(i, j)
                    extra = 0.0 if bias is None else bias(h, i, j)
                    scores.append(q[b, h, i] @ toward / math.sqrt(q.shape[-1]) + extra)
                weights = torch.stack(scores).softmax(0)
                for w, j in zip(weights, seen, strict=True):
                    out[b, h, i] += w * (v[b, h, j] if value is None else v[b, h, j] + value(i, j))
    return out


@pytest.mark.parametrize("tokens", [T, 20])
@pytest.mark.parametrize("causal", [False, True])
def test_plain(tokens, causal):
    q, k, v = heads(tokens)
    placed = place(Unordered(), torch.arange(tokens), 4, torch.float64)
    out = attend(q, k, v, placed, causal=causal)
    torch.testing.assert_close(out, loop(q, k, v, allowed=lambda i, j: j <= i or not causal))


@pytest.mark.parametrize("tokens", [T, 20])
@pytest.mark.parametrize("causal", [False, True])
def test_bias_and_mask(tokens, causal):
    q, k, v = heads(tokens)
    placed = place(Slope(), torch.arange(tokens), 4, torch.float64)
    mask = torch.ones(tokens, tokens, dtype=torch.bool)
    mask[:, 1] = False
    out = attend(q, k, v, placed, mask | torch.eye(tokens, dtype=torch.bool), causal)

    def allowed(i, j):
        return (j != 1 or i == 1) and (j <= i or not causal)

    expected = loop(q, k, v, bias=lambda h, i, j: -[0.5, 0.25][h] * abs(i - j), allowed=allowed)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("tokens", [T, 20])
def test_terms_in_scores_and_values(tokens):
    q, k, v = heads(tokens)
    keys, values = torch.randn(2, 5, 4, dtype=torch.float64)
    placed = place(Clipped(keys, values), torch.arange(tokens), 4, torch.float64)

    def at(table):
        return lambda i, j: table[min(max(j - i, -2), 2) + 2]

    expected = loop(q, k, v, key=at(keys), value=at(values), allowed=lambda i, j: j <= i)
    torch.testing.assert_close(attend(q, k, v, placed, causal=True), expected)


def test_a_placed_encoding_takes_the_place_of_the_layers_own():
    torch.manual_seed(0)
    rotary, plain = Attention(8, 2, Rotary()), Attention(8, 2, Unordered())
    plain.load_state_dict(rotary.state_dict())
    x, pos = torch.randn(1, T, 8), torch.arange(T)
    placed = place(Rotary(), pos, 4, x.dtype)
    assert torch.equal(plain(x, pos, placed=placed), rotary(x, pos))
    assert not torch.allclose(plain(x, pos), rotary(x, pos))


def test_long_sequences_have_forward_derivatives_too():
    torch.manual_seed(0)
    layer = Attention(8, 2, Rotary()).double()
    x, v = torch.randn(2, 1, 40, 8, dtype=torch.float64)
    pos = torch.arange(40)
    with torch.autograd.forward_ad.dual_level():
        out = layer(torch.autograd.forward_ad.make_dual(x, v), pos)
        tangent = torch.autograd.forward_ad.unpack_dual(out).tangent
    numeric = (layer(x + 1e-6 * v, pos) - layer(x - 1e-6 * v, pos)) / 2e-6
    torch.testing.assert_close(tangent, numeric, rtol=1e-5, atol=1e-8)


test_long_sequences_have_forward_derivatives_too = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)(test_long_sequences_have_forward_derivatives_too)


def test_heads_must_share_the_width():
    with pytest.raises(PushforwardError, match="width=10, heads=3"):
        Attention(10, 3, Unordered())


def test_an_encoding_is_asked_once_for_all_layers():
    from pushforward.nets import Transformer

    asked = []

    class Counting(Position):
        @property
        def properties(self):
            return Properties()

    class Turning(Counting, Biases):
        def bias(self, pos_q, pos_k):
            asked.append(1)
            return torch.zeros(len(pos_q), len(pos_k))

    net = Transformer((4, 2), Turning(), width=8, layers=3, heads=2)
    asked.clear()
    net(torch.randn(2, 4, 2), torch.rand(2))
    assert len(asked) == 1


@pytest.mark.parametrize("tokens", [T, 20])
def test_an_encoding_for_other_heads_is_refused(tokens):
    q, k, v = heads(tokens)
    with pytest.raises(PushforwardError, match=r"Expected 3 heads, for which ALiBi was made; got 2\. Make ALiBi for 2"):
        attend(q, k, v, place(ALiBi(3), torch.arange(tokens), 4, torch.float64))

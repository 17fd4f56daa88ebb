"""Layouts of weights: what converts, and what can be found out."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import Rotary, convert_layout, detect_layout

HEADS, D, WIDTH = 4, 8, 16
LAYOUTS = ("interleaved", "half")


def scores(w_q, w_k, bias, rotary, x, kv_heads=HEADS):
    """With grouped keys, biases and norms, as language models have them."""
    pos = torch.arange(x.shape[0])
    q = (x @ w_q.T + bias[0]).unflatten(-1, (HEADS, D)).transpose(0, 1)
    k = (x @ w_k.T + bias[1]).unflatten(-1, (kv_heads, D)).transpose(0, 1)
    q, k = (torch.nn.functional.rms_norm(z, (D,), norm) for z, norm in zip((q, k), bias[2:]))
    q, k = rotary.rotate(q[None], k[None], pos, pos)
    return q @ k.repeat_interleave(HEADS // kv_heads, 1).mT


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_biases_and_norms_convert_without_loss(fraction, source, dtype):
    torch.manual_seed(0)
    kv_heads, target = 2, LAYOUTS[source == "interleaved"]
    shapes = [(HEADS * D, WIDTH), (kv_heads * D, WIDTH), (HEADS * D,), (kv_heads * D,), (D,), (D,)]
    theirs = [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]
    ours = [convert_layout(w, D, source, target, fraction) for w in theirs]
    for a, b in zip(theirs, ours):
        assert torch.equal(convert_layout(b, D, target, source, fraction), a)  # to the bit, in any dtype
        assert a.dtype == b.dtype
    x = torch.randn(6, WIDTH, dtype=torch.float64)

    def of(weights, layout):
        w_q, w_k, *rest = (w.double() for w in weights)
        return scores(w_q, w_k, rest, Rotary(layout=layout, fraction=fraction), x, kv_heads)

    torch.testing.assert_close(of(ours, target), of(theirs, source))
    assert not torch.allclose(of(theirs, target), of(theirs, source), atol=1e-3)


@pytest.mark.parametrize("right", LAYOUTS)
def test_the_layout_shows_in_the_loss(right):
    """A model that copies: query and key weights that look eight tokens back, in one layout."""
    torch.manual_seed(0)
    features, back, tokens = 64, 8, 40
    rotary = Rotary(layout="half")
    ones = torch.cat([torch.ones(1, features // 2), torch.zeros(1, features // 2)], -1).double()  # one per pair
    key = rotary.rotate(ones[None, None], ones[None, None], torch.tensor([back]), torch.tensor([back]))[0][0, 0]
    w_q, w_k = (convert_layout(w.T.contiguous(), features, "half", right) for w in (ones, key))
    pos, text = torch.arange(tokens), torch.randint(0, 5, (tokens,))

    def loss(layout):
        q, k = (w.T.expand(1, 1, tokens, features) for w in (w_q, w_k))
        q, k = Rotary(layout=layout).rotate(q, k, pos, pos)
        weights = (4 * q @ k.mT)[0, 0].masked_fill(pos[:, None] < pos, -math.inf).softmax(-1)
        guess = weights @ torch.nn.functional.one_hot(text, 5).double()
        return -guess[back:].gather(1, text[:-back, None]).log().mean()

    assert detect_layout(loss) == right


@pytest.mark.parametrize(
    "losses",
    [
        {"interleaved": 5.0, "half": 5.0},  # random weights, a single token, a model without positions
        {"interleaved": 5.0, "half": 4.95},
        {"interleaved": 5.0, "half": math.nan},
        {"interleaved": math.inf, "half": 1.0},
        {"interleaved": 0.0, "half": 0.0},
    ],
)
def test_what_cannot_be_decided_is_not_decided(losses):
    assert detect_layout(losses.get) is None


def test_a_wider_margin_wants_more():
    losses = {"interleaved": 4.0, "half": 5.0}
    assert detect_layout(losses.get) == "interleaved"
    assert detect_layout(losses.get, margin=0.3) is None


def test_random_weights_do_not_tell():
    torch.manual_seed(0)
    w_q, w_k = torch.randn(2, D, WIDTH, dtype=torch.float64).unbind()
    x, pos = torch.randn(400, WIDTH, dtype=torch.float64), torch.arange(400)

    def loss(layout):
        q, k = ((x @ w.T)[None, None] for w in (w_q, w_k))
        q, k = Rotary(layout=layout).rotate(q, k, pos, pos)
        return -(q @ k.mT / D**0.5).log_softmax(-1).mean()

    assert detect_layout(loss, margin=0.05) is None


def test_errors_teach():
    with pytest.raises(PushforwardError, match="even number"):
        convert_layout(torch.ones(6), 3, "half", "interleaved")

"""What goes wrong with rotary positions elsewhere, each found in a library in use, each a test here.

Others of the kind are where they belong: frequencies that ignore `truncate` in test_extension, float32 phases in
test_spectrum, origins in test_xpos, arithmetic in the dtype of tables and inputs changed unseen in test_kernel.
"""

import copy

import pytest
import torch

from pushforward import PushforwardError
from pushforward.nets import Attention
from pushforward.positions import Axial, CustomRotary, Mixed, Multimodal, Polar, ReRoPE, Rotary, XPos, YaRN, grid

FAR = 4096


def invariance(dtype, rotary=None):
    """How much the score of neighbours varies along a text, and the scale of scores."""
    torch.manual_seed(0)
    rotary = rotary or Rotary()
    x = torch.randn(1, 1, 1, 64).expand(1, 1, FAR, 64).to(dtype)
    y = torch.randn(1, 1, 1, 64).expand(1, 1, FAR, 64).to(dtype)
    pos = torch.arange(FAR)
    q, k = (z.double() for z in rotary.rotate(x, y, pos, pos))
    scores = (q[:, :, 1:] * k[:, :, :-1]).sum(-1)
    return (scores.max() - scores.min()).item(), (x[0, 0, 0].double().norm() * y[0, 0, 0].double().norm()).item()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 5e-3), (torch.float16, 6e-4), (torch.float32, 5e-7)])
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_neighbours_score_alike_along_a_text(dtype, bound, layout):
    """Positions in bfloat16 make 16.6 of 61.7 elsewhere, tables in bfloat16 0.13."""
    spread, scale = invariance(dtype, Rotary(layout=layout))
    assert spread < bound * scale


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("position", [Rotary(), Rotary(extension=YaRN(4.0, 2048)), Axial(axes=1)])
def test_casting_a_model_does_not_touch_its_positions(position, cast):
    pos = torch.arange(8192) if position.properties.axes == 1 and not isinstance(position, Axial) else grid(8192)
    before = position.tables(pos, 64)
    layer = getattr(Attention(64, 1, position), cast)()
    assert not list(layer.buffers())
    for a, b in zip(layer.position.tables(pos, 64), before):
        assert torch.equal(a, b)


def test_casting_learned_frequencies_rounds_them_and_nothing_else():
    """Elsewhere positions are cast to the dtype of the frequencies: 12.4 of 69.6 after bfloat16()."""
    torch.manual_seed(0)
    encoding = Mixed(1, 64, axes=1, base=10_000.0).bfloat16()
    x = torch.randn(1, 1, 1, 64).expand(1, 1, FAR, 64)
    pos = torch.arange(FAR)
    q, k = encoding.rotate(x, x, pos, pos)
    scores = (q[:, :, 1:] * k[:, :, :-1]).sum(-1)
    assert (scores.max() - scores.min()) < 1e-5 * x[0, 0, 0].norm() ** 2


def test_a_model_made_on_the_meta_device_has_its_frequencies():
    with torch.device("meta"):
        layer = Attention(16, 2, Rotary())
    layer = layer.to_empty(device="cpu")
    fresh = Attention(16, 2, Rotary())
    layer.load_state_dict(fresh.state_dict())
    x, pos = torch.randn(1, 5, 16), torch.arange(5) + 100
    assert torch.equal(layer(x, pos), fresh(x, pos))


def test_nothing_of_positions_is_in_a_state_dict():
    layer = Attention(16, 2, Rotary())
    assert set(layer.state_dict()) == {"qkv.weight", "qkv.bias", "out.weight", "out.bias"}
    assert copy.deepcopy(layer).position == layer.position


def test_given_positions_have_an_effect():  # elsewhere position_ids are swallowed
    torch.manual_seed(0)
    layer, x = Attention(16, 2, Rotary()), torch.randn(1, 5, 16)
    assert not torch.allclose(layer(x, torch.arange(5)), layer(x, torch.tensor([0, 1, 2, 30, 4])))


def test_no_text_is_too_long():  # elsewhere an IndexError beyond the trained length
    layer, x = Attention(16, 2, Rotary()), torch.randn(1, 5, 16)
    torch.testing.assert_close(layer(x, torch.arange(5)), layer(x, torch.arange(5) + 10**11), rtol=0, atol=1e-5)


def test_an_odd_head_is_refused_in_words():
    with pytest.raises(PushforwardError, match="even number of rotated features"):
        Attention(14, 2, Rotary())(torch.randn(1, 5, 14), torch.arange(5))


def test_the_frequencies_of_a_partial_head_fill_the_part():  # elsewhere the head size is in the exponent
    rotary, full = Rotary(fraction=0.25), Rotary()
    for a, b in zip(rotary.tables(torch.tensor([1234]), 128), full.tables(torch.tensor([1234]), 32)):
        assert torch.equal(a, b)


def test_left_padding_changes_nothing():
    torch.manual_seed(0)
    layer, x = Attention(16, 2, Rotary(), causal=True), torch.randn(1, 5, 16)
    alone = layer(x, torch.arange(5))
    padded = torch.cat([torch.randn(1, 3, 16), x], 1)
    mask = (torch.arange(8) >= 3).expand(8, 8) | torch.eye(8, dtype=torch.bool)
    pos = torch.arange(8) - 3
    torch.testing.assert_close(layer(padded, pos, mask)[:, 3:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_decoding_token_by_token_is_the_whole_text(layout):  # offsets, per sequence
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 3, 9, 16).unbind()
    rotary, start = Rotary(layout=layout), torch.tensor([[0], [1000]])
    pos = start + torch.arange(9)
    whole = rotary.rotate(q, k, pos, pos)
    steps = [rotary.rotate(q[:, :, i : i + 1], k[:, :, i : i + 1], *[start + i] * 2) for i in range(9)]
    for a, b in zip(whole, zip(*steps)):
        torch.testing.assert_close(torch.cat(b, 2), a, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "position",
    [
        Rotary(extension=YaRN(4.0, 64)), Rotary(precision="float32"), Axial(), CustomRotary((0.5, 0.1)),
        Multimodal((2, 1, 1)), XPos(), ReRoPE(3), Polar(2, 8), Mixed(2, 8),
    ],
    ids=lambda position: type(position).__name__,
)  # fmt: skip
def test_attention_compiles_without_a_graph_break(position):
    torch.manual_seed(0)
    layer, axes = Attention(16, 2, position, causal=True), position.properties.axes
    x, pos = torch.randn(1, 20, 16), torch.arange(20)
    pos = pos if axes == 1 else pos[:, None].expand(-1, axes)
    whole = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(x, pos), layer(x, pos), rtol=0, atol=1e-6)
    torch._dynamo.reset()

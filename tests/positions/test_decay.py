"""Biases that fall with the distance."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import FIRE, KERPLE, ALiBi, alibi_slopes, attention, place


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (4, [0.25, 0.0625, 0.015625, 0.00390625]),
        (8, [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]),
        (
            12,
            [*(2.0**-n for n in range(1, 9)), 0.70710678, 0.35355339, 0.1767767, 0.08838835],
        ),
        (3, [0.0625, 0.00390625, 0.25]),
        (1, [0.00390625]),
    ],
)
def test_slopes_are_the_papers(heads, slopes):
    assert alibi_slopes(heads) == pytest.approx(slopes, abs=5e-9)
    pos = torch.arange(4)
    apart = (pos[:, None] - pos).abs().double()
    torch.testing.assert_close(
        ALiBi(heads).bias(pos, pos), -torch.tensor(alibi_slopes(heads)).double()[:, None, None] * apart
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_far_keys_keep_biases_of_their_own_in_low_precision(dtype):
    pos = torch.arange(8192)  # slope times absolute position, rounded, leaves 3 values for the last 64 keys
    placed = place(ALiBi(8), pos[-1:], 64, dtype, pos)
    assert placed.diagonals.dtype == dtype
    assert len(placed.diagonals[0, -64:].unique()) == 64
    rounded = placed.dense()[0, -1].double()
    torch.testing.assert_close(rounded, ALiBi(8).bias(pos[-1:], pos)[0, -1], rtol=torch.finfo(dtype).eps, atol=0)


def test_alibi_is_published_where_a_causal_mask_hides_the_rest():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 4, 6, 8, dtype=torch.float64).unbind(0)
    pos, past = torch.arange(6), torch.ones(6, 6, dtype=torch.bool).tril()
    out = attention(q, k, v, place(ALiBi(4), pos, 8, q.dtype), past)
    m = torch.tensor([0.25, 0.0625, 0.015625, 0.00390625]).double()[:, None, None]
    for bias in (m * pos, -m * (pos[:, None] - pos)):  # Bloom's and the paper's differ by a constant per row
        scores = (q @ k.mT / 8**0.5 + bias).masked_fill(~past, float("-inf"))
        torch.testing.assert_close(out, scores.softmax(-1) @ v)


def test_kernels_are_the_formulas_and_powers_hold_alibi():
    pos = torch.arange(6)
    apart = (pos[:, None] - pos).abs().double()
    for kernel in ("log", "power"):
        position = KERPLE(4, kernel).double()
        r, s = (p.detach().clamp(min=0.01)[:, None, None] for p in (position.r, position.s))
        expected = -r * torch.log(1 + s * apart) if kernel == "log" else -r * apart**s
        torch.testing.assert_close(position.bias(pos, pos).detach(), expected)
    with torch.no_grad():
        position.r.copy_(torch.tensor(alibi_slopes(4)))
        position.s.fill_(1)
    steep = slice(0, 3)  # the fourth slope lies below the smallest parameter
    torch.testing.assert_close(position.bias(pos, pos).detach()[steep], ALiBi(4).bias(pos, pos)[steep])


@pytest.mark.parametrize("kernel", ["log", "power"])
def test_kernels_are_conditionally_positive_definite(kernel):
    torch.manual_seed(0)
    position = KERPLE(6, kernel).double()
    with torch.no_grad():
        position.r[0], position.s[0] = -1.0, 3.0  # kept in their ranges
    bias = position.bias(pos := torch.arange(30), pos).detach()
    w = torch.randn(100, 30, dtype=torch.float64)
    w -= w.mean(-1, keepdim=True)
    assert (torch.einsum("wi,hij,wj->hw", w, bias, w) > -1e-10).all()
    assert bias[0, 0, 29] == pytest.approx(
        -0.01 * (29**2 if kernel == "power" else torch.log(torch.tensor(88.0)).item())
    )


def test_fire_measures_the_distance_as_a_part_of_the_position():
    position = FIRE(4, threshold=8.0).double()
    with torch.no_grad():
        position.c.fill_(0.5)
    pos = torch.arange(20)
    part = position.part(pos, pos).detach()
    i, j = 15, 4
    assert part[i, j].item() == pytest.approx(math.log(0.5 * 11 + 1) / math.log(0.5 * 15 + 1), rel=1e-6)
    i, j = 5, 2  # before the threshold the denominator is constant
    assert part[i, j].item() == pytest.approx(math.log(2.5) / math.log(0.5 * 8 + 1), rel=1e-6)
    past = part[pos[:, None] >= pos]
    assert past.min() >= 0
    assert past.max() <= 1
    weight, bias, out = position.network[0].weight, position.network[0].bias, position.network[2]
    expected = torch.relu(part[..., None] * weight[:, 0] + bias) @ out.weight.T + out.bias
    torch.testing.assert_close(position.bias(pos, pos), expected.permute(2, 0, 1))


def test_fire_starts_as_the_paper_says():
    position = FIRE(2)
    assert position.c.item() == pytest.approx(0.1)
    assert (position.threshold, position.multiple.item()) == (512.0, 1.0)
    assert [layer.out_features for layer in position.network if hasattr(layer, "out_features")] == [32, 2]


def test_unknown_kernels_are_refused():
    with pytest.raises(PushforwardError, match="'log' or 'power'"):
        KERPLE(4, "cubic")
    with pytest.raises(PushforwardError, match="at least one head"):
        ALiBi(0)

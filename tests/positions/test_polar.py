"""Polar positions: the sum of cosines, and the other implementation."""

import math

import pytest
import torch

from pushforward import PushforwardError, positions
from pushforward.positions import Polar

D = 6


def heads(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(2, 2, 3, 5, D, dtype=dtype).unbind()


def test_scores_are_the_sum_of_cosines():
    q, k = heads()
    pos_q, pos_k = torch.arange(5) + 7, torch.arange(5)
    encoding = Polar(3, D).double()
    torch.nn.init.uniform_(encoding.delta, -7.0, 1.0)  # beyond the range on both sides
    a, b = encoding.rotate(q, k, pos_q, pos_k)
    theta = 10_000.0 ** (-torch.arange(D, dtype=torch.float64) / D)
    angles = (pos_k[None, :, None] - pos_q[:, None, None]) * theta
    angles = angles + encoding.delta.clamp(-2 * math.pi, 0)[:, None, None]
    magnitudes = torch.nn.functional.softplus(q)[..., :, None, :] * torch.nn.functional.softplus(k)[..., None, :, :]
    expected = (magnitudes * angles.cos()).sum(-1)
    torch.testing.assert_close(a @ b.mT, math.sqrt(2) * expected)
    torch.testing.assert_close((a @ b.mT) * a.shape[-1] ** -0.5, expected * D**-0.5)  # as attention scales


def test_at_one_place_every_term_is_positive():
    q, k = heads()
    pos = torch.zeros(5)
    a, b = Polar(3, D).double().rotate(q, k, pos, pos)
    assert (a * b).sum(-1).min() > 0


def test_the_phase_is_learned():
    q, k = heads()
    encoding = Polar(3, D).double()
    a, b = encoding.rotate(q, k, torch.arange(5), torch.arange(5))
    (a @ b.mT).sum().backward()
    assert encoding.delta.grad.abs().min() > 0


def test_it_is_what_x_transformers_does():
    theirs = pytest.importorskip("x_transformers.x_transformers", reason="compares with x-transformers, not installed")
    q, k = heads(torch.float32)
    other = theirs.PolarEmbedding(D, 3)  # its bias_uniform_init=True raises: in-place on a leaf
    torch.nn.init.uniform_(other.learned_bias, -7.0, 1.0)
    phases, bias = other(torch.arange(5))
    expected = theirs.apply_polar_pos_emb(q, phases[:, None]) @ theirs.apply_polar_pos_emb(k, phases + bias).mT
    encoding = Polar(3, D)
    encoding.delta.data.copy_(other.learned_bias.data[:, 0])
    a, b = encoding.rotate(q, k, torch.arange(5), torch.arange(5))
    torch.testing.assert_close((a @ b.mT) / math.sqrt(2), expected, rtol=1e-5, atol=1e-5)


def test_errors_teach():
    q, k = heads()
    with pytest.raises(PushforwardError, match="heads of 8 features"):
        Polar(3, 8).rotate(q, k, torch.arange(5), torch.arange(5))


def test_scores_are_over_the_root_of_the_heads_own_size():
    """sum_c softplus(q_c) softplus(k_c) cos(...) / sqrt(D), in our attention and in one that sees heads of 2 D."""
    position = positions.Polar(heads=1, features=8).double()
    q, k, v = (torch.randn(1, 1, 5, 8, dtype=torch.float64) for _ in range(3))
    pos = torch.arange(5)
    theta = 10_000.0 ** (-torch.arange(8, dtype=torch.float64) / 8)
    turned = ((pos[None, :] - pos[:, None])[..., None] * theta).cos()
    magnitudes = [torch.nn.functional.softplus(z[0, 0]) for z in (q, k)]
    known = (magnitudes[0][:, None] * magnitudes[1][None] * turned).sum(-1) / 8**0.5
    out = known.softmax(-1) @ v[0, 0]
    ours = positions.attention(q, k, v, positions.place(position, pos, 8, q.dtype))[0, 0]
    torch.testing.assert_close(ours, out)
    wide = torch.nn.functional.scaled_dot_product_attention(*position.rotate(q, k, pos, pos), v)[0, 0]
    torch.testing.assert_close(wide, out)

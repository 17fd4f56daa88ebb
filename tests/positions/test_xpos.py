"""Decaying rotations: the published formula, and origins that cannot differ."""

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import Rotary, XPos

D = 16


def heads(tokens, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(2, 1, 2, tokens, D, dtype=dtype).unbind()


def scores(encoding, q, k, pos_q, pos_k):
    q, k = encoding.rotate(q, k, pos_q, pos_k)
    return q @ k.mT


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("origin", [None, 0.0, 1000.0])
def test_scores_are_the_rotary_ones_with_a_decay_per_pair(layout, origin):
    q, k = heads(40)
    pos = torch.arange(40) * 20
    found = scores(XPos(layout=layout, origin=origin), q, k, pos, pos)
    q_r, k_r = Rotary(layout=layout).rotate(q, k, pos, pos)
    c = torch.arange(D // 2, dtype=torch.float64)
    zeta = (2 * c + 0.4 * D) / (1.4 * D)
    zeta = torch.cat([zeta, zeta]) if layout == "half" else zeta.repeat_interleave(2)
    decay = zeta ** ((pos[:, None, None] - pos[None, :, None]) / 512)
    torch.testing.assert_close(found, torch.einsum("bhid,bhjd,ijd->bhij", q_r, k_r, decay))


@pytest.mark.parametrize("tokens", [64, 1024, 4096])
def test_the_last_query_sees_cached_keys_as_the_whole_text_did(tokens):  # elsewhere off by as much as the scores
    q, k = heads(tokens, torch.float32)
    pos = torch.arange(tokens)
    encoding = XPos(origin=0.0)
    _, cached = encoding.rotate(q, k, pos, pos)  # keys rotated once, and kept
    q_last, _ = encoding.rotate(q[:, :, -1:], k[:, :, -1:], pos[-1:], pos[-1:])
    expected = scores(encoding, q.double(), k.double(), pos, pos)[:, :, -1:]
    torch.testing.assert_close((q_last @ cached.mT).double(), expected, rtol=1e-4, atol=1e-4)
    fresh = scores(XPos(), q[:, :, -1:], k, pos[-1:], pos)  # raw keys cached: any origin of the call will do
    torch.testing.assert_close(fresh.double(), expected, rtol=1e-4, atol=1e-4)


def test_a_growing_text_does_not_move_the_origin():  # elsewhere tables are centred anew as the text grows
    _, k = heads(50)
    encoding = XPos(origin=0.0)
    _, early = encoding.rotate(k[:, :, :20], k[:, :, :20], torch.arange(20), torch.arange(20))
    _, late = encoding.rotate(k, k, torch.arange(50), torch.arange(50))
    torch.testing.assert_close(late[:, :, :20], early)


def test_rows_of_different_places_have_their_own_origin():
    q, k = heads(5, torch.float32)
    q, k = (x.expand(2, -1, -1, -1) for x in (q, k))
    pos = torch.stack([torch.arange(5), torch.arange(5) + 10**8])
    found = scores(XPos(), q, k, pos, pos)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=3e-5)


def test_factors_that_overflow_are_refused_with_the_reach():
    q, k = heads(3, torch.float32)
    with pytest.raises(PushforwardError, match="positions within 32,6"):
        XPos(origin=0.0).rotate(q, k, torch.arange(3), torch.arange(3) + 40_000)
    assert XPos().rotate(q, k, torch.arange(3) + 40_000, torch.arange(3) + 40_000)[1].isfinite().all()
    with pytest.raises(PushforwardError, match="positive scale"):
        XPos(scale=0.0)

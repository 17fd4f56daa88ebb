"""Moved keys equal keys made anew."""

from dataclasses import replace

import pytest
import torch

from positions.test_spectrum import EXTENSIONS
from pushforward import PushforwardError
from pushforward.positions import Axial, DynamicNTK, LongRoPE, Multimodal, Proportional, Rotary, grid, rerotate_, shift_

D = 128
long_factors = tuple(1 + c / 7 for c in range(D // 2))
SWITCHES = {
    "dynamic": (DynamicNTK(2.0, 2048, 4096), DynamicNTK(2.0, 2048, 9000)),
    "long": (
        LongRoPE((1.0,) * 64, long_factors, 4096, 4096, 32.0),
        LongRoPE((1.0,) * 64, long_factors, 4096, 4097, 32.0),
    ),
} | {f"plain-{name}": (EXTENSIONS["plain"], extension) for name, extension in EXTENSIONS.items()}


def keys(encoding, x, pos):
    return encoding.rotate(x, x, pos, pos)[1]


def error(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_a_cache_follows_a_change_of_frequencies(name, layout, dtype, bound):
    torch.manual_seed(0)
    old, new = (Rotary(layout=layout, extension=extension) for extension in SWITCHES[name])
    x, pos = torch.randn(2, 3, 40, D, dtype=torch.float64), torch.arange(40) * 211 + 10**6
    k = keys(old, x, pos).to(dtype)
    expected = keys(new, x, pos)
    if name not in ("plain-plain", "dynamic-dynamic"):
        assert error(k, expected) > 0.01
    out = rerotate_(k, pos, old, new)
    assert out is k
    assert error(k, expected) < bound


@pytest.mark.parametrize("by", [-7, 10**9 + 3, 0.625])
def test_a_cache_moves(by):
    torch.manual_seed(0)
    x, pos = torch.randn(2, 3, 9, 16), torch.arange(9)
    for encoding in (Rotary(), Rotary(layout="half", fraction=0.5)):
        k = keys(encoding, x, pos)
        expected = keys(encoding, x.double(), pos + torch.as_tensor(by, dtype=torch.float64 if by == 0.625 else None))
        assert error(shift_(k, by, encoding), expected) < 1e-6


def test_sequences_move_by_their_own_distance():
    torch.manual_seed(0)
    x, pos, by = torch.randn(2, 3, 9, 16), torch.arange(9), torch.tensor([[4], [-100]])
    k = keys(Rotary(), x, pos)
    assert error(shift_(k, by, Rotary()), keys(Rotary(), x.double(), pos + by)) < 1e-6


@pytest.mark.parametrize("encoding", [Axial(), Axial(sizes=(4, 12)), Multimodal((3, 5), interleaved=True)])
def test_pictures_move(encoding):
    torch.manual_seed(0)
    x, pos, by = torch.randn(2, 3, 12, 16), grid(3, 4), torch.tensor([2, -5])
    k = keys(encoding, x, pos)
    assert error(shift_(k, by, encoding), keys(encoding, x.double(), pos + by)) < 1e-6
    new = replace(encoding, base=50.0)
    k = keys(encoding, x, pos)
    assert error(rerotate_(k, pos, encoding, new), keys(new, x.double(), pos)) < 1e-6


def test_scores_after_eviction_are_those_of_a_fresh_cache():
    """Drop the first tokens, move the rest to the front, go on: as if the text had begun there."""
    torch.manual_seed(0)
    x, rotary = torch.randn(1, 2, 50, 32), Rotary()
    cached = keys(rotary, x, torch.arange(50))[:, :, 20:].clone()
    shift_(cached, -20, rotary)
    q = rotary.rotate(x[:, :, -1:], x[:, :, -1:], torch.tensor([29]), torch.tensor([29]))[0]
    torch.testing.assert_close(q @ cached.mT, q @ keys(rotary, x[:, :, 20:], torch.arange(30)).mT, rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (Rotary(), Rotary(layout="half"), "one layout"),
        (Rotary(), Axial(), "as many axes"),
        (Rotary(), Rotary(fraction=0.5), "as many pairs"),
        (Axial(), Axial(sizes=(4, 12)), "on the same axes"),
        (Rotary(), Rotary(precision="float32"), "precision 'exact'"),
        (Rotary(extension=replace(EXTENSIONS["yarn"], attention_factor=0.0)), Rotary(), "amplitude other than 0"),
    ],
)
def test_errors_teach(old, new, message):
    with pytest.raises(PushforwardError, match=message):
        rerotate_(torch.zeros(1, 1, 2, 16), torch.zeros(2, 2), old, new)


def test_pairs_that_stood_still_begin_to_turn():
    x, pos = torch.randn(1, 1, 5, 16), torch.arange(5)
    old, new = Rotary(extension=Proportional(0.5)), Rotary()
    assert error(rerotate_(keys(old, x, pos), pos, old, new), keys(new, x.double(), pos)) < 1e-6

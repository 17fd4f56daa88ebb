"""Several coordinates: against explicit sums of angles, and against the sequence where they must agree."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import Axial, CustomRotary, Mixed, Multimodal, Rotary, frequencies, grid, rotate


def heads(features, tokens=6):
    torch.manual_seed(0)
    return torch.randn(2, 3, tokens, features, dtype=torch.float64)


def turned(encoding, x, pos):
    return encoding.rotate(x, x, pos, pos)[0]


def test_flux_shares_a_head_unequally():
    x, pos = heads(128), torch.tensor([[0, 0, 0], [0, 1, 2], [0, 5, 3], [1, 0, 0], [2, 2, 2], [0, 64, 64]])
    found = turned(Axial(10_000.0, axes=3, sizes=(16, 56, 56)), x, pos)
    parts = [turned(Rotary(), part, pos[:, axis]) for axis, part in enumerate(x.split([16, 56, 56], -1))]
    assert torch.equal(found, torch.cat(parts, -1))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_text_under_m_rope_is_the_sequence_to_the_bit(interleaved, layout):
    x, pos = heads(128).float(), torch.tensor([0, 1, 2, 900, 10**6, 10**9])
    encoding = Multimodal((24, 20, 20), interleaved, base=1e6, layout=layout)
    assert torch.equal(turned(encoding, x, pos[:, None].expand(-1, 3)), turned(Rotary(1e6, layout), x, pos))


@pytest.mark.parametrize("interleaved", [False, True])
def test_each_pair_follows_its_coordinate(interleaved):
    sections = (24, 20, 20) if interleaved else (16, 24, 24)
    pos = torch.tensor([[3, 50, 700]])
    cos, _ = Multimodal(sections, interleaved).tables(pos, 128, torch.float64)
    axis = [c % 3 if c < 60 else 0 for c in range(64)] if interleaved else [0] * 16 + [1] * 24 + [2] * 24
    angles = torch.tensor([pos[0, a].item() for a in axis]) * frequencies(10_000.0, 128)
    torch.testing.assert_close(cos[0], angles.cos(), rtol=0, atol=1e-12)
    assert [axis.count(a) for a in range(3)] == list(sections)


def test_fractional_grids_of_any_resolution_cover_the_same_square():
    x = heads(32, tokens=4)
    coarse, fine = grid(2, 2) * 2.0, grid(4, 4).float()
    where = [0, 2, 8, 10]  # the coarse points among the fine ones
    assert torch.equal(fine[where], coarse)
    assert torch.equal(turned(Axial(), x, fine[where]), turned(Axial(), x, coarse))
    half = turned(Axial(), x, coarse + 0.5)
    torch.testing.assert_close(turned(Axial(), turned(Axial(), x, coarse), torch.full((4, 2), 0.5)), half)


def test_mixed_is_the_sum_of_both_phases():
    torch.manual_seed(0)
    encoding = Mixed(3, 8).double()
    x, pos = heads(8), torch.rand(6, 2, dtype=torch.float64) * 9
    found = turned(encoding, x, pos)
    for h in range(3):
        angles = pos[:, :1] * encoding.theta[0, h] + pos[:, 1:] * encoding.theta[1, h]
        torch.testing.assert_close(found[:, h], rotate(x[:, h], angles.cos(), angles.sin()))


def test_mixed_starts_as_published():
    torch.manual_seed(0)
    theta = Mixed(5, 16).theta.detach()
    size = 10.0 ** (-4 * torch.arange(4) / 16)
    torch.testing.assert_close(theta.norm(dim=0), size.repeat(2).expand(5, 8))
    first, second = theta[..., :4], theta[..., 4:]
    torch.testing.assert_close((first * second).sum(0), torch.zeros(5, 4), rtol=0, atol=1e-6)
    assert (first[:, :, :1] / size[0] - first / size).abs().max() < 1e-6  # one direction per head
    assert theta[0, :, 0].unique().numel() == 5


def test_learned_frequencies_start_as_those_of_the_sequence():
    x, pos = heads(8), torch.arange(6)
    learned = Mixed(3, 8, axes=1, base=10_000.0).double()
    torch.testing.assert_close(turned(learned, x, pos), turned(Rotary(), x, pos), rtol=0, atol=1e-6)


def test_learned_frequencies_are_learned():
    encoding = Mixed(3, 8).double()
    x, pos = heads(8), grid(2, 3)

    def scores(theta):
        q, k = torch.func.functional_call(Rotations(encoding), {"encoding.theta": theta}, (x, pos))
        return q @ k.mT

    assert torch.autograd.gradcheck(scores, encoding.theta.detach().requires_grad_(), fast_mode=True)


class Rotations(torch.nn.Module):
    def __init__(self, encoding):
        super().__init__()
        self.encoding = encoding

    def forward(self, x, pos):
        return self.encoding.rotate(x, x, pos, pos)


def test_learned_frequencies_find_a_hidden_one():
    """Scores of a frequency of 0.7, learned from a start of 0.5."""
    x, pos = torch.ones(1, 1, 8, 2, dtype=torch.float64), torch.arange(8)
    q, k = CustomRotary((0.7,)).rotate(x, x, pos, pos)
    learned = Mixed(1, 2, axes=1).double()
    torch.nn.init.constant_(learned.theta, 0.5)
    optimizer = torch.optim.Adam(learned.parameters(), lr=0.02)
    for _ in range(60):
        a, b = learned.rotate(x, x, pos, pos)
        loss = (a @ b.mT - q @ k.mT).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert learned.theta.item() == pytest.approx(0.7, abs=0.01)


def test_custom_frequencies_and_axes():
    theta, axis = (0.3, 1.1, math.pi), (1, 0, 1)
    x, pos = heads(8), torch.rand(6, 2, dtype=torch.float64)
    angles = pos[:, list(axis)] * torch.tensor(theta, dtype=torch.float64)
    expected = rotate(x, 0.5 * angles.cos(), 0.5 * angles.sin(), "half")
    torch.testing.assert_close(turned(CustomRotary(theta, axis, "half", amplitude=0.5), x, pos), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Axial(sizes=(3, 5)), "even number of features for each"),
        (lambda: Axial(sizes=(4, 4, 4)), "for each of 2 axes"),
        (lambda: Axial(sizes=(8, 8)).spectrum(12), "a head of 16 features"),
        (lambda: Multimodal((3, 0)), "at least one pair"),
        (lambda: Multimodal((16, 24, 24)).spectrum(64), "Sections count pairs"),
        (lambda: Mixed(2, 6), "divisible by 4"),
        (lambda: Mixed(2, 8, axes=0), "at least 1 axis"),
        (lambda: turned(Mixed(3, 8), heads(8), torch.arange(6)), "one coordinate per axis"),
        (lambda: turned(Multimodal((1, 1)), heads(8), torch.zeros(6, 3)), "one coordinate per axis"),
    ],
)
def test_errors_teach(make, message):
    with pytest.raises(PushforwardError, match=message):
        make()

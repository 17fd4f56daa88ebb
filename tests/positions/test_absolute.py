"""Encodings that mark the tokens."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import Learned, Sinusoidal, convert_layout, frequencies, grid, packed, sinusoids


def test_waves_are_the_papers():
    table = sinusoids(torch.arange(50), 8)
    for pos, c in ((0, 0), (7, 1), (49, 3)):
        angle = pos / 10_000 ** (2 * c / 8)
        assert table[pos, 2 * c].item() == pytest.approx(math.sin(angle), abs=1e-12)
        assert table[pos, 2 * c + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_waves_of_two_positions_know_their_distance():
    table = sinusoids(torch.arange(40), 16)
    apart = torch.arange(40)[:, None] - torch.arange(40)
    expected = (apart[..., None] * frequencies(10_000.0, 16)).cos().sum(-1)
    torch.testing.assert_close(table @ table.T, expected)


def test_layouts_hold_the_same_waves():
    pos = torch.arange(9)
    half = sinusoids(pos, 8, layout="half").T
    assert torch.equal(convert_layout(half, 8, "half", "interleaved").T, sinusoids(pos, 8))


def test_waves_are_exact_in_low_precision():
    pos = torch.tensor([8191])
    low = Sinusoidal().embed(torch.zeros(1, 1, 16, dtype=torch.bfloat16), pos)
    assert torch.equal(low[0], sinusoids(pos, 16).bfloat16())


def test_a_learned_row_is_added_and_trained():
    position = Learned(5, 4)
    pos = torch.tensor([[0, 4], [2, 2]])
    x = torch.randn(2, 2, 4)
    out = position.embed(x, pos)
    torch.testing.assert_close(out[1, 0], x[1, 0] + position.table[2])
    out.sum().backward()
    assert position.table.grad[:, 0].tolist() == [1, 0, 2, 0, 1]


@pytest.mark.parametrize(
    ("pos", "width", "message"),
    [
        (torch.tensor([0, 5]), 4, r"Expected positions from 0 to 4.*got 5\. Make Learned\(6, 4\)"),
        (torch.tensor([-1, 2]), 4, "got -1"),
        (torch.tensor([0.5, 1.0]), 4, "whole positions"),
        (torch.tensor([0, 1]), 6, "tokens of width 4"),
    ],
)
def test_positions_outside_the_table_are_refused(pos, width, message):
    with pytest.raises(PushforwardError, match=message):
        Learned(5, 4).embed(torch.zeros(1, 2, width), pos)


def test_an_odd_width_has_no_waves():
    with pytest.raises(PushforwardError, match="even width"):
        Sinusoidal().embed(torch.zeros(1, 1, 5), torch.tensor([0]))


def test_grids_run_row_by_row():
    pos = grid(2, 3)
    assert pos.tolist() == [[i, j] for i in range(2) for j in range(3)]


def test_packed_sequences_start_again():
    pos, mask = packed([1, 3])
    assert pos.tolist() == [0, 0, 1, 2]
    assert mask.int().tolist() == [[1, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]

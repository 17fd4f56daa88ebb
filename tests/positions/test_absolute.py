"""Encodings that mark the tokens."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import (
    Learned,
    Multiplicative,
    Sinusoidal,
    convert_layout,
    frequencies,
    grid,
    packed,
    padded,
    sinusoids,
)


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


def test_a_hierarchy_says_what_the_table_says_and_reaches_its_square():
    torch.manual_seed(0)
    plain, reaching = Learned(5, 4, std=1.0), Learned(5, 4, std=1.0, hierarchy=0.4)
    reaching.load_state_dict(plain.state_dict())
    x, pos = torch.zeros(1, 5, 4), torch.arange(5)
    torch.testing.assert_close(reaching.embed(x, pos), plain.embed(x, pos))
    u = (plain.table - 0.4 * plain.table[0]) / 0.6
    far = reaching.embed(x[:, :1], torch.tensor([17]))  # 17 = 3 * 5 + 2
    torch.testing.assert_close(far[0, 0], 0.4 * u[3] + 0.6 * u[2])
    with pytest.raises(PushforwardError, match="positions from 0 to 24"):
        reaching.embed(x[:, :1], torch.tensor([25]))
    with pytest.raises(PushforwardError, match="between 0 and 1"):
        Learned(5, 4, hierarchy=1.0)


def test_a_factor_starts_as_one_and_multiplies():
    position, x = Multiplicative(5, 4), torch.randn(1, 3, 4)
    pos = torch.tensor([4, 0, 2])
    assert torch.equal(position.embed(x, pos), x)
    torch.nn.init.normal_(position.table)
    torch.testing.assert_close(position.embed(x, pos), x + x * position.table[pos])


def test_unit_steps_turn_the_waves():
    here, there = sinusoids(torch.tensor([3, 1003]), 8), sinusoids(torch.tensor([10, 1010]), 8)
    theta = frequencies(10_000.0, 8)
    cos, sin = (7 * theta).cos(), (7 * theta).sin()
    s, c = here[:, ::2], here[:, 1::2]
    torch.testing.assert_close(there[:, ::2], s * cos + c * sin)
    torch.testing.assert_close(there[:, 1::2], c * cos - s * sin)


def test_waves_stay_right_a_billion_positions_on():
    decimal = 1e9 % (2 * math.pi)  # frequency 1; float32 phases are off by 2 here
    assert sinusoids(torch.tensor([10**9]), 2)[0, 0].item() == pytest.approx(math.sin(decimal), abs=1e-6)


def test_padding_stands_at_zero_and_sees_itself():
    pos, mask = padded([2, 3], 3)
    assert pos.tolist() == [[0, 0, 1], [0, 1, 2]]
    assert mask[0, 0].int().tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 1]]
    assert mask[1].all()

"""Rotations against explicit matrices, closed forms and exact arithmetic."""

import cmath
import math
from decimal import Decimal, getcontext

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pushforward import PushforwardError
from pushforward.positions import Axial, Rotary, convert_layout, frequencies, grid, phases, rotate

D = 12


def turn(x, pos, layout="interleaved", base=10_000.0):
    angles = phases(torch.as_tensor(pos), frequencies(base, x.shape[-1]))
    return rotate(x, angles.cos(), angles.sin(), layout)


def heads(tokens=5, features=D, batch=2):
    torch.manual_seed(0)
    return torch.randn(2, batch, 3, tokens, features, dtype=torch.float64).unbind(0)


def matrix(m, features, layout):
    """The block-diagonal rotation, entry by entry."""
    out = torch.zeros(features, features, dtype=torch.float64)
    for c in range(features // 2):
        phi = m * 10_000.0 ** (-2 * c / features)
        i, j = (2 * c, 2 * c + 1) if layout == "interleaved" else (c, c + features // 2)
        out[i, i] = out[j, j] = math.cos(phi)
        out[j, i], out[i, j] = math.sin(phi), -math.sin(phi)
    return out


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_it_is_the_block_diagonal_matrix(layout):
    x, _ = heads()
    pos = [0, 1, -3, 17, 4096]
    expected = torch.stack([x[..., i, :] @ matrix(m, D, layout).T for i, m in enumerate(pos)], -2)
    torch.testing.assert_close(turn(x, pos, layout), expected)


@given(a=st.integers(-(10**5), 10**5), b=st.integers(-(10**5), 10**5))
@settings(max_examples=25, deadline=None)
def test_rotations_compose_keep_norms_and_invert(a, b):
    x, _ = heads(tokens=1)
    torch.testing.assert_close(turn(turn(x, [a]), [b]), turn(x, [a + b]), rtol=0, atol=1e-9)
    torch.testing.assert_close(turn(x, [a]).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turn(turn(x, [a]), [-a]), x, rtol=0, atol=1e-9)
    assert torch.equal(turn(x, [0]), x)


def test_the_gradient_turns_back():
    x, g = heads()
    x.requires_grad_()
    pos = torch.arange(5)
    turn(x, pos).backward(g)
    torch.testing.assert_close(x.grad, turn(g, -pos))
    assert torch.autograd.gradcheck(lambda y: turn(y, pos), x[:1].detach().requires_grad_())


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_layouts_are_equal_after_permuting_the_weights(fraction):
    torch.manual_seed(0)
    w_q, w_k = torch.randn(2, 3 * D, 8, dtype=torch.float64)
    x, pos = torch.randn(5, 8, dtype=torch.float64), torch.arange(5)

    def scores(a, b, layout):
        q, k = ((x @ w.T).unflatten(-1, (3, D)).transpose(0, 1)[None] for w in (a, b))
        q, k = Rotary(layout=layout, fraction=fraction).rotate(q, k, pos, pos)
        return q @ k.mT

    def moved(w, source, target):
        return convert_layout(w, D, source, target, fraction)

    new = scores(moved(w_q, "half", "interleaved"), moved(w_k, "half", "interleaved"), "interleaved")
    torch.testing.assert_close(new, scores(w_q, w_k, "half"))
    assert not torch.allclose(new, scores(w_q, w_k, "interleaved"))
    assert torch.equal(moved(moved(w_q, "half", "interleaved"), "interleaved", "half"), w_q)


def test_scores_decay_with_distance():
    # f(m) = 2/D sum_j |sum_{c<j} exp(i m theta_c)|, D = 128: the bound of Su et al. 2021, section 3.4.3
    theta = frequencies(10_000.0, 128).tolist()
    known = {0: 32.5, 1: 31.538166, 2: 28.955988, 4: 22.604043, 16: 15.774951, 64: 10.089942}
    for m, expected in (known | {256: 6.543097, 1024: 4.024113}).items():
        partial = torch.tensor([cmath.exp(1j * m * w) for w in theta]).cumsum(0)
        assert partial.abs().mean().item() == pytest.approx(expected, abs=1e-5)
        # the same from rotated vectors: a one in the first j pairs scores the real part of the partial sum
        ones = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(64)[None]
        score = (turn(ones, [m]) * ones).unflatten(-1, (-1, 2)).sum(-1).cumsum(-1)
        torch.testing.assert_close(score[0], partial.real.double(), rtol=0, atol=1e-5)


def test_phases_are_right_ten_million_positions_on():
    getcontext().prec = 50
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    theta = frequencies(10_000.0, 128)
    pos = 10_000_019
    for c in (0, 16, 40):
        exact = (pos * Decimal(10_000) ** (Decimal(-2 * c) / 128)) % (2 * pi)
        angle = phases(torch.tensor(pos), theta)[c]
        assert angle.cos().item() == pytest.approx(math.cos(exact), abs=2e-9)


def test_nothing_but_the_fraction_is_rotated():
    x, _ = heads()
    pos = torch.arange(5)
    q, _ = Rotary(fraction=0.5).rotate(x, x, pos, pos)
    torch.testing.assert_close(q[..., : D // 2], turn(x[..., : D // 2], pos))
    assert torch.equal(q[..., D // 2 :], x[..., D // 2 :])


def test_one_axis_of_a_grid_is_the_sequence_on_its_slice():
    x, _ = heads()
    pos = torch.tensor([0.0, 0.5, 1.0, 2.25, -3.0])
    for axis in range(2):
        where = torch.zeros(5, 2)
        where[:, axis] = pos
        q, _ = Axial(base=50.0).rotate(x, x, where, where)
        mine = slice(axis * D // 2, (axis + 1) * D // 2)
        line, _ = Rotary(base=50.0).rotate(x[..., mine], x[..., mine], pos, pos)
        torch.testing.assert_close(q[..., mine], line)
        others = torch.arange(D).unflatten(0, (2, -1))[1 - axis]
        torch.testing.assert_close(q[..., others], x[..., others])


@pytest.mark.parametrize(("position", "pos"), [(Rotary(), torch.arange(5)), (Axial(), grid(1, 5))])
def test_queries_and_keys_may_stand_elsewhere(position, pos):
    q, k = heads()
    whole_q, whole_k = position.rotate(q, k, pos, pos)
    last_q, all_k = position.rotate(q[..., 3:, :], k, pos[3:], pos)
    torch.testing.assert_close(last_q, whole_q[..., 3:, :])
    torch.testing.assert_close(all_k, whole_k)


def test_a_cached_key_moves_by_one_more_rotation():
    _, k = heads()
    pos = torch.arange(5)
    _, old = Rotary().rotate(k, k, pos, pos)
    _, new = Rotary().rotate(k, k, pos + 11, pos + 11)
    torch.testing.assert_close(turn(old, [11]), new)


def test_inputs_are_not_changed():
    x, _ = heads()
    before = x.clone()
    turn(x, torch.arange(5))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotary(layout="sideways"), "Choose one of the two"),
        (lambda: Rotary(base=1.0), "base above 1"),
        (lambda: Axial(axes=0), "at least 1 axis"),
        (lambda: Rotary().rotate(*heads(features=7), torch.arange(5), torch.arange(5)), "even number"),
        (lambda: Rotary(fraction=0.1).rotate(*heads(), torch.arange(5), torch.arange(5)), "even number"),
        (lambda: Rotary(fraction=2.0).rotate(*heads(), torch.arange(5), torch.arange(5)), "at most the head"),
        (lambda: Axial().rotate(*heads(features=6), torch.ones(5, 2), torch.ones(5, 2)), "divisible by 4"),
        (lambda: Axial().rotate(*heads(), torch.arange(5), torch.arange(5)), "one coordinate per axis"),
        (lambda: rotate(torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 3)), "at least 6 features"),
        (lambda: convert_layout(torch.ones(10), 4, "half", "interleaved"), "multiples of the head size"),
        (lambda: convert_layout(torch.ones(8), 4, "half", "upside"), "Choose one of the two"),
    ],
)
def test_errors_teach(make, message):
    with pytest.raises(PushforwardError, match=message):
        make()

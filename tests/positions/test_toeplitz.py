"""Biases in memory that grows with the number of tokens, and the same as functions for FlexAttention."""

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from pushforward import PushforwardError
from pushforward.nets import attend
from pushforward.positions import (
    FIRE,
    KERPLE,
    T5,
    ALiBi,
    Rotary,
    attention,
    diagonals,
    packed,
    place,
    score_mod,
    spread,
    toeplitz_attention,
)
from pushforward.positions.toeplitz import PAIRS, along_diagonals

H, D = 4, 8


def random(queries, keys, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(2, H, n, D, dtype=dtype) for n in (queries, keys, keys)]


def test_the_view_is_the_bias_without_a_copy():
    pos = torch.arange(5)
    along = diagonals(ALiBi(H), 5, 5)
    assert along.shape == (H, 9)
    view = spread(along, 5)
    assert view.untyped_storage().data_ptr() == along.untyped_storage().data_ptr()
    torch.testing.assert_close(view.flip(-2), ALiBi(H).bias(pos, pos))


def test_sums_along_diagonals_are_the_transpose_of_the_view():
    torch.manual_seed(0)
    r, x = torch.randn(H, 10, dtype=torch.float64), torch.randn(H, 4, 7, dtype=torch.float64)
    torch.testing.assert_close((spread(r, 7).flip(-2) * x).sum(), (r * along_diagonals(x)).sum())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [40, 3, 1])
def test_it_is_the_formula_for_any_number_of_queries(causal, queries):
    q, k, v = random(queries, 40)
    pos = torch.arange(100, 140)
    placed = place(ALiBi(H), pos[-queries:], D, torch.float64, pos)
    mask = torch.ones(40, 40, dtype=torch.bool).tril()[-queries:] if causal else None
    out = toeplitz_attention(q, k, v, placed.diagonals, causal)
    torch.testing.assert_close(out, attention(q, k, v, placed, mask))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_go_over_several_blocks(causal, monkeypatch):
    monkeypatch.setattr("pushforward.positions.toeplitz.PAIRS", 7 * 33 * 2 * H)  # blocks of 7 queries, the last of 5
    inputs, position = [z.requires_grad_() for z in random(33, 33)], KERPLE(H).double()
    placed = place(position, torch.arange(33), D, torch.float64)
    mask = torch.ones(33, 33, dtype=torch.bool).tril() if causal else None
    leaves = [*inputs, *position.parameters()]
    seed = torch.randn(2, H, 33, D, dtype=torch.float64)
    out = toeplitz_attention(*inputs, placed.diagonals, causal)
    quick = torch.autograd.grad(out, leaves, seed, retain_graph=True)
    torch.testing.assert_close(quick, torch.autograd.grad(attention(*inputs, placed, mask), leaves, seed))


def largest(call):
    """The largest tensor a call allocates, in bytes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    return max(event.self_cpu_memory_usage for event in profile.events())


@pytest.mark.parametrize("causal", [False, True])
def test_nothing_is_held_for_every_pair(causal):
    tokens = 1_536
    q, k, v = (torch.randn(1, H, tokens, D) for _ in range(3))
    pos = torch.arange(tokens)
    linear, square = 4 * H * tokens * 3 * D, 4 * H * tokens**2
    assert largest(lambda: attend(q, k, v, place(ALiBi(H), pos, D, q.dtype), causal=causal)) <= linear
    assert largest(lambda: attention(q, k, v, place(ALiBi(H), pos, D, q.dtype))) >= square
    inputs = [z.requires_grad_() for z in (q, k, v)]
    trained = largest(lambda: attend(*inputs, place(KERPLE(H), pos, D, q.dtype), causal=causal).sum().backward())
    assert trained <= max(linear, 4 * 2 * PAIRS) < square


def test_second_derivatives_of_trained_biases_are_those_of_the_formula():
    q, k, v = (z[:1].requires_grad_() for z in random(20, 20))
    position = KERPLE(H).double()

    def out(q, r, s):
        return toeplitz_attention(q, k, v, diagonals(position, 20, 20), causal=True).square()

    assert torch.autograd.gradgradcheck(out, (q, position.r, position.s), fast_mode=True)


def test_gradients_to_be_differentiated_count_no_way_twice_where_keys_are_values():
    q, h, _ = (z[:1].requires_grad_() for z in random(6, 6))
    loss = toeplitz_attention(q, h, h, diagonals(KERPLE(H).double(), 6, 6), causal=True).square().sum()
    once, again = (torch.autograd.grad(loss, [q, h], retain_graph=True, create_graph=each) for each in (False, True))
    torch.testing.assert_close(again, once)


# FlexAttention

BIASES = {"alibi": ALiBi(H), "kerple": KERPLE(H), "t5": T5(H, buckets=8, farthest=6), "fire": FIRE(H, threshold=2.0)}
ROWS = torch.stack([packed([5, 4])[0], torch.arange(9) + 7])


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("pos", [torch.arange(9), ROWS], ids=["shared", "rows"])
def test_the_function_adds_the_bias_of_each_pair(name, pos):
    added = score_mod(BIASES[name], pos[..., -4:], pos)
    grid = torch.meshgrid(*(torch.arange(n) for n in (2, H, 4, 9)), indexing="ij")
    got = added(torch.ones(2, H, 4, 9), *grid)
    bias = BIASES[name].bias(pos[..., -4:], pos).float()
    torch.testing.assert_close(got, 1 + bias.expand(2, H, 4, 9))
    one = added(torch.tensor(0.5), *(torch.tensor(n) for n in (1, 2, 3, 4)))
    torch.testing.assert_close(one, 0.5 + bias.expand(2, H, 4, 9)[1, 2, 3, 4])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", BIASES)
def test_flex_attention_takes_the_function(name):
    q, k, v = random(9, 9, torch.float32)
    with torch.no_grad():
        theirs = flex_attention(q, k, v, score_mod=score_mod(BIASES[name], torch.arange(9)))
        ours = attention(q, k, v, place(BIASES[name], torch.arange(9), D, q.dtype))
    torch.testing.assert_close(theirs, ours)


def test_an_encoding_without_a_bias_has_no_such_function():
    with pytest.raises(PushforwardError, match=r"Rotate queries and keys before FlexAttention"):
        score_mod(Rotary(), torch.arange(3))

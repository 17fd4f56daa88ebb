"""What every position encoding promises, in float64, through the attention that uses it."""

import pytest
import torch

from laws.zoo_positions import HOOKS, POSITIONS, embedded, positions
from pushforward import PushforwardError
from pushforward.nets import Attention
from pushforward.positions import Rotates, packed

TOKENS, WIDTH, HEADS = 7, 48, 4
every = pytest.mark.parametrize("name", POSITIONS)
SMALL = {name: make(TOKENS, WIDTH) for name, make in POSITIONS.items()}
relative = pytest.mark.parametrize("name", [n for n, p in SMALL.items() if p.properties.relative])
rotating = pytest.mark.parametrize("name", [n for n, p in SMALL.items() if isinstance(p, Rotates)])


def setting(name, causal=False):
    torch.manual_seed(0)
    position = POSITIONS[name](TOKENS, WIDTH)
    layer = Attention(WIDTH, HEADS, position, causal).double()
    return position, layer, torch.randn(2, TOKENS, WIDTH, dtype=torch.float64)


def run(position, layer, x, pos, mask=None):
    return layer(embedded(position, x, pos), pos, mask)


@every
def test_a_common_shift_is_seen_exactly_by_those_that_are_not_relative(name):
    position, layer, x = setting(name)
    pos = positions(position, 5)
    here, there = run(position, layer, x[:, :5], pos), run(position, layer, x[:, :5], pos + 2)
    assert torch.allclose(here, there, atol=1e-12) is position.properties.relative


@relative
def test_relative_encodings_do_not_see_a_shift_by_a_million(name):
    position, layer, x = setting(name)
    pos = positions(position, TOKENS)
    far = run(position, layer, x, pos + 1_000_000)
    torch.testing.assert_close(far, run(position, layer, x, pos), atol=1e-8, rtol=0)


@every
def test_positions_never_trained_on_work_or_are_refused(name):
    position, layer, x = setting(name)
    pos = positions(position, TOKENS) + 10_000
    if position.properties.extrapolates:
        assert run(position, layer, x, pos).isfinite().all()
    else:
        with pytest.raises(PushforwardError, match="positions from 0 to 6"):
            run(position, layer, x, pos)


@every
def test_linear_attention_needs_the_first_two_hooks_alone(name):
    position, _, _ = setting(name)
    assert position.properties.linear_attention is not isinstance(position, HOOKS)


@every
def test_order_in_memory_does_not_matter_when_positions_travel_along(name):
    position, layer, x = setting(name)
    pos, order = positions(position, TOKENS), torch.randperm(TOKENS)
    whole = run(position, layer, x, pos)
    torch.testing.assert_close(run(position, layer, x[:, order], pos[order]), whole[:, order], rtol=1e-10, atol=1e-12)


@every
def test_order_is_seen_by_all_but_the_unordered(name):
    position, layer, x = setting(name)
    pos, order = positions(position, TOKENS), torch.arange(TOKENS).roll(1)
    same = torch.allclose(run(position, layer, x[:, order], pos), run(position, layer, x, pos)[:, order])
    assert same is (name == "unordered")


@every
@pytest.mark.parametrize("causal", [False, True])
def test_packed_is_separate(name, causal):
    position, layer, x = setting(name, causal)
    lengths = [3, 4]
    where, mask = packed(lengths)
    pos = positions(position, TOKENS)[where]
    together = run(position, layer, x, pos, mask)
    alone = [run(position, layer, part, positions(position, part.shape[1])) for part in x.split(lengths, 1)]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=1e-10, atol=1e-12)


@every
def test_positions_may_differ_between_sequences(name):
    position, layer, x = setting(name)
    pos = positions(position, TOKENS)
    rows = torch.stack([pos, pos.flip(0)])
    both = run(position, layer, x, rows)
    one_by_one = [run(position, layer, x[i : i + 1], rows[i]) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(one_by_one), rtol=1e-10, atol=1e-12)


@every
@pytest.mark.parametrize("tokens", [7, 24])  # the formula, and the fused kernel
def test_the_future_does_not_leak(name, tokens):
    torch.manual_seed(0)
    position = POSITIONS[name](tokens, WIDTH)
    layer = Attention(WIDTH, HEADS, position, causal=True).double()
    x = torch.randn(1, tokens, WIDTH, dtype=torch.float64, requires_grad=True)
    out = run(position, layer, x, positions(position, tokens))
    for i in (0, tokens // 2):
        (gradient,) = torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)
        assert (gradient[:, i + 1 :] == 0).all()
        assert (gradient[:, : i + 1] != 0).any(-1).all()


@rotating
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_rounds_values_and_not_phases(name, dtype):
    position, _, _ = setting(name)
    q = torch.randn(1, 1, 3, 12).to(dtype)
    pos = positions(position, 3) + 8_191
    low, _ = position.rotate(q, q, pos, pos)
    exact, _ = position.rotate(q.double(), q.double(), pos, pos)
    assert low.dtype == dtype
    torch.testing.assert_close(low.double(), exact, rtol=torch.finfo(dtype).eps, atol=1e-6)


@every
def test_fused_and_plain_attention_agree(name):
    torch.manual_seed(0)
    position = POSITIONS[name](24, WIDTH)
    layer = Attention(WIDTH, HEADS, position).double()
    x, pos = torch.randn(2, 24, WIDTH, dtype=torch.float64), positions(position, 24)
    plain = torch.func.vmap(lambda row: run(position, layer, row[None], pos)[0])(x)
    torch.testing.assert_close(run(position, layer, x, pos), plain, rtol=1e-10, atol=1e-12)

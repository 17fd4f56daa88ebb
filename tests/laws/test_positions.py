"""What every position encoding promises, in float64: the public proofs, through both attentions of ours."""

import copy

import pytest
import torch
from torch import nn

from laws.zoo_positions import HEADS, POSITIONS
from pushforward.nets import attend
from pushforward.positions import Embeds, Rotates, attention, check_encoding, place

WIDTH = 48
every = pytest.mark.parametrize("name", POSITIONS)


def trained(name, tokens):
    """The encoding in float64 with no parameter left where it started."""
    torch.manual_seed(0)
    position = POSITIONS[name](tokens, WIDTH)
    if isinstance(position, nn.Module):
        position.double()
        for parameter in position.parameters():
            nn.init.normal_(parameter, 0.5, 0.3)
    return position


def indices(position, tokens):
    index = torch.arange(tokens)
    axes = position.properties.axes
    return index if axes == 1 else torch.stack([index // 3**power % 3**3 for power in range(axes)][::-1], -1)


@every
@pytest.mark.parametrize(("attended", "tokens"), [(attention, 7), (attend, 18)], ids=["formula", "fused"])
def test_it_keeps_what_it_promises_and_promises_what_it_keeps(name, attended, tokens):
    torch.manual_seed(0)
    proof = check_encoding(POSITIONS[name](tokens, WIDTH), tokens, WIDTH, HEADS, attended)
    assert proof.exact, f"\n{proof}"


@every
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [7, 24])  # few tokens, and the fused kernels
@pytest.mark.parametrize("new", [None, 3])  # all queries, and the last three against cached keys
def test_quick_attention_is_the_formula(name, causal, tokens, new):
    position = trained(name, tokens)
    pos = indices(position, tokens)
    at = pos if new is None else pos[-new:]
    inputs = [torch.randn(2, HEADS, n, 12, dtype=torch.float64).requires_grad_() for n in (len(at), tokens, tokens)]
    weights = list(position.parameters()) if isinstance(position, nn.Module) else []
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()[-len(at) :] if causal else None
    results = []
    for quick in (True, False):
        placed = place(position, at, 12, torch.float64, pos)
        out = attend(*inputs, placed, causal=causal) if quick else attention(*inputs, placed, mask)
        seed = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        used = [w for w in weights if out.requires_grad]
        grads = torch.autograd.grad(out, [*inputs, *used], seed, allow_unused=True)
        results.append([out, *(torch.zeros(()) if g is None else g for g in grads)])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@every
def test_the_formula_has_derivatives_of_every_kind(name):
    position = trained(name, 24)
    placed = place(position, indices(position, 24), 12, torch.float64)
    q, k, v, tangent = torch.randn(4, 2, HEADS, 24, 12, dtype=torch.float64).unbind(0)
    _, forward = torch.func.jvp(lambda q: attend(q, k, v, placed), (q,), (tangent,))
    numeric = (attend(q + 1e-6 * tangent, k, v, placed) - attend(q - 1e-6 * tangent, k, v, placed)) / 2e-6
    torch.testing.assert_close(forward, numeric, rtol=1e-5, atol=1e-7)
    rows = torch.func.vmap(lambda q, k, v: attend(q[None], k[None], v[None], placed)[0])(q, k, v)
    torch.testing.assert_close(rows, attend(q, k, v, placed), rtol=1e-10, atol=1e-12)


@every
def test_half_precision_of_other_peoples_models_is_kept(name):
    position = copy.deepcopy(trained(name, 18))
    if isinstance(position, nn.Module):
        position.bfloat16()
    placed = place(position, indices(position, 18), 12, torch.bfloat16)
    q = torch.randn(1, HEADS, 18, 12).bfloat16()
    out = attend(q, q, q, placed)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
    if isinstance(position, Rotates):
        assert {z.dtype for z in placed.rotation(q, q)} == {torch.bfloat16}


def test_a_bias_is_held_for_all_pairs_only_where_it_is_no_function_of_the_distance():
    placed = {name: place(trained(name, 9), indices(trained(name, 9), 9), 12, torch.float64) for name in POSITIONS}
    assert {name for name, each in placed.items() if each.bias is not None} == {"fire"}


LENGTH_FROM_POSITIONS = {"floater", "recurrent"}
"""They are followed up to the largest position, which breaks the graph of `torch.compile`."""


def whole(position, x, q, pos):
    """An encoding at work: on tokens and in attention."""
    marked = position.embed(x, pos) if isinstance(position, Embeds) else x
    return marked, attend(q, q, q, place(position, pos, 12, q.dtype), causal=True)


@pytest.mark.parametrize("name", sorted(set(POSITIONS) - LENGTH_FROM_POSITIONS))
def test_one_graph_holds_it(name):
    torch._dynamo.reset()
    position, x, q = trained(name, 18), torch.randn(2, 18, WIDTH).double(), torch.randn(2, HEADS, 18, 12).double()
    pos = indices(position, 18)
    compiled = torch.compile(lambda *inputs: whole(position, *inputs), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, q, pos), whole(position, x, q, pos), rtol=1e-10, atol=1e-12)


@every
def test_it_can_be_made_on_the_meta_device(name):
    with torch.device("meta"):
        position = POSITIONS[name](18, WIDTH)
        x, q = torch.randn(2, 18, WIDTH), torch.randn(2, HEADS, 18, 12)
    marked, out = whole(position, x, q, indices(position, 18).to("meta"))
    assert (marked.shape, out.shape) == (x.shape, q.shape)
    if isinstance(position, nn.Module):
        torch.manual_seed(0)
        filled = position.to_empty(device="cpu")
        filled.load_state_dict(trained(name, 18).float().state_dict())
        x, q, pos = torch.randn(2, 18, WIDTH), torch.randn(2, HEADS, 18, 12), indices(position, 18)
        torch.testing.assert_close(whole(filled, x, q, pos), whole(trained(name, 18).float(), x, q, pos))

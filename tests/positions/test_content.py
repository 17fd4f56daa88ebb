"""Terms that depend on the content, against loops over single numbers."""

import math

import pytest
import torch

from pushforward import PushforwardError
from pushforward.positions import CoPE, DeBERTa, Shaw, TransformerXL, Unordered, XLNet, attention, place, sinusoids

B, H, T, D = 2, 3, 6, 4
PAST = torch.ones(T, T, dtype=torch.bool).tril()


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return torch.randn(3, B, H, T, D, dtype=torch.float64).unbind(0)


def loop(term):
    """Scores one pair at a time."""
    rows = [[[[float(term(b, h, i, j)) for j in range(T)] for i in range(T)] for h in range(H)] for b in range(B)]
    return torch.tensor(rows, dtype=torch.float64)


def random(position):
    position.double()
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter)
    return position.requires_grad_(False)


POS = torch.tensor([4, 5, 6, 9, 10, 30])


def test_shaw(heads):
    q, k, v = heads
    shaw = random(Shaw(D, clip=2))

    def clipped(i, j):
        return min(max(int(POS[j] - POS[i]), -2), 2) + 2

    def term(b, h, i, j):
        return q[b, h, i] @ (k[b, h, j] + shaw.keys[clipped(i, j)]) / math.sqrt(D)

    weights = loop(term).softmax(-1)
    shifted = torch.stack([torch.stack([shaw.values[clipped(i, j)] for j in range(T)]) for i in range(T)])
    expected = weights @ v + torch.einsum("bhij,ijd->bhid", weights, shifted)
    torch.testing.assert_close(attention(q, k, v, place(shaw, POS, D, q.dtype)), expected)


def test_shaw_with_nothing_trained_is_plain(heads):
    shaw = Shaw(D, clip=2).double().requires_grad_(False)
    for parameter in shaw.parameters():
        parameter.zero_()
    plain = attention(*heads, place(Unordered(), POS, D, torch.float64))
    torch.testing.assert_close(attention(*heads, place(shaw, POS, D, torch.float64)), plain)


@pytest.mark.parametrize("clamp", [None, 3])
def test_transformer_xl(heads, clamp):
    q, k, v = heads
    xl = random(TransformerXL(H, D, width=10, clamp=clamp))

    def waves(i, j):
        distance = float(POS[i] - POS[j]) if clamp is None else max(-clamp, min(clamp, float(POS[i] - POS[j])))
        angles = [distance / 10_000 ** (2 * c / 10) for c in range(5)]
        return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles]).double()

    def term(b, h, i, j):
        r = (xl.project.weight @ waves(i, j)).view(H, D)[h]
        return ((q[b, h, i] + xl.content[h]) @ k[b, h, j] + (q[b, h, i] + xl.distance[h]) @ r) / math.sqrt(D)

    expected = loop(term).softmax(-1) @ v
    torch.testing.assert_close(attention(q, k, v, place(xl, POS, D, q.dtype)), expected)


def test_transformer_xl_reads_what_released_code_shifts(heads):
    """Rows of distances from keys - 1 down to 0, padded on the left and reshaped, as its authors do."""
    xl, (q, k, _), memory = random(TransformerXL(H, D)), heads, 2
    q = q[:, :, memory:]
    r = xl.project(sinusoids(torch.arange(T - 1, -1, -1), H * D, layout="half")).unflatten(-1, (H, D))
    bd = torch.einsum("bhqd,rhd->bhqr", q + xl.distance[:, None], r)
    shifted = torch.nn.functional.pad(bd, (1, 0)).view(B, H, T + 1, T - memory)[:, :, 1:].reshape(bd.shape)
    expected = (xl.content[:, None] @ k.mT + shifted) * D**-0.5
    got, past = xl.score(q, k, torch.arange(memory, T), torch.arange(T)), PAST[memory:]
    torch.testing.assert_close(got[..., past], expected[..., past])


def test_xlnet_adds_segments(heads):
    q, k, v = heads
    xlnet = random(XLNet(H, D, width=10))
    segment = torch.tensor([0, 0, 1, 1, 0, 2])
    pos = torch.stack([POS, segment], -1)
    placed = place(xlnet, pos, D, q.dtype)
    places = xlnet.relative.score(q, k, POS, POS)

    def term(b, h, i, j):
        other = int(segment[i] != segment[j])
        return places[b, h, i, j] + (q[b, h, i] + xlnet.segment[h]) @ xlnet.segments[other, h] / math.sqrt(D)

    expected = (q @ k.mT / math.sqrt(D) + loop(term)).softmax(-1) @ v
    torch.testing.assert_close(attention(q, k, v, placed), expected)
    with pytest.raises(PushforwardError, match="place and segment"):
        xlnet.score(q, k, POS, POS)


def test_deberta_reads_both_terms_at_the_same_distance(heads):
    q, k, v = heads
    deberta = random(DeBERTa(H, D, farthest=3))
    keys, queries = (f(deberta.table).view(6, H, D) for f in (deberta.key, deberta.query))

    def term(b, h, i, j):
        c = min(max(int(POS[i] - POS[j]) + 3, 0), 5)
        return (q[b, h, i] @ k[b, h, j] + q[b, h, i] @ keys[c, h] + k[b, h, j] @ queries[c, h]) / math.sqrt(3 * D)

    torch.testing.assert_close(attention(q, k, v, place(deberta, POS, D, q.dtype)), loop(term).softmax(-1) @ v)


def test_deberta_shares_the_contents_projections():
    project = torch.nn.Linear(H * D, H * D)
    deberta = DeBERTa(H, D, farthest=4, buckets=4, normalise=True, key=project, query=project)
    assert deberta.key is deberta.query is project
    assert deberta.table.shape == (8, H * D)


def test_cope(heads):
    q, k, v = heads
    cope = random(CoPE(D, tokens=3))

    def term(b, h, i, j):
        if j > i:
            return float("-inf")
        gates = [torch.sigmoid(q[b, h, i] @ k[b, h, t] / math.sqrt(D)) for t in range(j, i + 1)]
        count = min(float(sum(gates)), 2.0)
        low, high = (cope.table[f(count)] @ q[b, h, i] for f in (math.floor, math.ceil))
        return q[b, h, i] @ k[b, h, j] / math.sqrt(D) + low + (count - math.floor(count)) * (high - low)

    expected = loop(term).softmax(-1) @ v
    torch.testing.assert_close(attention(q, k, v, place(cope, POS, D, q.dtype), PAST), expected)


def test_cope_starts_as_no_encoding(heads):
    placed = (place(position, POS, D, torch.float64) for position in (CoPE(D).double(), Unordered()))
    one, other = (attention(*heads, each, PAST) for each in placed)
    torch.testing.assert_close(one, other)


def test_open_gates_count_tokens_and_closed_ones_none(heads):
    q, _, _ = heads
    ones = torch.ones_like(q)
    cope = CoPE(D)
    open_, closed = (cope.count(ones, sign * 1e3 * ones, POS, POS) for sign in (1, -1))
    apart = (torch.arange(T)[:, None] - torch.arange(T) + 1).clamp(min=0).double()
    torch.testing.assert_close(open_, apart.expand_as(open_))
    assert closed.abs().max() < 1e-12


def test_counts_grow_with_the_distance_and_skip_what_is_hidden(heads):
    q, k, _ = heads
    cope = CoPE(D)
    count = cope.count(q, k, POS, POS)
    for i in range(T):
        assert (count[..., i, : i + 1].diff() < 0).all()
    mask = torch.ones(T, T, dtype=torch.bool)
    mask[:, 2] = False
    hidden = cope.count(q, k, POS, POS, mask)
    torch.testing.assert_close(hidden[..., 5, 2], count[..., 5, 3])
    torch.testing.assert_close(hidden[..., 5, 3], count[..., 5, 3])


def test_cope_interpolates_and_trains_without_a_one_hot(heads):
    q, k, v = heads
    cope = CoPE(D, tokens=8).double()
    out = attention(q, k, v, place(cope, POS, D, q.dtype), PAST)
    out.square().sum().backward()
    assert cope.table.grad[:4].abs().sum(-1).gt(0).all()

"""Linear attention against a loop over pairs: its three forms, encodings, padding, packed rows, and feature maps."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from laws.zoo_positions import HEADS, POSITIONS
from pushforward import PushforwardError
from pushforward._random import Draw
from pushforward.nets import (
    Attention,
    EluFeatures,
    LinearAttention,
    PositiveFeatures,
    ReluFeatures,
    RoFormer,
    RoFormerConfig,
    TaylorFeatures,
    Transformer,
    WaveFeatures,
    linear_attention,
    linear_extend,
    place_linear,
    redraw_,
    redrawn,
)
from pushforward.positions import ALiBi, Axial, Embeds, Polar, Rotary, Sinusoidal, Unordered, XPos, place

MAPS = {
    "elu": EluFeatures(),
    "relu": ReluFeatures(),
    "taylor": TaylorFeatures(),
    "positive": PositiveFeatures(12, eps=0),
    "positive-plain": PositiveFeatures(8, orthogonal=False, eps=0),
    "waves": WaveFeatures(8),
}
TURNS = {"rotary": Rotary(), "partial": Rotary(fraction=0.5), "xpos": XPos(origin=0.0), "unordered": Unordered()}
FORMS = {"parallel": None, "chunked": 4, "uneven": 5, "recurrent": 1, "one piece": 64}
T, D = 13, 4

every_map = pytest.mark.parametrize("map", MAPS.values(), ids=MAPS)
every_form = pytest.mark.parametrize("piece", FORMS.values(), ids=FORMS)
both_ways = pytest.mark.parametrize("causal", [True, False], ids=["causal", "both-ways"])


def heads(tokens=T, seed=0):
    torch.manual_seed(seed)
    return torch.randn(3, 2, 2, tokens, D, dtype=torch.float64).unbind(0)


def turned(x, pos, encoding, sign):
    """Every pair of features as a complex number, turned by its position (and scaled, for xPos)."""
    if isinstance(encoding, Unordered):
        return x
    r = int(getattr(encoding, "fraction", 1.0) * len(x))
    z = torch.view_as_complex(x[:r].reshape(-1, 2).contiguous())
    c = torch.arange(r // 2, dtype=torch.float64)
    z = z * torch.exp(1j * pos * 10_000.0 ** (-2 * c / r))
    if isinstance(encoding, XPos):
        z = z * ((2 * c + 0.4 * r) / (1.4 * r)) ** (sign * pos / 512)
    return torch.cat([torch.view_as_real(z).flatten(), x[r:]])


def loop(q, k, v, map, encoding, allowed):
    """The formula, one pair at a time."""
    fq, fk, out = map(q), map(k), torch.zeros_like(v)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                over, under = torch.zeros(D, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
                for j in range(k.shape[2]):
                    if allowed(b, i, j):
                        near = turned(fq[b, h, i], i, encoding, 1) @ turned(fk[b, h, j], j, encoding, -1)
                        over, under = over + near * v[b, h, j], under + fq[b, h, i] @ fk[b, h, j]
                out[b, h, i] = over / under if under != 0 else over
    return out


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@every_map
@both_ways
def test_all_forms_are_the_formula(map, turn, causal):
    q, k, v = heads()
    expected = loop(q, k, v, map, turn, lambda b, i, j: j <= i or not causal)
    placed = place_linear(turn, map, torch.arange(T), D, q.dtype)
    for piece in FORMS.values():
        close(linear_attention(q, k, v, placed, map, causal=causal, piece=piece), expected)


@every_form
@both_ways
def test_padding_and_packed_rows_are_the_formula(piece, causal):
    q, k, v = heads()
    real = torch.rand(2, T, generator=torch.Generator().manual_seed(3)) < 0.7
    owner = torch.tensor([[0] * 5 + [7] * 1 + [2] * 7, [4] * 8 + [1] * 2 + [3] * 3])
    map, placed = MAPS["positive"], place_linear(Rotary(), MAPS["positive"], torch.arange(T), D, q.dtype)

    def allowed(b, i, j):
        return bool(real[b, j]) and owner[b, i] == owner[b, j] and (j <= i or not causal)

    def run(piece):
        return linear_attention(q, k, v, placed, map, real[:, None, None], owner, causal, piece)

    close(run(piece), loop(q, k, v, map, Rotary(), allowed))
    if causal:
        cut, state, said = [0, 3, 4, 9, T], None, []
        for a, b in itertools.pairwise(cut):
            part = place_linear(Rotary(), map, torch.arange(a, b), D, q.dtype)
            mask, rows = real[:, None, None, a:b], owner[:, a:b]
            new = (each[:, :, a:b] for each in (q, k, v))
            out, state = linear_extend(*new, part, map, state, mask, rows, piece)
            said.append(out)
        close(torch.cat(said, 2), run(None))
        assert state.tokens == T


@both_ways
def test_packed_rows_are_what_each_is_alone(causal):
    layer = LinearAttention(8, 2, Rotary(), PositiveFeatures(6), causal).double()
    x, lengths = torch.randn(2, 9, 8, dtype=torch.float64), [4, 5]
    pos = torch.cat([torch.arange(n) for n in lengths])
    together = layer(x, pos, segments=torch.tensor([0] * 4 + [1] * 5))
    alone = [layer(part, torch.arange(part.shape[1])) for part in x.split(lengths, 1)]
    close(together, torch.cat(alone, 1))


@both_ways
def test_left_padding_changes_nothing(causal):
    layer = LinearAttention(8, 2, Rotary(), causal=causal).double()
    x = torch.randn(1, 6, 8, dtype=torch.float64)
    longer = torch.cat([torch.randn(1, 3, 8, dtype=torch.float64), x], 1)
    out = layer(longer, torch.arange(9) - 3, (torch.arange(9) >= 3)[None])
    close(out[:, 3:], layer(x, torch.arange(6)))


def test_a_query_that_sees_nothing_gets_zeros():
    q, k, v = heads()
    placed = place_linear(Rotary(), EluFeatures(), torch.arange(T), D, q.dtype)
    seen = torch.arange(T) >= 3
    out = linear_attention(q, k, v, placed, EluFeatures(), seen, causal=True)
    assert not out[:, :, :3].any()
    assert out[:, :, 3:].isfinite().all()


def test_the_work_of_the_next_token_does_not_grow():
    layer = LinearAttention(8, 2, Rotary(), PositiveFeatures(6), causal=True).double()
    x, state, said, sizes = torch.randn(1, 40, 8, dtype=torch.float64), None, [], set()
    for i in range(40):
        out, state = layer.extend(x[:, i : i + 1], torch.tensor([i]), state)
        said.append(out)
        sizes.add((state.values.numel(), state.weights.numel()))
    assert sizes == {(2 * 6 * 4, 2 * 6)}
    close(torch.cat(said, 1), layer(x, torch.arange(40)))


def test_memory_grows_with_the_length_alone():
    def saved(tokens):
        kept = 0

        def keep(t):
            nonlocal kept
            kept += t.numel()
            return t

        q, k, v = (x.requires_grad_() for x in heads(tokens))
        placed = place_linear(Rotary(), EluFeatures(), torch.arange(tokens), D, q.dtype)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            linear_attention(q, k, v, placed, EluFeatures(), causal=True)
        return kept

    assert saved(2048) < 2.2 * saved(1024)


@every_form
@both_ways
@pytest.mark.parametrize("packed", [False, True])
def test_derivatives_are_differences(piece, causal, packed):
    q, k, v = (x[:, :1, :7].requires_grad_() for x in heads())
    map, owner = PositiveFeatures(4), torch.tensor([0, 0, 0, 1, 1, 2, 2]) if packed else None
    placed = place_linear(Rotary(), map, torch.arange(7), D, q.dtype)

    def run(q, k, v):
        return linear_attention(q, k, v, placed, map, None, owner, causal, piece)

    assert torch.autograd.gradcheck(run, (q, k, v), fast_mode=True)


def test_derivatives_go_through_the_state():
    q, k, v = (x[:, :1, :5].requires_grad_() for x in heads())
    first, second = (place_linear(Rotary(), EluFeatures(), p, D, q.dtype) for p in torch.arange(5).split([3, 2]))

    def run(q, k, v):
        a, state = linear_extend(*(x[:, :, :3] for x in (q, k, v)), first, EluFeatures())
        return torch.cat([a, linear_extend(*(x[:, :, 3:] for x in (q, k, v)), second, EluFeatures(), state)[0]], 2)

    assert torch.autograd.gradcheck(run, (q, k, v), fast_mode=True)


@pytest.mark.parametrize("name", POSITIONS)
def test_every_encoding_works_or_is_refused(name):
    width = 48
    position = POSITIONS[name](9, width)
    axes, features = position.properties.axes, width // HEADS
    pos = torch.arange(9) if axes == 1 else torch.stack([torch.arange(9) // 3**a % 3 for a in range(axes)], -1)
    if not position.properties.linear_attention or name == "polar":
        with pytest.raises(PushforwardError, match="an encoding that works with linear attention"):
            LinearAttention(width, HEADS, position)
        return
    layer = LinearAttention(width, HEADS, position, causal=True).double()
    x = torch.randn(2, 9, width, dtype=torch.float64)
    if isinstance(position, Embeds):
        x = position.embed(x, pos)
    placed = place_linear(position, layer.map, pos, features, x.dtype)
    q, k, v = layer._split(x)
    whole = linear_attention(q, k, v, placed, layer.map, causal=True, piece=None)
    for piece in (1, 4):
        close(linear_attention(q, k, v, placed, layer.map, causal=True, piece=piece), whole)
    close(layer(x, pos), layer._joined(whole))
    assert not torch.allclose(whole, linear_attention(q, k, v, placed, layer.map))
    turned_at_all = name not in ("unordered",) and not isinstance(position, Embeds)
    plain = linear_attention(q, k, v, place(Unordered(axes), pos, features, x.dtype), layer.map, causal=True)
    assert torch.allclose(whole, plain) != turned_at_all


@every_map
def test_weights_depend_on_the_distance_alone(map):
    q, k, v = heads()
    here, there = (place_linear(Rotary(), map, torch.arange(T) + by, D, q.dtype) for by in (0, 1_000_000))
    torch.testing.assert_close(
        linear_attention(q, k, v, here, map), linear_attention(q, k, v, there, map), rtol=1e-8, atol=1e-9
    )


def test_long_rows_of_large_keys_stay_finite_in_low_precision():
    q, k, v = (x.repeat(1, 1, 40, 1) * 6 for x in heads())
    map = PositiveFeatures(16)
    for dtype in (torch.float32, torch.bfloat16):
        low = [x.to(dtype) for x in (q, k, v)]
        placed = [place_linear(Rotary(), map, torch.arange(40 * T), D, kind) for kind in (dtype, torch.float64)]
        out = linear_attention(*low, placed[0], map, causal=True)
        exact = linear_attention(*(x.double() for x in low), placed[1], map, causal=True)
        assert out.dtype == dtype
        assert (out.double() - exact).norm() < 32 * torch.finfo(dtype).eps * exact.norm()


# Feature maps


@pytest.mark.parametrize("map", [PositiveFeatures(16, eps=0), PositiveFeatures(16, False, eps=0), WaveFeatures(16)])
def test_random_features_are_unbiased(map):
    torch.manual_seed(0)
    q, k = torch.randn(2, 6, 8, dtype=torch.float64).unbind(0)
    exact = ((q * k).sum(-1) / math.sqrt(8)).exp()
    draws = torch.stack([(one(q) * one(k)).sum(-1) for one in (redrawn(map, step) for step in range(2000))])
    error = (draws.mean(0) - exact) / (draws.std(0) / math.sqrt(len(draws)))
    assert error.abs().max() < 3
    assert draws.std(0).min() > 0


@pytest.mark.parametrize("map", [PositiveFeatures(eps=0), WaveFeatures()], ids=["positive", "waves"])
def test_the_error_falls_as_the_root_of_their_number(map):
    torch.manual_seed(1)
    q, k = 0.3 * torch.randn(2, 64, 8, dtype=torch.float64)
    exact = ((q * k).sum(-1) / math.sqrt(8)).exp()

    def error(count):
        many = [redrawn(replace(map, count=count), step) for step in range(60)]
        return math.sqrt(sum(((one(q) * one(k)).sum(-1) - exact).square().mean() for one in many) / 60)

    slope = math.log(error(1024) / error(16)) / math.log(1024 / 16)
    assert -0.56 < slope < -0.44


@pytest.mark.parametrize("map", [PositiveFeatures(8, eps=0), WaveFeatures(16)], ids=["positive", "waves"])
def test_orthogonal_directions_are_better(map):
    torch.manual_seed(2)
    q, k = 0.3 * torch.randn(2, 64, 8, dtype=torch.float64)
    exact = ((q * k).sum(-1) / math.sqrt(8)).exp()

    def error(orthogonal):
        many = [redrawn(replace(map, orthogonal=orthogonal), step) for step in range(200)]
        return sum(((one(q) * one(k)).sum(-1) - exact).square().mean() for one in many)

    assert error(True) < 0.95 * error(False)


def test_orthogonal_directions_are_orthogonal_and_as_long_as_normal_ones():
    from pushforward.nets.feature_maps import directions

    w = torch.stack([directions(Draw(step), 12, 8, True) for step in range(500)])
    assert w.shape == (500, 12, 8)
    for group in (w[:, :8], w[:, 8:]):
        products = group @ group.mT
        assert (products - products.diagonal(dim1=1, dim2=2).diag_embed()).abs().max() < 1e-12
    squares = w.square().sum(-1)
    assert abs(squares.mean() - 8) < 3 * 4 / math.sqrt(squares.numel())  # chi square of 8: variance 16
    assert abs(w.mean()) < 3 / math.sqrt(w.numel())
    assert (w.square().mean((0, 1)) - 1).abs().max() < 4 * math.sqrt(2 / 6000)


def test_linear_attention_of_many_features_is_softmax_attention():
    torch.manual_seed(0)
    soft = Attention(8, 2, Unordered(), causal=True).double()
    x, pos = torch.randn(2, 20, 8, dtype=torch.float64), torch.arange(20)

    @torch.no_grad()
    def distance(map):
        layer = LinearAttention(8, 2, Unordered(), map, causal=True).double()
        layer.load_state_dict(soft.state_dict())
        return float((layer(x, pos) - soft(x, pos)).norm() / soft(x, pos).norm())

    assert distance(PositiveFeatures(1 << 14)) < 0.02 < 0.1 < distance(PositiveFeatures(16))
    assert distance(TaylorFeatures()) < 0.04 < 0.1 < distance(EluFeatures())


def test_taylor_is_the_series():
    q, k, _ = heads()
    s = (q * k).sum(-1) / math.sqrt(D)
    close((TaylorFeatures()(q) * TaylorFeatures()(k)).sum(-1), 1 + s + s * s / 2)


@every_map
def test_a_free_map_differs_by_a_factor_of_each_token(map):
    x = heads()[0]
    ratio = map(x, free=True) / map(x)
    ratio = ratio.where(map(x) != 0, ratio[..., :1])
    close(ratio, ratio[..., :1].expand_as(ratio))
    assert (ratio[..., 0] > 0).all()


def test_long_keys_have_finite_derivatives():
    q, k, v = (60 * x.float() for x in heads())
    placed = place_linear(Rotary(), PositiveFeatures(), torch.arange(T), D, q.dtype)
    k = k.requires_grad_()
    (gradient,) = torch.autograd.grad(linear_attention(q, k, v, placed, PositiveFeatures(), causal=True).sum(), k)
    assert gradient.isfinite().all()
    bare = replace(PositiveFeatures(), eps=0)
    (gradient,) = torch.autograd.grad(linear_attention(q, k, v, placed, bare, causal=True).sum(), k)
    assert not gradient.isfinite().all()  # what eps is for


def test_directions_are_a_function_of_their_address():
    x = heads()[0]
    assert torch.equal(PositiveFeatures(8)(x), PositiveFeatures(8)(x))
    assert not torch.allclose(redrawn(PositiveFeatures(8), 1)(x), PositiveFeatures(8)(x))
    assert redrawn(EluFeatures(), 1) == EluFeatures()
    net = Transformer((5, 2), width=8, layers=2, heads=2, attention=PositiveFeatures(6))
    assert len({block.attention.map.draw for block in net.blocks}) == 2
    assert list(net.buffers()) == []
    torch.nn.init.normal_(net.leave.weight)
    x, t = torch.randn(1, 5, 2), torch.rand(1)
    torch.nn.init.normal_(net.modulation.weight)
    before = net(x, t)
    redraw_(net, 4)
    assert not torch.allclose(net(x, t), before)
    redraw_(net, 0)
    assert torch.equal(net(x, t), before)


def test_it_compiles_as_a_whole():
    layer = LinearAttention(8, 2, Rotary(), PositiveFeatures(6), causal=True)
    x, pos = torch.randn(1, 70, 8), torch.arange(70)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, pos), layer(x, pos))


# Nets


def test_a_transformer_asks_for_an_encoding_that_works():
    with pytest.raises(PushforwardError, match="got ALiBi"):
        Transformer((5, 2), ALiBi(2), width=8, layers=1, heads=2, attention=EluFeatures())
    with pytest.raises(PushforwardError, match="got Polar"):
        Transformer((5, 2), Polar(2, 4), width=8, layers=1, heads=2, attention=EluFeatures())
    assert Transformer((1, 4, 4), Axial(), width=16, layers=1, heads=2, attention=EluFeatures(), patch=2)
    assert Transformer((5, 2), Sinusoidal(), width=8, layers=1, heads=2, attention=WaveFeatures(6))


def test_what_cannot_be_is_refused():
    q, k, v = heads()
    placed = place_linear(Rotary(), EluFeatures(), torch.arange(T), D, q.dtype)
    pairs = torch.ones(T, T, dtype=torch.bool)
    with pytest.raises(PushforwardError, match=r"one of pairs, \[13, 13\]"):
        linear_attention(q, k, v, placed, EluFeatures(), pairs)
    with pytest.raises(PushforwardError, match="13 keys, one per query"):
        linear_attention(q, k[:, :, :4], v[:, :, :4], placed, EluFeatures(), causal=True)
    with pytest.raises(PushforwardError, match=r"each sequence in one place .* \[0, 1, 0\]"):
        linear_attention(q, k, v, placed, EluFeatures(), segments=torch.tensor([0] * 5 + [1] * 3 + [0] * 5))
    with pytest.raises(PushforwardError, match=r"segments \[batch, 13\]; got \[1, 4\]"):
        linear_attention(q, k, v, placed, EluFeatures(), segments=torch.zeros(4, dtype=torch.long))
    with pytest.raises(PushforwardError, match="XPos with an origin"):
        linear_extend(q, k, v, place_linear(XPos(), EluFeatures(), torch.arange(T), D, q.dtype), EluFeatures())
    with pytest.raises(PushforwardError, match="a causal layer"):
        LinearAttention(8, 2, Rotary()).extend(torch.randn(1, 2, 8), torch.arange(2))
    with pytest.raises(PushforwardError, match="width=10, heads=3"):
        LinearAttention(10, 3, Rotary())
    with pytest.raises(PushforwardError, match="an even number of features"):
        PositiveFeatures(7)
    with pytest.raises(PushforwardError, match="eps of at least 0"):
        ReluFeatures(-1.0)


def test_queries_may_ask_other_keys():
    q, k, v = heads()
    placed = place(Rotary(), torch.arange(4), D, q.dtype, torch.arange(T))
    both = [linear_attention(q[:, :, :4], k, v, placed, EluFeatures(), piece=piece) for piece in (None, 1)]
    close(*both)
    close(both[0], loop(q, k, v, EluFeatures(), Rotary(), lambda b, i, j: True)[:, :, :4])


LINEAR = RoFormerConfig(37, 16, 2, 2, 24, causal=True, attention=PositiveFeatures(6))


def language(config=LINEAR):
    torch.manual_seed(0)
    return RoFormer(config).double(), torch.randint(37, (2, 70))


def test_a_language_model_reads_on_from_its_sums():
    net, tokens = language()
    whole, cache, said = net(tokens), None, []
    for part in tokens.split([30, 1, 1, 38], 1):
        h, cache = net.extend(part, cache)
        said.append(h)
    close(torch.cat(said, 1), whole)
    assert cache.tokens == 70
    assert cache.past[0].values.shape == (2, 2, 6, 8)


def test_a_language_model_sees_no_future_and_no_padding():
    net, tokens = language()
    other = tokens.clone()
    other[:, 40:] = 0
    close(net(tokens)[:, :40], net(other)[:, :40])
    real = (torch.arange(70) >= 20).expand(2, 70)
    padded = net(tokens, torch.arange(70) - 20, mask=real[:, None, None])
    close(padded[:, 20:], net(tokens[:, 20:]))
    assert not torch.allclose(net(tokens, torch.arange(70).flip(0)), net(tokens))


def test_language_models_that_cannot_be_are_refused():
    from pushforward.interop.roformer import save_roformer

    with pytest.raises(PushforwardError, match="neither of both with linear attention"):
        replace(LINEAR, turns_values=True)
    net, tokens = language()
    with pytest.raises(PushforwardError, match="causal=True with linear attention"):
        net.extend(tokens, causal=False)
    with pytest.raises(PushforwardError, match="softmax attention"):
        save_roformer(net, "nowhere")

"""RoFormer against its formulas, and what explicit positions, masks and a cache promise."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pushforward import PushforwardError
from pushforward.nets import RoFormer, RoFormerConfig, likeness, pool, seen_by_part
from pushforward.positions import Interpolation, Rotary, packed, padded

WIDTH, HEADS, N = 16, 2, 19
V1 = RoFormerConfig(37, WIDTH, 2, HEADS, 24)
CONFIGS = {
    "v1": V1,
    "v1-values": replace(V1, turns_values=True, embedded=6, classes=3, pooler="tanh"),
    "v1-untied": replace(V1, tied=False, activation="silu"),
    "v2": RoFormerConfig.v2(37, WIDTH, 2, HEADS, 24),
    "v2-cross": replace(RoFormerConfig.v2(37, WIDTH, 2, HEADS, 24), cross=True, causal=True, eps=0.1),
    "v1-cross": replace(V1, cross=True, causal=True, pooler="linear", embedded=8),
}
TOKENS = torch.randint(37, (2, N), generator=torch.Generator().manual_seed(1))
KINDS = (torch.arange(N) > 8).long().expand(2, N)


def trained(config, seed=0):
    torch.manual_seed(seed)
    model = RoFormer(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def turned(x, pos):
    """Every pair of every head of a token, as a complex number."""
    z = torch.view_as_complex(x.unflatten(-1, (HEADS, -1, 2)))
    pairs = z.shape[-1]
    theta = torch.tensor([10_000 ** (-2 * c / (2 * pairs)) for c in range(pairs)], dtype=torch.float64)
    return torch.view_as_real(z * torch.exp(1j * pos * theta)).flatten(-3)


def formula(model, tokens, kinds, allowed, memory=None, shift=0.0):
    """One text, token by token, from the weights alone."""
    config, w = model.config, model.state_dict()

    def linear(name, x, rows=slice(None)):
        y = w[f"{name}.weight"][rows] @ x
        return y + w[f"{name}.bias"][rows] if config.bias else y

    def norm(name, x):
        if config.norm == "rms":
            return x / math.sqrt((x * x).mean() + config.eps)
        centred = x - x.mean()
        scaled = centred / math.sqrt((centred * centred).mean() + config.eps)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    act = {"gelu": nn.functional.gelu, "relu": torch.relu, "silu": nn.functional.silu}[config.activation]

    def mix(name, hs, others, turn, allowed):
        out, third = [], [slice(i * WIDTH, (i + 1) * WIDTH) for i in range(3)]
        q = [linear(f"{name}.qkv", h, third[0]) for h in hs]
        k, v = ([linear(f"{name}.qkv", h, third[i]) for h in others] for i in (1, 2))
        if turn:
            q, k = ([turned(x, i + shift) for i, x in enumerate(xs)] for xs in (q, k))
            v = [turned(x, i + shift) for i, x in enumerate(v)] if config.turns_values else v
        for i in range(len(hs)):
            heard = []
            for part in torch.arange(WIDTH).chunk(HEADS):
                js = [j for j in range(len(others)) if allowed(i, j)]
                scores = torch.stack([q[i][part] @ k[j][part] / math.sqrt(WIDTH / HEADS) for j in js])
                heard.append(sum(p * v[j][part] for p, j in zip(scores.softmax(0), js)))
            out.append(linear(f"{name}.out", torch.cat(heard)))
        return out

    hs = [norm("norm", w["word.weight"][t] + w["kind.weight"][s]) for t, s in zip(tokens, kinds)]
    hs = [linear("project", h) for h in hs] if "project.weight" in w else hs
    for block in (f"blocks.{i}" for i in range(config.layers)):
        heard = mix(f"{block}.attention", hs, hs, True, allowed)
        hs = [norm(f"{block}.attention_norm", h + x) for h, x in zip(hs, heard)]
        if memory is not None:
            heard = mix(f"{block}.cross", hs, list(memory), False, lambda i, j: True)
            hs = [norm(f"{block}.cross_norm", h + x) for h, x in zip(hs, heard)]
        hs = [norm(f"{block}.network_norm", h + linear(f"{block}.down", act(linear(f"{block}.up", h)))) for h in hs]
    said = hs
    if config.norm == "layer":
        said = [norm("words.norm", act(linear("words.dense", h))) for h in hs]
    table, bias = (w["word.weight"] if config.tied else w["words.table"]), w["words.bias"] if config.bias else 0.0
    return torch.stack(hs), torch.stack([table @ x + bias for x in said])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_is_its_formulas(name):
    model = trained(CONFIGS[name])
    memory = torch.randn(2, 5, WIDTH, dtype=torch.float64) if model.config.cross else None
    h = model(TOKENS, kinds=KINDS, memory=memory)
    for b in range(2):
        allowed = (lambda i, j: j <= i) if model.config.causal else (lambda i, j: True)
        tokens, logits = formula(model, TOKENS[b], KINDS[b], allowed, None if memory is None else memory[b])
        torch.testing.assert_close(h[b], tokens, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(model.word_logits(h)[b], logits, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("values", [False, True])
def test_packed_texts_do_not_see_each_other(causal, values):
    model = trained(replace(V1, causal=causal, turns_values=values))
    lengths = (4, 9, 6)
    pos, mask = packed(lengths)
    whole = model(TOKENS, pos, mask=mask)
    alone = torch.cat([model(part) for part in TOKENS.split(lengths, 1)], 1)
    torch.testing.assert_close(whole, alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("n", [11, N], ids=["formula", "fused"])  # few tokens are attended to by the formula
def test_padding_on_either_side_changes_nothing(causal, values, n):
    model = trained(replace(V1, causal=causal, turns_values=values))
    for length in (1, 7):
        text, rest = TOKENS[:1, :length], TOKENS[1:, length:n]
        alone = model(text)
        pos, mask = padded([length], n)
        real = torch.arange(n) >= n - length
        for each in (mask, real[None, None, None]):  # with the second, padding before a causal text sees nothing
            out = model(torch.cat([rest, text], 1), pos, mask=each)
            assert out.isfinite().all()
            torch.testing.assert_close(out[:, real], alone, rtol=1e-10, atol=1e-10)
        out = model(torch.cat([text, rest], 1), mask=(torch.arange(n) < length)[None, None, None])
        torch.testing.assert_close(out[:, :length], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [11, N], ids=["formula", "fused"])
def test_a_text_of_padding_alone_spoils_nothing(n):
    model, memory = trained(CONFIGS["v1-cross"]), torch.randn(2, 5, WIDTH, dtype=torch.float64)
    real = torch.tensor([[True], [False]])[:, None, None]
    out = model(TOKENS[:, :n], mask=real, memory=memory, memory_mask=real, causal=False)
    assert out.isfinite().all()
    torch.testing.assert_close(out[:1], model(TOKENS[:1, :n], memory=memory[:1], causal=False), rtol=1e-10, atol=1e-10)


def test_only_distances_count_until_values_are_turned():
    model, values = trained(V1), trained(replace(V1, turns_values=True))
    pos = torch.arange(N, dtype=torch.float64) * 0.37  # nothing needs to be whole
    for by in (0.5, 1000.25):
        torch.testing.assert_close(model(TOKENS, pos + by), model(TOKENS, pos), rtol=1e-9, atol=1e-9)
        assert (values(TOKENS, pos + by) - values(TOKENS, pos)).abs().max() > 0.01
    assert (model(TOKENS, 2 * pos) - model(TOKENS, pos)).abs().max() > 0.01
    moved = formula(values, TOKENS[0, :5], KINDS[0, :5], lambda i, j: True, shift=0.5)[0]
    torch.testing.assert_close(values(TOKENS[:1, :5], torch.arange(5) + 0.5)[0], moved, rtol=1e-10, atol=1e-10)


def test_a_longer_context_is_another_rotation():
    model, wide = trained(V1), RoFormer(replace(V1, position=Rotary(extension=Interpolation(4.0)))).double()
    wide.load_state_dict(model.state_dict())
    pos = torch.arange(N)
    torch.testing.assert_close(wide(TOKENS, 4 * pos), model(TOKENS, pos), rtol=1e-9, atol=1e-9)


def test_rounding_does_not_grow_with_the_position():
    """Tables are exact wherever a token stands, in a model of any precision, which has no buffers to spoil."""
    exact = trained(V1)
    low = RoFormer(V1).bfloat16()
    low.load_state_dict(exact.state_dict())
    assert not list(low.buffers())
    exact.load_state_dict(low.state_dict())
    expected, near, far = exact(TOKENS), low(TOKENS), low(TOKENS, torch.arange(N) + 1_000_000)
    error = [(each - expected).abs().mean() for each in (near, far)]
    assert 0 < error[1] < 1.5 * error[0] < 0.1
    assert near.dtype == torch.bfloat16


def test_a_decoder_knows_nothing_of_what_follows():
    model = trained(replace(V1, causal=True))
    model.word.weight.requires_grad_()
    tokens = torch.arange(N)[None]
    (model(tokens)[0, 6].square().sum()).backward()
    heard = model.word.weight.grad[:N].abs().sum(1)
    assert (heard[:7] > 0).all()
    assert (heard[7:] == 0).all()


@pytest.mark.parametrize("name", ["v1-cross", "v2-cross"])
def test_a_text_goes_on_in_several_ways_from_one_cache(name):
    model, memory = trained(CONFIGS[name]), torch.randn(2, 5, WIDTH, dtype=torch.float64)
    pos, mask = padded([N, N - 4], N)
    pos = pos * 2 + 0.5
    expected = model(TOKENS, pos, mask=mask, memory=memory)
    parts = (slice(0, 7), slice(7, 8), slice(8, N))
    h, start = model.extend(TOKENS[:, parts[0]], None, pos[:, parts[0]], mask=mask[..., parts[0], :7], memory=memory)
    torch.testing.assert_close(h[0], expected[0, :7], rtol=1e-10, atol=1e-10)
    for _ in range(2):  # the cache is as it was
        cache = start
        for part in parts[1:]:
            seen = mask[..., part, : part.stop]
            h, cache = model.extend(TOKENS[:, part], cache, pos[:, part], mask=seen)
            torch.testing.assert_close(h, expected[:, part], rtol=1e-10, atol=1e-10)
        assert (start.tokens, cache.tokens) == (7, N)
        model.extend(TOKENS[:, :3], start)


def test_the_source_of_a_unified_model_is_seen_whole_and_the_target_by_its_future():
    model = trained(replace(V1, causal=True))
    h = model(TOKENS, mask=seen_by_part(KINDS), causal=False)
    source = model(TOKENS[:, :9], causal=False)  # of kind 0: it sees itself alone, both ways
    torch.testing.assert_close(h[:, :9], source, rtol=1e-10, atol=1e-10)
    shorter = model(TOKENS[:, :12], mask=seen_by_part(KINDS[:, :12]), causal=False)
    torch.testing.assert_close(h[:, :12], shorter, rtol=1e-10, atol=1e-10)
    first, cache = model.extend(TOKENS[:, :9], causal=False)  # read in parts, the source at once
    rest, _ = model.extend(TOKENS[:, 9:], cache)
    torch.testing.assert_close(torch.cat([first, rest], 1), h, rtol=1e-10, atol=1e-10)


def test_logits_of_chosen_tokens_are_those_of_all():
    model = trained(CONFIGS["v1-values"])
    h, chosen = model(TOKENS), TOKENS % 3 == 0
    torch.testing.assert_close(model.word_logits(h[chosen]), model.word_logits(h)[chosen])
    dense, out = model.classes.dense, model.classes.out
    expected = out(nn.functional.gelu(dense(h[:, 0])))
    torch.testing.assert_close(model.class_logits(h), expected)
    torch.testing.assert_close(model.pooled(h), model.pooler.dense(h[:, 0]).tanh())


def test_derivatives_of_both_modes_agree():
    model = trained(V1)
    at = dict(model.named_parameters())
    along = {name: torch.randn_like(parameter) for name, parameter in at.items()}

    def loss(parameters):
        return torch.func.functional_call(model, parameters, (TOKENS,)).square().cos().sum()

    _, forward = torch.func.jvp(loss, (at,), (along,))
    loss(at).backward()
    backward = sum((parameter.grad * along[name]).sum() for name, parameter in at.items() if parameter.grad is not None)
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-9)


def test_sentences():
    h = torch.tensor([[[1.0, 9.0], [3.0, -2.0], [7.0, 7.0]], [[float("inf"), 0.0], [2.0, 0.0], [4.0, 1.0]]])
    real = torch.tensor([[True, True, False], [False, True, True]])
    assert pool(h, real).tolist() == [[2.0, 3.5], [3.0, 0.5]]
    assert pool(h, real, "first").tolist() == [[1.0, 9.0], [2.0, 0.0]]
    assert pool(h, real, "largest").tolist() == [[3.0, 9.0], [4.0, 1.0]]
    a = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    torch.testing.assert_close(likeness(a, a[:1] * 5), torch.tensor([[1.0], [0.8]]))
    with pytest.raises(PushforwardError, match="'last'"):
        pool(h, real, "last")


def test_the_base_model_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = RoFormer(RoFormerConfig())
    head = sum(parameter.numel() for parameter in model.words.parameters())
    assert head == 642_128
    assert sum(parameter.numel() for parameter in model.parameters()) - head == 123_457_536


def test_version_2_starts_with_its_own_spread():
    config = RoFormerConfig.v2(500, 128, 4, 4, 256)
    torch.manual_seed(0)
    weights = RoFormer(config).blocks[0].up.weight
    assert weights.std().item() == pytest.approx(
        (128 * 4) ** -0.5, rel=0.02
    )  # cut at two deviations of 1.1368 times it
    assert weights.abs().max() <= 2 * config.spread


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, "heads=3"), ({"width": 18, "heads": 6}, "twice the heads"), ({"norm": "batch"}, "batch"),
        ({"activation": "mish"}, "mish"), ({"pooler": "relu"}, "relu"), ({"vocabulary": 0}, "sizes"),
        ({"norm": "rms", "embedded": 8}, "words=False"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_told(change, words):
    with pytest.raises(PushforwardError, match=words):
        replace(V1, **change)


def test_what_a_model_has_not_is_told():
    model = RoFormer(replace(V1, words=False))
    h = model(TOKENS)
    for call, words in (
        (lambda: model.word_logits(h), "words=True"), (lambda: model.class_logits(h), "classes="),
        (lambda: model.pooled(h), "pooler="), (lambda: model.extend(TOKENS), "causal=True"),
        (lambda: model(TOKENS, memory=h), "cross=True"), (lambda: model(TOKENS.double()), "int64"),
        (lambda: model(TOKENS[0]), "word indices"),
    ):  # fmt: skip
        with pytest.raises(PushforwardError, match=words):
            call()

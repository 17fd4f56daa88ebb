"""The published encodings as `transformers` computes them, where it is installed."""

import sys
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from pushforward.positions import T5, ALiBi, DeBERTa, XLNet, attention, place, signed_bucket, t5_bucket

pytestmark = [
    pytest.mark.skipif(find_spec("transformers") is None, reason="compares with transformers, which is not installed"),
    pytest.mark.filterwarnings("ignore"),  # theirs
]

B, H, D, N = 2, 4, 8, 13
POS = torch.arange(N)
DISTANCES = torch.arange(-700, 701)


@pytest.fixture(autouse=True)
def no_torchvision(monkeypatch):
    """Text models do not need it, and one that was made for another torch spoils their import."""
    monkeypatch.setitem(sys.modules, "torchvision", None)


def random(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval().requires_grad_(False)


def split(x):
    return x.unflatten(-1, (H, D)).transpose(-3, -2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 96), (64, 512)])
def test_t5(causal, buckets, farthest):
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(
        d_model=32, d_kv=D, num_heads=H, is_decoder=causal, relative_attention_num_buckets=buckets,
        relative_attention_max_distance=farthest,
    )  # fmt: skip
    theirs = random(T5Attention(config, has_relative_attention_bias=True, layer_idx=0))
    expected = theirs._relative_position_bucket(DISTANCES, not causal, buckets, farthest)
    assert torch.equal(t5_bucket(DISTANCES, buckets, farthest, causal), expected)
    ours = T5(H, buckets, farthest, causal, scale=1.0)
    ours.table.data.copy_(theirs.relative_attention_bias.weight)
    torch.testing.assert_close(
        ours.bias(POS + 40, torch.arange(N + 40))[None], theirs.compute_bias(N, N + 40, past_seen_tokens=40)
    )
    x = torch.randn(B, N, 32)
    q, k, v = (split(f(x)) for f in (theirs.q, theirs.k, theirs.v))
    mask = torch.ones(N, N, dtype=torch.bool).tril() if causal else None
    out = attention(q, k, v, place(ours, POS, D, x.dtype), mask).transpose(1, 2).flatten(2)
    floor = None if mask is None else torch.zeros(1, 1, N, N).masked_fill(~mask, torch.finfo(x.dtype).min)
    torch.testing.assert_close(theirs.o(out), theirs(x, mask=floor)[0], rtol=1e-4, atol=1e-4)


def test_deberta_version_1():
    from transformers.models.deberta.configuration_deberta import DebertaConfig
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, build_relative_position

    config = DebertaConfig(
        hidden_size=H * D, num_attention_heads=H, relative_attention=True, max_relative_positions=5,
        pos_att_type=["c2p", "p2c"],
    )  # fmt: skip
    theirs = random(DisentangledSelfAttention(config))
    ours = random(DeBERTa(H, D, farthest=5))
    ours.key.weight.copy_(theirs.pos_proj.weight)
    ours.query.load_state_dict(theirs.pos_q_proj.state_dict())
    x = torch.randn(B, N, H * D)
    per_head = theirs.in_proj(x).view(B, N, H, 3 * D).transpose(1, 2)
    q, k, v = per_head.chunk(3, -1)
    q, v = (z + bias.view(H, 1, D) for z, bias in ((q, theirs.q_bias), (v, theirs.v_bias)))
    out = attention(q, k, v, place(ours, POS, D, x.dtype)).transpose(1, 2).flatten(2)
    everything = torch.ones(B, 1, N, N)
    expected = theirs(x, everything, relative_pos=build_relative_position(q, k), rel_embeddings=ours.table)[0]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_deberta_versions_2_and_3(shared):
    from transformers.models.deberta_v2.configuration_deberta_v2 import DebertaV2Config
    from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, make_log_bucket_position

    config = DebertaV2Config(
        hidden_size=H * D, num_attention_heads=H, relative_attention=True, max_relative_positions=16,
        position_buckets=6, share_att_key=shared, pos_att_type=["c2p", "p2c"],
    )  # fmt: skip
    theirs = random(DisentangledSelfAttention(config))
    for size, farthest in ((6, 16), (256, 512)):
        assert torch.equal(
            signed_bucket(DISTANCES, size, farthest), make_log_bucket_position(DISTANCES, size, farthest).long()
        )
    key, query = (theirs.key_proj, theirs.query_proj) if shared else (theirs.pos_key_proj, theirs.pos_query_proj)
    ours = random(DeBERTa(H, D, farthest=16, buckets=6, normalise=True, key=key, query=query))
    x = torch.randn(B, N, H * D)
    q, k, v = (split(f(x)) for f in (theirs.query_proj, theirs.key_proj, theirs.value_proj))
    out = attention(q, k, v, place(ours, POS, D, x.dtype)).transpose(1, 2).flatten(2)
    expected = theirs(x, torch.ones(B, 1, N, N), rel_embeddings=ours.norm(ours.table))[0]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clamp", [None, 4])
def test_xlnet(clamp):
    from transformers.models.xlnet.configuration_xlnet import XLNetConfig
    from transformers.models.xlnet.modeling_xlnet import XLNetModel, XLNetRelativeAttention

    config = XLNetConfig(vocab_size=9, d_model=H * D, n_layer=1, n_head=H, d_inner=8, clamp_len=clamp or -1)
    theirs, ours = random(XLNetRelativeAttention(config)), random(XLNet(H, D, clamp=clamp))
    ours.relative.content.copy_(theirs.r_w_bias)
    ours.relative.distance.copy_(theirs.r_r_bias)
    ours.relative.project.weight.copy_(theirs.r.flatten(1).T)
    ours.segment.copy_(theirs.r_s_bias)
    ours.segments.copy_(theirs.seg_embed)
    q, k, v = torch.randn(3, B, H, N, D).unbind(0)
    q, memory = q[:, :, 4:], 4  # the first keys are a memory
    segment = (POS > 6).long()
    waves = XLNetModel(config).relative_positional_encoding(N - memory, N, bsz=B)
    r = torch.einsum("ibh,hnd->ibnd", waves, theirs.r)
    other = (
        nn.functional.one_hot((segment[memory:, None] != segment).long(), 2).float()[:, :, None].expand(-1, -1, B, -1)
    )
    expected = theirs.rel_attn_core(*(z.permute(2, 0, 1, 3) for z in (q, k, v)), r, other.float())
    pos = torch.stack([POS, segment], -1)
    out = attention(q, k, v, place(ours, pos[memory:], D, q.dtype, pos))
    torch.testing.assert_close(out.permute(2, 0, 1, 3), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [4, 6, 8, 12])
def test_alibi(heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, N, dtype=torch.long), heads, torch.float32)
    ours = ALiBi(heads).bias(POS[-1:], POS)[:, 0]  # of the last query: theirs but for a constant
    torch.testing.assert_close((ours - ours[:, :1]).float(), theirs.view(heads, N), rtol=1e-5, atol=1e-6)

"""Rotary positions from other people's configurations: their tables bit by bit, their scores, their pains."""

import pytest
import torch

from positions.test_spectrum import radians
from pushforward import PushforwardError
from pushforward.interop import rotary_from
from pushforward.positions import DynamicNTK, Interpolation, LongRoPE, Multimodal, Rotary, YaRN, illustrated

D, LENGTH = 128, 4096
LONG = {
    "short_factor": [1 + c / 100 for c in range(D // 2)],
    "long_factor": [1 + c / 3 for c in range(D // 2)],
    "original_max_position_embeddings": 2048,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
LLAMA = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
PARAMETERS = {
    "default": {"rope_type": "default"},
    "partial": {"rope_type": "default", "partial_rotary_factor": 0.25},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": YARN,
    "yarn-fractional": YARN | {"truncate": False, "beta_fast": 16.0, "beta_slow": 2.0},
    "yarn-attention": YARN | {"attention_factor": 0.83},
    "yarn-deepseek": YARN | {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.7},
    "yarn-partial": YARN | {"partial_rotary_factor": 0.5},
    "llama3": LLAMA | {"original_max_position_embeddings": 2048},
    "longrope": {"rope_type": "longrope", "factor": 2.0} | LONG,
    "longrope-attention": {"rope_type": "longrope", "factor": 2.0, "attention_factor": 1.1} | LONG,
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "factor": 2.0},
}


def settings(name, theta=500_000.0):
    parameters = PARAMETERS[name] | {"rope_theta": theta}
    return {"head_dim": D, "max_position_embeddings": LENGTH, "rope_parameters": parameters}


def theirs(name):
    """Their configuration object."""
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    return transformers.LlamaConfig(hidden_size=2 * D, num_attention_heads=2, **settings(name))


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("length", [None, 3 * LENGTH])
def test_frequencies_and_amplitude_equal_transformers_bit_by_bit(name, length):
    config = theirs(name)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding

    kind = PARAMETERS[name]["rope_type"]
    if kind == "default":  # GPT-NeoX's, which may be partial
        inverse, amplitude = GPTNeoXRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        inverse, amplitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    rotary = rotary_from(settings(name), length=length, precision="float32")
    assert torch.equal(radians(rotary.spectrum(D)).float(), inverse)
    assert rotary.spectrum(D).amplitude == amplitude
    exact = radians(rotary_from(settings(name), length=length).spectrum(D))
    torch.testing.assert_close(exact.float(), inverse, rtol=3e-6, atol=0)


@pytest.mark.parametrize("name", ["default", "linear", "yarn", "llama3", "longrope", "proportional"])
def test_tables_and_rotations_equal_llama_bit_by_bit(name):
    config = theirs(name)
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    torch.manual_seed(0)
    pos = torch.arange(1500)
    q, k = torch.randn(2, 1, 2, 1500, D).unbind()
    cos, sin = LlamaRotaryEmbedding(config)(q, pos[None])
    rotary = rotary_from(settings(name), precision="float32")
    ours = rotary.tables(pos, D)
    assert torch.equal(ours[0], cos[0, :, : D // 2])
    assert torch.equal(ours[1], sin[0, :, : D // 2])
    for a, b in zip(rotary.rotate(q, k, pos, pos), apply_rotary_pos_emb(q, k, cos, sin)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)  # one rounding differs: they add, we multiply and add


@pytest.mark.parametrize(("family", "interleaved"), [("qwen2_vl", False), ("qwen3_vl", True)])
def test_multimodal_tables_equal_qwen(family, interleaved):
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    import importlib

    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    sections = [24, 20, 20] if interleaved else [16, 24, 24]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections, "mrope_interleaved": interleaved}
    made = {"hidden_size": 2 * D, "num_attention_heads": 2, "head_dim": D, "rope_parameters": rope}
    config = getattr(transformers, "Qwen3VLTextConfig" if interleaved else "Qwen2VLTextConfig")(**made)
    rotate = getattr(module, "Qwen3VLTextRotaryEmbedding" if interleaved else "Qwen2VLRotaryEmbedding")(config)
    pos = torch.randint(0, 900, (2, 11, 3), generator=torch.Generator().manual_seed(0))
    q = torch.randn(2, 2, 11, D, generator=torch.Generator().manual_seed(1))
    cos, sin = rotate(q, pos.permute(2, 0, 1))
    ours = rotary_from(made, precision="float32")
    assert isinstance(ours, Multimodal)
    tables = ours.tables(pos, D)
    assert torch.equal(tables[0], cos[..., : D // 2])
    assert torch.equal(tables[1], sin[..., : D // 2])


def test_positions_of_illustrated_text_equal_qwen():
    transformers = pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

    small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    vision = {"depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 16, "spatial_merge_size": 1}
    text = small | {"vocab_size": 32, "rope_parameters": rope, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.Qwen2VLConfig(
        text_config=text | {"num_key_value_heads": 2}, vision_config=vision,
        image_token_id=5, video_token_id=6, vision_start_token_id=7, vision_end_token_id=8,
    )  # fmt: skip
    model = Qwen2VLModel._from_config(config)
    ids = [10, 11, 7, *[5] * 12, 8, 12, 13, 7, *[5] * 2, 8, 14]
    kinds = torch.tensor([[int(token == 5) for token in ids]])
    grids = torch.tensor([[1, 3, 4], [1, 2, 1]])
    expected, delta = model.get_rope_index(torch.tensor([ids]), kinds, image_grid_thw=grids)
    ours = illustrated(3, (1, 3, 4), 4, (1, 2, 1), 2)
    assert torch.equal(ours, expected[:, 0].T)
    assert ours.max() + 1 - len(ids) == delta.item()


def test_roformer_agrees():
    pytest.importorskip("transformers", reason="compares with transformers, which is not installed")
    from transformers.models.roformer.modeling_roformer import (
        RoFormerSelfAttention,
        RoFormerSinusoidalPositionalEmbedding,
    )

    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 3, 200, 64).unbind()
    table = RoFormerSinusoidalPositionalEmbedding(256, 64)
    table.weight = torch.nn.Parameter(table.create_weight(), requires_grad=False)
    sinusoidal = table(torch.Size((1, 200)))[None, None]
    expected = RoFormerSelfAttention.apply_rotary_position_embeddings(sinusoidal, q, k)
    pos = torch.arange(200)
    for a, b in zip(Rotary().rotate(q, k, pos, pos), expected):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


OLD = {"rope_theta": 1e4, "max_position_embeddings": LENGTH, "head_dim": D}


def test_old_and_new_spellings_mean_the_same():
    def made(scaling, **more):
        return rotary_from(OLD | {"rope_scaling": scaling} | more)

    assert made(None) == Rotary(layout="half")
    assert made({"type": "linear", "factor": 2.0}).extension == Interpolation(2.0)
    assert made({"rope_type": "dynamic", "factor": 2.0}).extension == DynamicNTK(2.0, LENGTH, LENGTH)
    yarn = YaRN(4.0, 1024, attention_factor=0.5)
    trained = {"original_max_position_embeddings": 1024}
    assert made({"type": "yarn", "factor": 4.0, "attn_factor": 0.5} | trained).extension == yarn
    assert made({"type": "yarn", "factor": 4.0, "attention_factor": 0.5}, **trained).extension == yarn
    assert made({"type": "yarn", "attention_factor": 0.5}, **trained).extension == yarn  # factor from the lengths
    long = {"short_factor": [1, 2], "long_factor": [3, 4]}
    expected = LongRoPE((1.0, 2.0), (3.0, 4.0), 1024, 1024, 4.0)
    assert made({"type": "longrope"} | long, **trained).extension == expected
    assert made({"type": "su"} | long, **trained).extension == expected


def test_a_nested_truncate_is_obeyed():  # transformers reads it from the level above, where it is not
    rope = YARN | {"truncate": False, "rope_theta": 1e4}
    assert rotary_from(OLD | {"rope_parameters": rope}).extension.truncate is False


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_parameters": {"rope_type": "spiral"}}, "a rope_type of default"),
        ({"rope_parameters": {"full": {"rope_type": "default"}}}, "one kind of layer"),
        ({"rope_parameters": {"rope_type": "linear"}}, "'factor' in rope_parameters"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "'low_freq_factor'"),
        ({"rope_parameters": LLAMA}, "trained length"),
    ],
)
def test_errors_teach(config, message):
    with pytest.raises(PushforwardError, match=message):
        rotary_from(config)

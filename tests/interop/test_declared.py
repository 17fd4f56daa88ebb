"""What configurations declare about positions, how exact that is, and what is found wrong with them."""

import json

import pytest
import torch

from pushforward._errors import RunError
from pushforward.interop.declared import declared, declared_by, facts
from pushforward.interop.defects import Finding, findings, stored
from pushforward.interop.invariance import score_errors
from pushforward.positions import T5, ALiBi, DeBERTa, Learned, Multimodal, Rotary, Shaw, Sinusoidal, XPos, YaRN
from pushforward.training.files import write_tensors

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 4096}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}

ENCODINGS = {
    "llama": (LLAMA, Rotary(layout="half")),
    "rope_theta": ({"model_type": "new", "hidden_size": 64, "n_head": 4, "rope_theta": 5e5}, Rotary(5e5, "half")),
    "roformer": (LLAMA | {"model_type": "roformer"}, Rotary()),
    "gptj": ({"model_type": "gptj", "n_embd": 64, "n_head": 4, "rotary_dim": 8}, Rotary(fraction=0.5)),
    "gpt_neox": (
        {"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4, "rotary_pct": 0.25,
         "rotary_emb_base": 1e5},
        Rotary(1e5, "half", 0.25),
    ),
    "deepseek": (LLAMA | {"model_type": "deepseek_v3", "rope_interleave": False}, Rotary(layout="half")),
    "yarn": (LLAMA | {"rope_scaling": YARN}, Rotary(layout="half", extension=YaRN(4.0, 1024))),
    "mrope": (
        {"model_type": "qwen2_vl",
         "text_config": LLAMA | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}},
        Multimodal((2, 3, 3), layout="half"),
    ),
    "alibi": ({"model_type": "bloom", "hidden_size": 64, "n_head": 8}, ALiBi(8)),
    "mpt": ({"model_type": "mpt", "d_model": 64, "n_heads": 4, "attn_config": {"alibi": True}}, ALiBi(4)),
    "marian": ({"model_type": "marian", "d_model": 64}, Sinusoidal(layout="half")),
    "xpos": ({"model_type": "retnet"}, XPos()),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_configuration_is_one_of_our_encodings(name):
    config, encoding = ENCODINGS[name]
    assert declared_by(config).encodings == {"": encoding}


def test_those_with_parameters_have_the_sizes_that_are_declared():
    t5 = declared_by({"model_type": "t5", "num_heads": 4, "relative_attention_num_buckets": 16}).encodings[""]
    assert isinstance(t5, T5)
    assert (t5.table.shape, t5.scale) == ((16, 4), 1.0)
    deberta = declared_by({"model_type": "deberta-v2", "position_buckets": 32, "max_position_embeddings": 64})
    assert isinstance(deberta.encodings[""], DeBERTa)
    assert (deberta.encodings[""].buckets, deberta.encodings[""].farthest) == (32, 64)
    bert = declared_by({"model_type": "bert", "max_position_embeddings": 64}).encodings[""]
    assert isinstance(bert, Learned)
    assert len(bert.table) == 64
    config = {"model_type": "wav2vec2-bert", "position_embedding_type": "relative_key"}
    assert isinstance(declared_by(config).encodings[""], Shaw)


def test_layers_of_several_kinds_have_an_encoding_each():
    rope = {"near": {"rope_type": "default", "rope_theta": 1e4}, "far": {"rope_type": "default", "rope_theta": 1e6}}
    found = declared_by(LLAMA | {"rope_parameters": rope})
    assert found.encodings == {"near": Rotary(layout="half"), "far": Rotary(1e6, "half")}
    names = [name for name, _ in facts(found)]
    assert "near: base" in names
    assert "far: wavelengths" in names


def test_what_is_not_known_is_said_to_be_unknown():
    assert "not known here" in declared_by({"model_type": "new", "rope_theta": 1e4, "hidden_size": 8}).words
    assert "not known here" not in declared_by(LLAMA).words
    found = declared_by({"model_type": "mystery"})
    assert found.encodings == {}
    assert "nothing is known here" in found.words


def test_facts_are_in_plain_words():
    said = dict(facts(declared_by(LLAMA | {"rope_theta": 5e5, "partial_rotary_factor": 0.5})))
    assert said["trained length"] == "4,096 tokens"
    assert said["turned"] == "8 of 16 features of a head"
    assert said["base"] == "500,000"
    assert said["wavelengths"] == "6.28 to 118,143 tokens"


# How exact


def test_errors_are_those_of_each_way_of_making_tables():
    errors = score_errors(Rotary(), 64, [1_000, 1_000_000])
    assert max(errors["exact"]) < 3e-7
    assert errors["float32"][1] > 100 * errors["float32"][0]
    assert 1e-3 < errors["bfloat16"][0] < 2e-2
    assert errors["cast"][0] > 0.05
    assert errors["cast"][1] > 1
    pos, theta = torch.arange(1_000_000 - 2_048, 1_000_000), 10_000.0 ** (-2 * torch.arange(32.0) / 64)
    table = torch.polar(torch.ones(1), pos[:, None] * theta).to(torch.complex128)
    apart = (table[1:] * table[:-1].conj() - torch.polar(torch.ones(32), theta).to(torch.complex128)).abs().max()
    assert errors["float32"][1] >= 0.5 * float(apart)


def test_an_amplitude_is_no_error():
    assert max(score_errors(Rotary(extension=YaRN(4.0, 1024)), 64, [1_000])["exact"]) < 5e-7


# What is wrong


def found_in(config, tensors=None) -> list[Finding]:
    """Findings about a configuration."""
    return findings(declared_by(config), tensors or {})


WRONG = {
    "two names": (LLAMA | {"rope_scaling": YARN | {"type": "linear"}}, "called 'linear' and 'yarn' at once"),
    "an amplitude that is ignored": (LLAMA | {"rope_scaling": YARN | {"attn_factor": 1.2}}, "attn_factor"),
    "lengths": (LLAMA | {"rope_scaling": YARN | {"factor": 8.0}}, "stretches 1,024 tokens 8 times, to 8,192, but"),
    "nested truncate": (
        LLAMA | {"rope_parameters": {"full": YARN | {"truncate": False}, "near": {}}},
        "off by up to 11%",
    ),
    "far": (LLAMA | {"max_position_embeddings": 131_072}, "at 131,072 tokens phases in float32 are off"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_a_warning_and_comes_first(name):
    config, words = WRONG[name]
    found = found_in(config)
    assert found[0].level == "warning"
    assert words in found[0].words
    assert all(each.level != "warning" for each in found_in(LLAMA | {"rope_scaling": YARN}))


NOTED = {
    "roformer": (LLAMA | {"model_type": "roformer"}, "ignores them, fails beyond 4,096 tokens"),
    "half": (LLAMA | {"torch_dtype": "bfloat16"}, "The weights are in 16 bits"),
    "bloom": ({"model_type": "bloom", "n_head": 8}, "share 3 biases"),
    "retnet": ({"model_type": "retnet"}, "another origin"),
    "t5": ({"model_type": "t5"}, "no gradient on processors"),
    "bert": ({"model_type": "bert", "max_position_embeddings": 512}, "nothing beyond 512 tokens"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_goes_wrong_elsewhere_is_a_note(name):
    config, words = NOTED[name]
    assert words in " ".join(f"{each.level} {each.words}" for each in found_in(config) if each.level == "note")


def frequencies(base: float = 10_000.0) -> torch.Tensor:
    """What Llama keeps in a buffer."""
    return base ** (-torch.arange(0, 16, 2) / 16)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (frequencies(), ()),
        (frequencies().bfloat16(), ("was saved in BF16", "off from the configuration's frequencies by 0.")),
        (frequencies(5e5), ("off from the configuration's frequencies by",)),
        (frequencies()[:4], ("off from the configuration's frequencies by inf",)),
    ],
)
def test_frequencies_saved_with_the_weights_are_compared(values, words, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    write_tensors(tmp_path / "model.safetensors", {"model.layers.0.self_attn.rotary_emb.inv_freq": values})
    said = [each.words for each in findings(declared(tmp_path), stored(tmp_path)) if each.level == "warning"]
    assert len(said) == len(words)
    assert all(word in each for word, each in zip(words, said))


def test_the_program_that_wrote_the_weights_is_known_by_their_names(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    names = ("attn.rotary_emb.freqs", "attn.rotary_emb.scale", "attn.cope.pos_emb")
    write_tensors(tmp_path / "a.safetensors", {name: torch.ones(2) for name in names})
    said = " ".join(map(str, findings(declared(tmp_path), stored(tmp_path))))
    assert all(word in said for word in ("257 is 256", "different origins", "soft_onehot"))


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(RunError, match="which is no folder"):
        declared(tmp_path / "no")
    with pytest.raises(RunError, match=r"without config\.json"):
        declared(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="a JSON file"):
        declared(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="a whole safetensors file"):
        stored(tmp_path)

"""RoFormer against `transformers`, in both directions, and the folders it is kept in."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from pushforward import PushforwardError
from pushforward.interop import load_roformer, save_roformer
from pushforward.nets import RoFormer, RoFormerConfig
from pushforward.positions import NTK, Rotary

theirs = pytest.mark.skipif(find_spec("transformers") is None, reason="compares with transformers, not installed")
quiet = pytest.mark.filterwarnings("ignore")  # theirs

SIZES = {
    "vocab_size": 37, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 40,
}  # fmt: skip
DECODER = {"is_decoder": True}
MODELS = {
    "encoder": ("Model", {}),
    "words": ("ForMaskedLM", {}),
    "words-untied": ("ForMaskedLM", {"tie_word_embeddings": False}),
    "values": ("ForMaskedLM", {"rotary_value": True}),
    "projected": ("ForMaskedLM", {"embedding_size": 12}),
    "discriminator": ("Model", {"embedding_size": 12, "rotary_value": True}),
    "relu": ("ForMaskedLM", {"hidden_act": "relu", "layer_norm_eps": 1e-5, "type_vocab_size": 3}),
    "gelu-new": ("ForMaskedLM", {"hidden_act": "gelu_new"}),
    "silu": ("ForMaskedLM", {"hidden_act": "silu"}),
    "classes": ("ForSequenceClassification", {"num_labels": 3}),
    "decoder": ("ForCausalLM", DECODER),
    "decoder-values": ("ForCausalLM", DECODER | {"rotary_value": True, "embedding_size": 12}),
    "decoder-cross": ("ForCausalLM", DECODER | {"add_cross_attention": True}),
    "decoder-cross-values": ("ForCausalLM", DECODER | {"add_cross_attention": True, "rotary_value": True}),
}
B, N, M = 3, 21, 9
TOKENS = torch.randint(37, (B, N), generator=torch.Generator().manual_seed(1))
KINDS = (torch.arange(N) > 8).long().expand(B, N)
REAL = torch.arange(N) < torch.tensor([[N], [13], [5]])
MEMORY = torch.randn(B, M, 32, generator=torch.Generator().manual_seed(2))
MEMORY_REAL = torch.arange(M) < torch.tensor([[M], [4], [6]])


@pytest.fixture(autouse=True)
def no_torchvision(monkeypatch):
    """Text models do not need it, and one that was made for another torch spoils their import."""
    monkeypatch.setitem(sys.modules, "torchvision", None)


def their(name, path=None):
    """Their random model of this name, its weights far from those of a start; or theirs of a folder."""
    import transformers

    kind, options = MODELS[name]
    cls = getattr(transformers, f"RoFormer{kind}")
    if path is not None:
        model, report = cls.from_pretrained(path, output_loading_info=True)
        assert not any(report.values())
        return model.eval()
    torch.manual_seed(0)
    model = cls(transformers.RoFormerConfig(**SIZES, **options))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "embed_positions" not in key:
                parameter.add_(0.15 * torch.randn_like(parameter))
        if options.get("tie_word_embeddings", True) and hasattr(model, "cls"):
            model.tie_weights()
    return model.eval()


def their_output(model, tokens=TOKENS, real=REAL, kinds=KINDS, **more):
    if model.config.add_cross_attention:
        more |= {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_REAL.long()}
    with torch.no_grad():
        out = model(tokens, attention_mask=real.long(), token_type_ids=kinds, **more)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


def memory_of(model):
    return {"memory": MEMORY, "memory_mask": MEMORY_REAL[:, None, None]} if model.config.cross else {}


def said(model, h):
    return model.class_logits(h) if model.classes else model.word_logits(h) if model.words else h


def our_output(model, tokens=TOKENS, real=REAL, kinds=KINDS, pos=None):
    with torch.no_grad():
        return said(model, model(tokens, pos, kinds=kinds, mask=real[:, None, None], **memory_of(model)))


def close(ours, expected, real=REAL):
    if expected.shape[:2] == real.shape:
        ours, expected = ours[real], expected[real]
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@theirs
@quiet
@pytest.mark.parametrize("name", MODELS)
def test_their_models_are_read_and_ours_are_read_by_them(name, tmp_path):
    model = their(name)
    model.save_pretrained(tmp_path / "theirs")
    ours = load_roformer(tmp_path / "theirs")
    expected = their_output(model)
    close(our_output(ours), expected)
    save_roformer(ours, tmp_path / "ours", length=40)
    again = their(name, tmp_path / "ours")
    torch.testing.assert_close(their_output(again), expected, rtol=0, atol=0)


@theirs
@quiet
@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("decoder")])
def test_a_text_read_in_pieces_is_the_text_read_at_once_and_theirs(name, tmp_path):
    model = their(name)
    model.save_pretrained(tmp_path)
    ours, everything = load_roformer(tmp_path), torch.ones(B, N, dtype=torch.bool)
    expected = their_output(model, real=everything)
    cache, said_so_far = None, []
    for part in (slice(0, 6), slice(6, 7), slice(7, 17), slice(17, N)):
        with torch.no_grad():
            first = memory_of(ours) if cache is None else {"memory_mask": memory_of(ours).get("memory_mask")}
            h, cache = ours.extend(TOKENS[:, part], cache, kinds=KINDS[:, part], **first)
            said_so_far.append(said(ours, h))
    close(torch.cat(said_so_far, 1), expected, everything)
    cross = model.config.add_cross_attention
    more = {"encoder_hidden_states": MEMORY, "encoder_attention_mask": MEMORY_REAL.long()} if cross else {}
    first = model(TOKENS[:, :6], token_type_ids=KINDS[:, :6], use_cache=True, **more)
    held = getattr(first, "cache", None) or first.past_key_values
    held = getattr(held, "self_attention_cache", held)
    for layer, (k, v) in zip(held.layers, cache.past, strict=True):  # turned keys (and values), as theirs
        torch.testing.assert_close(k[:, :, :6], layer.keys, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(v[:, :, :6], layer.values, rtol=1e-5, atol=1e-5)


@theirs
@quiet
def test_beyond_theirs_positions_are_heard_and_texts_have_any_length(tmp_path):
    """Theirs swallows position_ids, and fails beyond its table."""
    model = their("values")
    model.save_pretrained(tmp_path)
    ours = load_roformer(tmp_path)
    short, real = TOKENS[:, :13], REAL[:, :13]
    with torch.no_grad():
        moved = model(short, attention_mask=real.long(), token_type_ids=KINDS[:, :13], position_ids=torch.arange(5, 18))
    assert torch.equal(moved.logits, their_output(model, short, real, KINDS[:, :13]))
    ahead = torch.cat([TOKENS[:, :5], short], 1)  # five tokens before, hidden: theirs at positions 5, 6, ...
    seen = torch.cat([torch.zeros(B, 5, dtype=torch.bool), real], 1)
    expected = their_output(model, ahead, seen, torch.cat([KINDS[:, :5], KINDS[:, :13]], 1))[:, 5:]
    close(our_output(ours, short, real, KINDS[:, :13], pos=torch.arange(5, 18)), expected, real)
    long = TOKENS.repeat(1, 4)
    with pytest.raises(IndexError):
        model(long)
    assert ours(long).isfinite().all()


CONFIG = RoFormerConfig(37, 32, 2, 4, 48, embedded=12, turns_values=True, causal=True, cross=True)
KINDS_OF_MODEL = {
    "v1": CONFIG,
    "v1-untied": replace(CONFIG, tied=False, cross=False, causal=False, classes=3),
    "v2": RoFormerConfig.v2(37, 32, 2, 4, 48),
    "sim": RoFormerConfig(37, 32, 2, 4, 48, causal=True, pooler="linear"),
    "v2-sim": replace(RoFormerConfig.v2(37, 32, 2, 4, 48), causal=True, pooler="linear"),
    "bare": RoFormerConfig(37, 32, 2, 4, 48, words=False, activation="gelu_tanh", eps=1e-5),
}


def ours(name):
    torch.manual_seed(0)
    model = RoFormer(KINDS_OF_MODEL[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KINDS_OF_MODEL)
def test_saved_and_loaded_is_the_same(name, dtype, tmp_path):
    model = ours(name).to(dtype)
    again = load_roformer(save_roformer(model, tmp_path))
    std = model.config.spread if again.config.std is None else again.config.std
    assert replace(again.config, std=std) == replace(model.config, std=std)
    expected = model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in again.state_dict().items())
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_version_2_is_kept_under_the_names_of_its_authors(tmp_path):
    save_roformer(ours("v2-sim"), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    told = {key: settings[key] for key in ("norm_type", "use_bias", "pooler_activation", "hidden_act")}
    assert told == {"norm_type": "rms_norm", "use_bias": False, "pooler_activation": "linear", "hidden_act": "relu"}
    keys = set(load_file(tmp_path / "model.safetensors"))
    assert not [key for key in keys if key.endswith("bias") or "LayerNorm" in key]
    assert "roformer.encoder.layer.1.attention.self.query.weight" in keys
    assert "roformer.pooler.dense.weight" in keys


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


QUERY = "roformer.encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(QUERY), QUERY),
        (lambda tensors: tensors.update({QUERY: torch.zeros(32, 31)}), QUERY + r".*\[32, 32\].*\[32, 31\]"),
        (lambda tensors: tensors.update({"qa_outputs.weight": torch.zeros(2, 32)}), "qa_outputs.weight.*strict=False"),
        (lambda tensors: tensors.update({"roformer.encoder.layer.2.output.dense.bias": torch.zeros(2)}), "layer.2"),
    ],
    ids=["missing", "shape", "a-head-too-many", "a-layer-too-many"],
)
def test_weights_that_do_not_fit_are_told(change, words, tmp_path):
    save_roformer(ours("v1"), tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(PushforwardError, match=words):
        load_roformer(tmp_path)


def test_a_head_that_is_not_ours_may_be_left_out(tmp_path):
    model = ours("bare")
    save_roformer(model, tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({"qa_outputs.weight": torch.zeros(2, 32)}))
    assert torch.equal(load_roformer(tmp_path, strict=False)(TOKENS), model(TOKENS))


def test_a_pickle_is_refused_and_its_tensors_are_taken_from_who_read_it(tmp_path):
    model = ours("v1")
    save_roformer(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(PushforwardError, match=r"nothing is unpickled.*weights=from_pickle"):
        load_roformer(tmp_path)
    read = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    assert torch.equal(load_roformer(tmp_path, weights=read)(TOKENS, memory=MEMORY), model(TOKENS, memory=MEMORY))
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(PushforwardError, match=r"model\.safetensors"):
        load_roformer(tmp_path)


@pytest.mark.parametrize("change", [{"model_type": "bert"}, {"hidden_act": "mish"}, {"norm_type": "batch"}])
def test_another_configuration_is_refused(change, tmp_path):
    save_roformer(ours("bare"), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | change))
    with pytest.raises(PushforwardError, match=f"'{next(iter(change.values()))}'"):
        load_roformer(tmp_path)


def test_a_rotation_that_their_format_cannot_say_is_not_written(tmp_path):
    model = RoFormer(replace(KINDS_OF_MODEL["bare"], position=Rotary(extension=NTK(4.0))))
    with pytest.raises(PushforwardError, match="NTK"):
        save_roformer(model, tmp_path)
    assert not list(tmp_path.iterdir())

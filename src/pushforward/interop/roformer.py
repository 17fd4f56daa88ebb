"""RoFormer as the hubs keep it: a folder with `config.json` and `model.safetensors`, in and out.

    ours                          theirs (after "roformer." for all but the heads)
    word, kind, norm, project     embeddings.{word_embeddings, token_type_embeddings, LayerNorm}, embeddings_project
    blocks.i.attention.qkv        encoder.layer.i.attention.self.{query, key, value}, one above the other
    blocks.i.{up, down}           encoder.layer.i.{intermediate, output}.dense
    words, classes, pooler        cls.predictions, classifier, roformer.pooler

Versions 2 and sim have `norm_type`, `use_bias` and `pooler_activation` in the configuration, as their authors write
them; `transformers` knows version 1 alone. Their table of sines ends at `max_position_embeddings`: it is written for
them and never read, as phases here are exact at any position. Dropout rates are neither read nor written.

Old checkpoints are pickles (`pytorch_model.bin`), and nothing is unpickled here. Who trusts one reads it with
`from_pickle` and passes the tensors on (`weights`); the error says so.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pushforward._durable import make, remove
from pushforward._errors import ConfigError, RunError, explain
from pushforward.interop.foreign import size, understood
from pushforward.nets import RoFormer, RoFormerConfig
from pushforward.nets.roformer_config import Activation
from pushforward.positions import Rotary
from pushforward.training.build import fitting_in
from pushforward.training.files import read_json, read_tensors, write_json, write_tensors

FIELDS: Final = {
    "vocabulary": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "hidden": "intermediate_size", "kinds": "type_vocab_size", "eps": "layer_norm_eps", "turns_values": "rotary_value",
    "causal": "is_decoder", "cross": "add_cross_attention", "tied": "tie_word_embeddings", "bias": "use_bias",
    "pooler": "pooler_activation",
}  # fmt: skip
"""Our fields and theirs, where one is the other."""

_SIZES: Final = frozenset(["vocabulary", "width", "layers", "heads", "hidden", "kinds"])
_SWITCHES: Final = frozenset(["turns_values", "causal", "cross", "tied", "bias"])

ACTS: Final[Mapping[str, Activation]] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu",
    "swish": "silu", "tanh": "tanh",
}  # fmt: skip
"""Their activations and ours."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "word": ("roformer.embeddings.word_embeddings",),
    "kind": ("roformer.embeddings.token_type_embeddings",),
    "norm": ("roformer.embeddings.LayerNorm",),
    "project": ("roformer.embeddings_project",),
    "words.dense": ("cls.predictions.transform.dense",),
    "words.norm": ("cls.predictions.transform.LayerNorm",),
    "words": ("cls.predictions",),
    "classes.dense": ("classifier.dense",),
    "classes.out": ("classifier.out_proj",),
    "pooler.dense": ("roformer.pooler.dense",),
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "cross.qkv": ("crossattention.self.query", "crossattention.self.key", "crossattention.self.value"),
    "cross.out": ("crossattention.output.dense",),
    "cross_norm": ("crossattention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "network_norm": ("output.LayerNorm",),
}
"""Our modules and theirs; those of a block without its number."""

TABLE: Final = "roformer.encoder.embed_positions.weight"
DECODER: Final = "cls.predictions.decoder."


def load_roformer(
    path: str | os.PathLike[str], *, weights: Mapping[str, Tensor] | None = None, strict: bool = True
) -> RoFormer:
    """The model in a folder of the hubs, in evaluation mode; the heads are those that the file has.

    Args:
        path: a folder with `config.json` and `model.safetensors`.
        weights: tensors under their names, instead of `model.safetensors`; for old pickles, which the caller reads.
        strict: refuse tensors that this model has no place for (heads for tags, say), rather than leave them out.

    Raises:
        RunError: a file is missing or damaged, or its tensors are not those of the configuration.
        ConfigError: the configuration is of another model, or has what this one has not.
    """
    folder = Path(path)
    settings = read_json(folder / "config.json")
    tensors = _prefixed(_tensors(folder) if weights is None else weights)
    config = roformer_config(settings, tensors)
    with torch.device("meta"), fitting_in(tensors):
        model = RoFormer(config)
    taken, ours = {TABLE}, dict[str, Tensor]()
    for name, wanted in model.state_dict().items():
        keys = _theirs(name, config, tensors)
        taken.update(keys)
        ours[name] = _whole(wanted, keys, tensors)
    _require_none(key for key in tensors if strict and key not in taken and not _spare(key, config))
    model.load_state_dict(ours, assign=True)
    return model.requires_grad_().eval()


def save_roformer(model: RoFormer, path: str | os.PathLike[str], length: int = 1536) -> Path:
    """Write a model as `load_roformer` and, for version 1, `transformers` read it.

    Args:
        model: whose weights are written, in their own precision.
        path: the folder; made if it does not exist. Its other files are left alone.
        length: how far their table of sines goes, `max_position_embeddings`; it says nothing here.

    Raises:
        ConfigError: a rotation that their format cannot say: it has none but `Rotary()`.
    """
    config = model.config
    if config.attention is not None:
        raise ConfigError(explain("softmax attention, all that the format has", f"{config.attention}", "Leave it out."))
    if replace(config, position=Rotary()) != config:
        raise ConfigError(explain("position=Rotary(), all that the format has", f"{config.position}", "Use it."))
    tensors = dict[str, Tensor]()
    for name, tensor in model.state_dict().items():
        keys = _theirs(name, config, {})
        tensors |= dict(zip(keys, (part.clone() for part in tensor.chunk(len(keys))), strict=True))
    if DECODER + "bias" in tensors:  # untied: the head reads this one and has both
        tensors["cls.predictions.bias"] = tensors[DECODER + "bias"].clone()
    if config.words and config.norm == "rms":  # nothing else would say that there is a head
        tensors.setdefault(DECODER + "weight", model.word.weight.detach().clone())
    cos, sin = Rotary().tables(torch.arange(length), config.width // config.heads)
    tensors[TABLE] = torch.cat([sin, cos], -1).to(model.word.weight.dtype)
    folder = Path(path)
    make(folder)
    remove(folder / "config.json")  # half written, it is none
    write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    write_json(folder / "config.json", _settings(config, length))
    return folder


def roformer_config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RoFormerConfig:
    """Our configuration of their `config.json`, with the heads whose tensors there are.

    Args:
        settings: the JSON file as a mapping.
        tensors: under their names; only which there are and the shape of the classifier matter.

    Raises:
        ConfigError: of another model, or with an activation or a norm that this one has not.
    """
    with understood("that of a RoFormer"):
        return _config(settings, tensors)


def _config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RoFormerConfig:
    kind, act, norm = settings.get("model_type"), settings.get("hidden_act", "gelu"), settings.get("norm_type")
    if kind != "roformer":
        raise ConfigError(explain("a configuration with model_type 'roformer'", repr(kind), "Check the path."))
    if act not in ACTS or norm not in (None, "layer_norm", "rms_norm"):
        got = f"hidden_act={act!r}, norm_type={norm!r}"
        raise ConfigError(
            explain(f"an activation of {', '.join(ACTS)} and a norm of layer_norm, rms_norm", got, "No other is known.")
        )
    known = {ours: settings[theirs] for ours, theirs in FIELDS.items() if theirs in settings and ours != "pooler"}
    for ours in _SIZES & known.keys():
        known[ours] = size(known[ours], FIELDS[ours], least=0)
    for ours in _SWITCHES & known.keys():
        known[ours] = bool(known[ours])
    known |= {"eps": float(known["eps"])} if "eps" in known else {}
    width, embedded = size(settings["hidden_size"], "hidden_size"), int(settings.get("embedding_size") or 0)
    labels = tensors.get("classifier.out_proj.weight")
    pooled = "roformer.pooler.dense.weight" in tensors
    return RoFormerConfig(
        **known, activation=ACTS[act], norm="rms" if norm == "rms_norm" else "layer",
        embedded=0 if embedded == width else embedded,
        words=any(key.startswith("cls.predictions.") for key in tensors),
        pooler=settings.get("pooler_activation", "tanh") if pooled else None,
        classes=0 if labels is None else len(labels),
    )  # fmt: skip


def _settings(config: RoFormerConfig, length: int) -> dict[str, Any]:
    """Their `config.json`; what they do not know is written only where it differs from what they do."""
    settings = {theirs: getattr(config, ours) for ours, theirs in FIELDS.items()}
    if config.bias:
        del settings["use_bias"]
    if config.norm == "rms":
        settings["norm_type"] = "rms_norm"
    if config.pooler is None:
        del settings["pooler_activation"]
    heads = "Model"
    if config.classes:
        heads = "ForSequenceClassification"
        settings["id2label"] = {str(i): f"LABEL_{i}" for i in range(config.classes)}
        settings["label2id"] = {f"LABEL_{i}": i for i in range(config.classes)}
    elif config.words:
        heads = "ForCausalLM" if config.causal else "ForMaskedLM"
    act = next(theirs for theirs, ours in ACTS.items() if ours == config.activation)
    return settings | {
        "model_type": "roformer", "architectures": [f"RoFormer{heads}"], "embedding_size": config.embedding,
        "hidden_act": act, "max_position_embeddings": length, "initializer_range": config.spread,
    }  # fmt: skip


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    if path.is_file():
        return read_tensors(path)
    pickled = sorted(each.name for each in folder.glob("*.bin"))
    if pickled:
        old = str(folder / pickled[0])
        fix = f"If you trust it, pass weights=from_pickle({old!r}, allow_pickle=True) and save_roformer the result."
        raise RunError(explain("model.safetensors", f"{old!r}, a pickle, and nothing is unpickled here", fix))
    raise RunError(explain("model.safetensors", f"{str(folder)!r} without it", "Check the path."))


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A bare model is saved without the prefix that it has below a head."""
    bare = not any(key.startswith("roformer.") for key in tensors)
    return {f"roformer.{key}" if bare else key: tensor for key, tensor in tensors.items()}


def _theirs(name: str, config: RoFormerConfig, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Their names of one of our tensors."""
    if name == "words.table":
        return (DECODER + "weight",)
    if name == "words.bias" and not config.tied and (not tensors or DECODER + "bias" in tensors):
        return (DECODER + "bias",)
    module, _, kind = name.rpartition(".")
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", module)
    if block is None:
        return tuple(f"{each}.{kind}" for each in NAMES[module])
    return tuple(f"roformer.encoder.layer.{block[1]}.{each}.{kind}" for each in NAMES[block[2]])


def _whole(wanted: Tensor, keys: tuple[str, ...], tensors: Mapping[str, Tensor]) -> Tensor:
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise RunError(explain(f"{missing[0]!r} in the weights", f"{len(tensors)} tensors without it", _FIX))
    part = (wanted.shape[0] // len(keys), *wanted.shape[1:])
    for key in keys:
        if tensors[key].shape != part:
            got = f"{list(tensors[key].shape)} in the weights"
            raise RunError(explain(f"{key!r} of shape {list(part)}", got, _FIX))
    return torch.cat([tensors[key] for key in keys])  # a copy, of one too


def _spare(key: str, config: RoFormerConfig) -> bool:
    """Copies of what is read elsewhere."""
    copies = ("weight", "bias") if config.tied else ("bias",)
    return key in {DECODER + each for each in copies} | {"cls.predictions.bias", "roformer.embeddings.position_ids"}


def _require_none(keys: Iterable[str]) -> None:
    left = sorted(keys)
    if left:
        fix = "Pass strict=False to leave it out."
        raise RunError(explain("weights that this model has a place for", f"{left[0]!r} ({len(left)} such)", fix))


_FIX: Final = "Check that config.json belongs to these weights."

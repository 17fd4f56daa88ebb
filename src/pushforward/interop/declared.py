"""What a checkpoint's configuration declares about positions, as an encoding of ours.

Configurations of the hubs say it in many ways: by the kind of model, by `position_embedding_type`, `alibi`,
`rope_theta`, `rope_scaling` or `rope_parameters`, `rotary_pct`, `rotary_dim`; some say nothing and mean their kind's
default. All that is known of this is here, in tables; what is not known is said to be unknown rather than guessed.

Layouts are those of the weights in the file. Nearly all models of the hubs pair feature c with c + r/2 ("half"); those
in `INTERLEAVED` pair 2c with 2c + 1.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushforward._errors import RunError, explain
from pushforward.interop.foreign import size, understood
from pushforward.interop.rope import Settings, rotary_from
from pushforward.positions import (
    T5,
    ALiBi,
    DeBERTa,
    Layout,
    Learned,
    Phased,
    Plain,
    Position,
    Rotary,
    Shaw,
    Sinusoidal,
    TransformerXL,
    XPos,
)
from pushforward.positions.spectrum import theta_of
from pushforward.training.files import read_json

INTERLEAVED: Final = frozenset((
    "blt", "codegen", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "ernie4_5", "ernie4_5_moe", "glm",
    "glm4", "gptj", "helium", "llama4", "moonshine", "roformer",
))  # fmt: skip
"""Kinds of models whose weights have interleaved pairs."""

LEARNED: Final = frozenset((
    "albert", "bart", "bert", "big_bird", "biogpt", "blip", "camembert", "clip", "convbert", "data2vec-text",
    "distilbert", "electra", "ernie", "gpt2", "gpt_bigcode", "gpt_neo", "layoutlm", "longformer", "mbart",
    "mobilebert", "opt", "plbart", "rembert", "roberta", "roc_bert", "vit", "xlm-roberta", "xmod",
))  # fmt: skip
SINUSOIDAL: Final = frozenset((
    "fsmt", "m2m_100", "marian", "pegasus", "speech_to_text", "xglm",
))  # fmt: skip
T5_LIKE: Final = frozenset((
    "longt5", "mt5", "pop2piano", "switch_transformers", "t5", "udop", "umt5",
))  # fmt: skip
HALF: Final = frozenset((
    "falcon", "gemma", "gemma2", "glm4_moe", "gpt_neox", "gpt_neox_japanese", "granite", "llama", "minimax", "mistral",
    "mixtral", "nemotron", "olmo", "olmo2", "persimmon", "phi", "phi3", "qwen2", "qwen3", "stablelm", "starcoder2",
))  # fmt: skip
"""Kinds whose weights have pairs half a head apart. Of either kind queries and keys are turned even where the
configuration says nothing about it."""

SPOKEN: Final = frozenset((
    "rope_theta", "rope_scaling", "rope_parameters", "rotary_emb_base", "rotary_pct", "rotary_dim",
))  # fmt: skip
"""Any of these says that queries and keys are turned."""

_T5: Final = (("num_buckets", 32), ("max_distance", 128))

_MOST, _FAR, _SHOWN = 2**12, 2**15, 2**13
"""Heads and their sizes; distances that are told apart; rows of a table that shows what a trained one promises."""

LENGTHS: Final = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "max_target_positions",
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a configuration says about positions.

    Args:
        model: the kind of model.
        words: the encoding in plain words.
        encodings: ours for each kind of layer, "" where all are alike; empty if it is not known.
        trained: the length trained on, if it is said.
        features: the size of a head.
        heads: heads of attention.
        settings: the part of the configuration about the language model.
    """

    model: str
    words: str
    encodings: Mapping[str, Position]
    trained: int | None
    features: int
    heads: int
    settings: Settings

    @property
    def rotary(self) -> Mapping[str, Phased]:
        """Those of the encodings that turn queries and keys by fixed frequencies."""
        return {kind: each for kind, each in self.encodings.items() if isinstance(each, Phased)}


def declared(path: str | os.PathLike[str]) -> Declared:
    """Read a folder's `config.json`.

    Args:
        path: the folder.

    Raises:
        RunError: there is no configuration, or it is damaged.
        ConfigError: a rotation that is said in a way that is not known.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        got = f"{str(folder)!r} without config.json" if folder.is_dir() else f"{str(folder)!r}, which is no folder"
        raise RunError(explain("a model's folder with config.json", got, "Check the path."))
    return declared_by(read_json(folder / "config.json"))


def declared_by(config: Settings) -> Declared:
    """What a configuration, as a mapping, says about positions."""
    with understood(f"that of {str(config.get('model_type', 'an unknown model'))[:100]!r}"):
        return _declared(config)


def _declared(config: Settings) -> Declared:
    outer = str(config.get("model_type", ""))
    settings = dict(config.get("text_config") or config)
    kind = str(settings.get("model_type") or outer)
    heads = size(_first(settings, "num_attention_heads", "n_head", "n_heads", "num_heads") or 1, "heads", most=_MOST)
    width = size(_first(settings, "hidden_size", "n_embd", "d_model") or heads, "the width")
    features = _first(settings, "qk_rope_head_dim", "head_dim", "d_kv") or width // heads
    features = size(features, "the size of a head", most=_MOST)
    trained = _first(settings, *LENGTHS)
    trained = None if trained is None or int(trained) < 1 else size(trained, "the trained length")
    words, encodings = _encodings(kind, settings, heads, features, trained)
    return Declared(kind or "unknown", words, encodings, trained, features, heads, settings)


def _encodings(
    kind: str, settings: Settings, heads: int, features: int, trained: int | None
) -> tuple[str, Mapping[str, Position]]:
    """In words, and as ours; sizes that do not matter to what an encoding promises are small."""
    said = str(settings.get("position_embedding_type") or "absolute")
    if (kind == "bloom" or settings.get("alibi") or dict(settings.get("attn_config") or {}).get("alibi")) and heads > 1:
        return "ALiBi: a straight slope of the distance per head", {"": ALiBi(heads)}
    if kind in T5_LIKE:
        buckets, far = (size(settings.get(f"relative_attention_{each}", n), each, most=_FAR) for each, n in _T5)
        return f"T5: a trained bias for each of {buckets} buckets of the distance, the last from {far} on", {
            "": T5(heads, buckets, far, scale=1.0)
        }
    if kind in ("deberta", "deberta-v2"):
        farthest, buckets = _deberta(settings)
        how = f"{farthest} distances" if buckets is None else f"{buckets} buckets per direction, up to {farthest}"
        return f"DeBERTa: content against position and back, {how}", {
            "": DeBERTa(heads, 8, farthest, buckets, normalise=buckets is not None)
        }
    if kind in ("transfo-xl", "xlnet"):
        return "Transformer-XL's relative positions" + ", with segments (XLNet)" * (kind == "xlnet"), {
            "": TransformerXL(heads, 8)
        }
    if said.startswith("relative_key"):
        return "Shaw's relative positions, in keys" + " and queries" * said.endswith("query"), {"": Shaw(8)}
    if kind == "retnet" or settings.get("xpos_rel_pos"):
        return "xPos: queries and keys turned, fading with the distance", {"": XPos()}
    if (
        kind in HALF | INTERLEAVED
        or said == "rotary"
        or SPOKEN & {key for key, value in settings.items() if value is not None}
    ):
        return _rotary(kind, settings, features)
    if kind in SINUSOIDAL:
        return "fixed waves, sines before cosines, added to the tokens", {"": Sinusoidal(layout="half")}
    if kind in LEARNED or "position_embedding_type" in settings:
        return f"a trained vector for each of {trained or 'so many'} positions, added to the token", {
            "": Learned(min(trained or 512, _SHOWN), 8 * heads)
        }
    return f"unknown: nothing is known here about positions in models of the kind {kind!r}", {}


def _rotary(kind: str, settings: Settings, features: int) -> tuple[str, Mapping[str, Position]]:
    layout = layout_of(kind, settings)
    normal = dict(settings)
    normal.setdefault("rope_theta", settings.get("rotary_emb_base"))
    if settings.get("rotary_dim") is not None:
        normal["partial_rotary_factor"] = int(settings["rotary_dim"]) / features
    elif settings.get("rotary_pct") is not None:
        normal.setdefault("partial_rotary_factor", settings["rotary_pct"])
    rope = settings.get("rope_parameters") or {}
    kinds: dict[str, Settings] = {}
    if any(isinstance(value, Mapping) for value in rope.values()):
        kinds = {name: normal | {"rope_parameters": each} for name, each in rope.items() if isinstance(each, Mapping)}
    found = {name: rotary_from(each, layout=layout) for name, each in (kinds or {"": normal}).items()}
    pairs = "2c with 2c + 1" if layout == "interleaved" else "c with c + half"
    sure = kind in HALF | INTERLEAVED or settings.get("rope_interleave") is not None
    doubt = "" if sure else "; the layout is that of most models, as this kind is not known here"
    return f"RoPE: queries and keys turned, {layout} layout (feature {pairs}){doubt}", found


def layout_of(kind: str, settings: Settings) -> Layout:
    """Which features of a head are pairs, as the code that runs such a model has it."""
    if settings.get("rope_interleave") is not None:
        return "interleaved" if settings["rope_interleave"] else "half"
    return "interleaved" if kind in INTERLEAVED else "half"


def _deberta(settings: Settings) -> tuple[int, int | None]:
    """The farthest distance, and version 2's buckets."""
    farthest = int(settings.get("max_relative_positions") or -1)
    farthest = farthest if farthest > 0 else int(settings.get("max_position_embeddings") or 512)
    buckets = int(settings.get("position_buckets") or -1)
    return size(farthest, "distances", most=_FAR), size(buckets, "buckets", most=_FAR) if buckets > 0 else None


def _first(settings: Settings, *keys: str) -> Any:
    return next((settings[key] for key in keys if settings.get(key) is not None), None)


def facts(found: Declared) -> list[tuple[str, str]]:
    """What was read, as names and words, for a table."""
    rows = [("model", found.model), ("encoding", found.words)]
    rows.append(("trained length", "not said" if found.trained is None else f"{found.trained:,} tokens"))
    for kind, each in found.rotary.items():
        prefix = f"{kind}: " if kind else ""
        theta = theta_of(each.spectrum(found.features).rows, "exact").abs()
        turning = theta[theta > 0]
        rows.append((f"{prefix}turned", f"{2 * len(turning)} of {found.features} features of a head"))
        if isinstance(each, Rotary):
            rows.append((f"{prefix}base", f"{each.base:,.10g}"))
            rows.append((f"{prefix}scaling", "none" if isinstance(each.extension, Plain) else f"{each.extension}"))
        waves = 2 * math.pi / turning
        rows.append((f"{prefix}wavelengths", f"{float(waves.min()):.3g} to {float(waves.max()):,.0f} tokens"))
    return rows

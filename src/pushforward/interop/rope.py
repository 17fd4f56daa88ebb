"""Rotary positions from the configuration of a Hugging Face model.

What a checkpoint's `config.json` says about positions has been written in several ways: `rope_scaling` with `type` or
`rope_type` beside `rope_theta`, or `rope_parameters` with everything; `attn_factor` or `attention_factor`; the trained
length inside or beside. All of them end here as one `Rotary` (or `Multimodal`), in the "half" layout that these models
have, or in "interleaved" for weights that went through `convert_layout`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pushforward._errors import ConfigError, explain
from pushforward.interop.foreign import understood
from pushforward.positions import (
    DynamicNTK,
    Extension,
    Interpolation,
    Layout,
    Llama3,
    LongRoPE,
    Multimodal,
    Plain,
    Precision,
    Proportional,
    Rotary,
    YaRN,
)

Settings = Mapping[str, Any]


def rotary_from(
    config: Settings, *, length: int | None = None, layout: Layout = "half", precision: Precision = "exact"
) -> Rotary | Multimodal:
    """The positions of a Hugging Face model, from its configuration as a mapping (`config.to_dict()` or the JSON file).

    Args:
        config: the configuration. Where layers differ, pass it with `rope_parameters` of one kind of layer.
        length: the length to serve, for methods whose frequencies depend on it; None for what was trained.
        layout: "half" for weights as they come.
        precision: "float32" repeats their tables bit by bit; "exact" is what those tables approximate.

    Raises:
        ConfigError: the method is unknown, or something it needs is missing.

    >>> rotary_from({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}, "head_dim": 64}).base
    500000.0
    """
    with understood("a configuration of rotary positions"):
        return _rotary(config, length, layout, precision)


def _rotary(config: Settings, length: int | None, layout: Layout, precision: Precision) -> Rotary | Multimodal:
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise ConfigError(explain(
            "rope_parameters of one kind of layer", f"{sorted(rope)}", "Pass one of them as rope_parameters.",
        ))  # fmt: skip
    base = float(_first(rope, config, "rope_theta") or 10_000.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in METHODS:
        raise ConfigError(explain(f"a rope_type of {', '.join(METHODS)}", repr(kind), "Make a Rotary by hand."))
    extension = METHODS[kind](rope, config, length)
    if "mrope_section" in rope:
        sections = tuple(rope["mrope_section"])
        return Multimodal(
            sections, bool(rope.get("mrope_interleaved")), base, layout, extension=extension, precision=precision
        )
    fraction = 1.0 if kind == "proportional" else float(_first(rope, config, "partial_rotary_factor") or 1.0)
    return Rotary(base, layout, fraction, extension, precision)


def _first(rope: Settings, config: Settings, key: str) -> Any:
    return rope[key] if rope.get(key) is not None else config.get(key)


def _needed(rope: Settings, key: str) -> Any:
    if rope.get(key) is None:
        raise ConfigError(explain(f"'{key}' in rope_parameters", f"{sorted(rope)}", "Add it; the method needs it."))
    return rope[key]


def _trained(rope: Settings, config: Settings) -> int:
    trained = _first(rope, config, "original_max_position_embeddings") or config.get("max_position_embeddings")
    if trained is None:
        raise ConfigError(explain("'max_position_embeddings'", f"{sorted(config)}", "Add the trained length."))
    return int(trained)


def _growth(rope: Settings, config: Settings) -> float:
    """The factor, or the longest length over the trained one."""
    return float(rope.get("factor") or int(config["max_position_embeddings"]) / _trained(rope, config))


def _attention_factor(rope: Settings) -> float | None:
    value = rope.get("attention_factor", rope.get("attn_factor"))
    return None if value is None else float(value)


def _dynamic(rope: Settings, config: Settings, length: int | None) -> Extension:
    trained = int(config.get("max_position_embeddings") or _trained(rope, config))
    return DynamicNTK(float(_needed(rope, "factor")), trained, length or trained)


def _yarn(rope: Settings, config: Settings, length: int | None) -> Extension:
    return YaRN(
        _growth(rope, config), _trained(rope, config),
        float(rope.get("beta_fast") or 32.0), float(rope.get("beta_slow") or 1.0), bool(rope.get("truncate", True)),
        _attention_factor(rope), rope.get("mscale"), rope.get("mscale_all_dim"),
    )  # fmt: skip


def _longrope(rope: Settings, config: Settings, length: int | None) -> Extension:
    trained = _trained(rope, config)
    short, long = (tuple(map(float, _needed(rope, key))) for key in ("short_factor", "long_factor"))
    growth = max(1.0, _growth(rope, config))
    return LongRoPE(short, long, trained, length or trained, growth, _attention_factor(rope))


def _llama3(rope: Settings, config: Settings, length: int | None) -> Extension:
    low, high = float(_needed(rope, "low_freq_factor")), float(_needed(rope, "high_freq_factor"))
    return Llama3(float(_needed(rope, "factor")), low, high, _trained(rope, config))


def _proportional(rope: Settings, config: Settings, length: int | None) -> Extension:
    part = _first(rope, config, "partial_rotary_factor")
    return Proportional(1.0 if part is None else float(part), float(rope.get("factor") or 1.0))


METHODS: Mapping[str, Callable[[Settings, Settings, int | None], Extension]] = {
    "default": lambda rope, config, length: Plain(),
    "mrope": lambda rope, config, length: Plain(),
    "linear": lambda rope, config, length: Interpolation(float(_needed(rope, "factor"))),
    "dynamic": _dynamic,
    "yarn": _yarn,
    "longrope": _longrope,
    "su": _longrope,
    "llama3": _llama3,
    "proportional": _proportional,
}

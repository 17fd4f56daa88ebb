"""What is known to go wrong with positions in a checkpoint like this, in the programs that run it.

A finding is a *warning* where the checkpoint itself shows that something is wrong or will be, and a *note* where it
depends on how it is run. Programs are named with the version in which it was seen. Nothing is run here: what is looked
at are the configuration, and the names, shapes and dtypes of the weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pushforward._errors import RunError, explain
from pushforward.interop.declared import Declared
from pushforward.positions import YaRN
from pushforward.positions.spectrum import theta_of

FAR = 100_000
"""From this length on float32 phases are off by more than 1e-3."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or may go wrong.

    Args:
        level: "warning" if the checkpoint itself shows it, "note" if it depends on the program.
        words: what, and what to do.
    """

    level: Literal["warning", "note"]
    words: str

    def __str__(self) -> str:
        return f"{self.level}: {self.words}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a tensor in a file without reading it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def stored(folder: Path) -> dict[str, Stored]:
    """The tensors of a folder's safetensors files, by name; none if there are no such files.

    Raises:
        RunError: a file is damaged.
    """
    found = dict[str, Stored]()
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    part = tensors.get_slice(name)
                    found[name] = Stored(file, tuple(part.get_shape()), str(part.get_dtype()))
        except (OSError, SafetensorError) as error:
            raise RunError(
                explain("a whole safetensors file", f"{str(file)!r}: {error}", "Download it again.")
            ) from error
    return found


def findings(found: Declared, tensors: Mapping[str, Stored]) -> list[Finding]:
    """All that is known about such a checkpoint, warnings first."""
    all_of_it = [each for look in _LOOKS for each in look(found, tensors)]
    return sorted(all_of_it, key=lambda each: each.level == "note")


def _scaling(found: Declared, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """How the frequencies are said to change."""
    settings = found.settings
    rope: dict[str, Any] = dict(settings.get("rope_scaling") or {}) | dict(settings.get("rope_parameters") or {})
    parts: list[Mapping[str, Any]] = [each for each in rope.values() if isinstance(each, Mapping)] or [rope]
    for part in parts:
        names = {part["type"], part["rope_type"]} if {"type", "rope_type"} <= set(part) else set()
        if len(names) > 1:
            yield Finding("warning", f"the scaling is called {' and '.join(map(repr, sorted(names)))} at once; the"
                          " latter is taken here (rope_type). Remove the other.")  # fmt: skip
        if "attn_factor" in part:
            yield Finding("warning", "YaRN's amplitude is given as attn_factor; programs that look for attention_factor"
                          " ignore it. Write attention_factor.")  # fmt: skip
        if len(parts) > 1 and "truncate" in part:
            yield Finding("warning", "truncate is given for one kind of layer; transformers (5.23) reads it one level"
                          " up and ignores this one: frequencies off by up to 11%. Run it with this library's"
                          " Rotary, or check its tables.")  # fmt: skip
    for kind, each in found.rotary.items():
        extension = getattr(each, "extension", None)
        if isinstance(extension, YaRN) and found.trained and extension.trained * extension.factor != found.trained:
            yield Finding("warning", f"{kind or 'YaRN'} stretches {extension.trained:,} tokens {extension.factor:g}"
                          f" times, to {extension.trained * extension.factor:,.0f}, but max_position_embeddings is"
                          f" {found.trained:,}: one of them is wrong, or the length was stretched twice.")  # fmt: skip


def _phases(found: Declared, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """What becomes of frequencies and phases in low precision."""
    if not found.rotary:
        return
    said = str(found.settings.get("torch_dtype") or found.settings.get("dtype") or "")
    low = "16" in said or any(each.dtype in ("BF16", "F16") for each in tensors.values())
    if found.model != "roformer":
        word = "The weights are in 16 bits. " if low else ""
        yield Finding("note", f"{word}Load with dtype=..., do not call .half() or .bfloat16() afterwards: programs that"
                      " keep frequencies in a buffer (transformers 5.23, x-transformers 2.31) round them with the"
                      " weights, and every score is wrong (row 'cast').")  # fmt: skip
    if found.trained and found.trained >= FAR:
        yield Finding("warning", f"at {found.trained:,} tokens phases in float32 are off (row 'float32'), in all"
                      " programs that make tables in float32. Exact: positions.Rotary.")  # fmt: skip
    if low:
        yield Finding("note", "Liger's kernel computes in the dtype of its tables: give it float32 tables.")


def _buffers(found: Declared, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """Frequencies that were saved with the weights."""
    for name, each in tensors.items():
        if not name.endswith("inv_freq") or not found.rotary:
            continue
        if each.dtype != "F32":
            yield Finding("warning", f"{name!r} was saved in {each.dtype}: it was rounded. Remove it from the file; it"
                          " follows from the configuration.")  # fmt: skip
        values = _read(each, name).double()
        ours = [theta_of(part.spectrum(found.features).rows, "exact") for part in found.rotary.values()]
        off = min(_off(values, theta) for theta in ours)
        if off > 1e-5:
            yield Finding("warning", f"{name!r} in the file is off from the configuration's frequencies by {off:.1%}."
                          " Which of them is used depends on the program; remove it, or correct the"
                          " configuration.")  # fmt: skip
        return


def _programs(found: Declared, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """What the names of the weights say about the program that wrote them."""
    names = tuple(tensors)
    if any(name.endswith(("rotary_emb.freqs", "rotary_embed.freqs", "rotary.freqs")) for name in names):
        yield Finding("note", "written with rotary-embedding-torch, which (0.9.1) counts positions in the dtype of the"
                      " queries: in bfloat16, 257 is 256. Pass float32, or use positions.Rotary.")  # fmt: skip
        if any(name.endswith("rotary_emb.scale") for name in names):
            yield Finding("warning", "it is xPos of rotary-embedding-torch, whose cached decoding (0.9.1) gives queries"
                          " and keys different origins: scores are off as much as they are large.")  # fmt: skip
    if any("cope" in name.lower() and name.endswith("pos_emb") for name in names):
        yield Finding("note", "CoPE of x-transformers (2.31) fails with soft_onehot=True; positions.CoPE has no such"
                      " switch.")  # fmt: skip


def _kinds(found: Declared, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """What is known about kinds of models."""
    length = f"{found.trained:,}" if found.trained else "max_position_embeddings"
    if found.model == "roformer":
        yield Finding("note", f"transformers (5.23) takes position_ids without a word and ignores them, fails beyond"
                      f" {length} tokens, and has no fused attention. interop.load_roformer has none of these"
                      " faults.")  # fmt: skip
    if found.words.startswith("ALiBi"):
        yield Finding("note", "transformers (5.23) makes Bloom's bias in the dtype of the model from absolute"
                      " positions: in bfloat16 the last 64 of 8,192 keys share 3 biases. Run it in float32, or with"
                      " positions.ALiBi.")  # fmt: skip
    if found.words.startswith("xPos"):
        yield Finding("note", "flash-attention and flash-linear-attention centre xPos on the length of the table: keys"
                      " cached before it grew have another origin. Give positions.XPos an origin.")  # fmt: skip
    if found.words.startswith("T5"):
        yield Finding("note", "FlexAttention (torch 2.13) has no gradient on processors; toeplitz_attention trains this"
                      " bias in memory that grows with the length alone.")  # fmt: skip
    if found.words.startswith("a trained vector"):
        yield Finding("note", f"there is nothing beyond {length} tokens. positions.Learned(hierarchy=0.4) reaches the"
                      " square of that from the same table, after some training.")  # fmt: skip


_LOOKS = (_scaling, _phases, _buffers, _programs, _kinds)


def _read(where: Stored, name: str) -> Tensor:
    with safe_open(where.file, "pt") as tensors:
        return tensors.get_tensor(name)


def _off(values: Tensor, theta: Tensor) -> float:
    """The largest relative difference; infinite where there are others than these many."""
    if values.shape != theta.shape:
        return float("inf")
    return float(((values - theta).abs() / theta.clamp(min=1e-30)).max())

"""The files of a run: tensors and JSON under a seal, never pickled.

    tensors   safetensors         (no code, but no checksum: one flipped byte in four loads silently)
    the rest  JSON and TOML
    seal      manifest.json: size and SHA-256 of each file, and of the manifest itself

    .safetensors:  8 bytes, the head's length;  the head, JSON {name: dtype, shape, offsets};  the numbers

The format is written here, by a generator of pieces: they go to the disk and into the digest in one pass, from where
the tensors lie, while other threads compute. It is read by the `safetensors` library, which checks it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pushforward._durable import Facts, put, replacing, write_text
from pushforward._errors import RunError, explain
from pushforward._recipe import FORMAT_VERSION

MANIFEST = "manifest.json"

_LARGEST = 2**26
"""Bytes of a JSON file that is still read."""

_DTYPES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.complex64: "C64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint64: "U64",
    torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def pieces(tensors: Mapping[str, Tensor], note: Mapping[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file; wide numbers come first, so that all are aligned.

    Raises:
        RunError: a tensor of a type that the format does not have.
    """
    rows = sorted(tensors.items(), key=lambda row: (-row[1].dtype.itemsize, row[0]))
    head: dict[str, Any] = {"__metadata__": dict(note)} if note else {}
    end = 0
    for name, tensor in rows:
        if tensor.dtype not in _DTYPES:
            fix = "Convert it to another type."
            raise RunError(explain("numbers that safetensors has", f"{tensor.dtype} in {name!r}", fix))
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        head[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in rows:
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def write_json(path: Path, value: Mapping[str, Any]) -> Facts:
    """Write a JSON file whole or not at all. Floats keep every bit."""
    return write_text(path, as_json(value), alone=True)


def as_json(value: Mapping[str, Any]) -> str:
    """The text of a JSON file."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, str] | None = None) -> Facts:
    """Write a safetensors file whole or not at all; a note goes into its head."""
    with replacing(path, alone=True) as beside:
        return put(beside, pieces(tensors, note))


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        RunError: it is missing or not whole.
    """
    try:
        if not path.is_file():
            raise OSError("it is no file")
        return load_file(path, device=device)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RunError(explain("a safetensors file", f"{str(path)!r}: {error}", _DAMAGED)) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        RunError: it is missing or not a JSON object.
    """
    try:
        if not path.is_file():
            raise OSError("it is no file")
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        value = json.loads(path.read_bytes().decode(), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(explain("a JSON file", f"{str(path)!r}: {error}", _DAMAGED)) from error
    if not isinstance(value, dict):
        raise RunError(explain("a JSON object", f"{str(path)!r}, which is none", _DAMAGED))
    return value


def manifest(files: Mapping[str, Facts]) -> str:
    """The text of a manifest: sizes and SHA-256 of these files, and of the manifest's own words."""
    facts = {name: {"size": each.size, "sha256": each.sha256} for name, each in files.items()}
    body = {"format_version": FORMAT_VERSION, "files": facts}
    return as_json(body | {"sha256": _own_digest(body)})


def seal(folder: Path, files: Mapping[str, Facts]) -> None:
    """Write a folder's manifest: from now on it is whole."""
    write_text(folder / MANIFEST, manifest(files), alone=True)


def unseal(folder: Path) -> None:
    """Say that the files of a folder are being written: until `seal` it does not verify, whatever happens."""
    write_text(folder / MANIFEST, as_json({"format_version": FORMAT_VERSION, "unfinished": True}), alone=True)


def verify(folder: Path, names: Iterable[str] = ()) -> None:
    """Check every file that a folder's manifest names.

    Args:
        folder: where the manifest is.
        names: files that it must name.

    Raises:
        RunError: the manifest or a file is missing, of another version, or not what was written.
    """
    found = read_json(folder / MANIFEST)
    own = found.pop("sha256", None)
    require_version(found.get("format_version"), folder)
    if found.get("unfinished"):
        fix = "Whoever wrote it was interrupted: write it again."
        raise RunError(explain("a whole folder", f"{str(folder)!r}, which is half written", fix))
    if own != _own_digest(found):
        raise RunError(explain("the manifest that was written", f"{str(folder / MANIFEST)!r}, changed", _DAMAGED))
    files = _files(found, folder)
    for name in sorted({*names} | files.keys()):
        path = folder / name
        if name not in files or not path.is_file():
            raise RunError(explain("a whole folder", f"{str(folder)!r} without {name!r}", _DAMAGED))
        if path.stat().st_size != files[name].size or _digest(path) != files[name].sha256:
            raise RunError(explain("the file that was written", f"{str(path)!r}, damaged", _DAMAGED))


def require_version(version: object, folder: Path) -> None:
    """Refuse a folder of another format.

    Raises:
        RunError: with both versions.
    """
    if version != FORMAT_VERSION:
        fix = "Read it with the release that wrote it."
        raise RunError(explain(f"run format {FORMAT_VERSION}", f"{version!r} in {str(folder)!r}", fix))


_DAMAGED = "Restore the folder from a copy, or train again."


def _files(found: Mapping[str, Any], folder: Path) -> dict[str, Facts]:
    """What a manifest says of its files; a stranger may have written it, so they are files of this folder."""
    try:
        files = {str(name): Facts(int(each["size"]), str(each["sha256"])) for name, each in found["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(explain("a manifest", f"{str(folder / MANIFEST)!r}, which is none", _DAMAGED)) from error
    for name in files:
        if name != Path(name).name or "\0" in name or "\\" in name:
            fix = "Do not trust whoever made it."
            raise RunError(explain("names of files in the folder", f"{name!r} in {str(folder / MANIFEST)!r}", fix))
    return files


def _no_number(word: str) -> float:
    raise ValueError(f"{word}, which JSON does not have")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

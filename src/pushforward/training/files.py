"""Files that survive: written whole or not at all, sealed by checksums, never pickled.

    tensors   safetensors         (no code, but no checksum: one flipped byte in four loads silently)
    the rest  JSON and TOML
    seal      manifest.json: size and SHA-256 of each file, and of the manifest itself

A rename is atomic and a sync makes it last, so a file is written beside its place, synced and renamed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pushforward._errors import RunError, explain
from pushforward._recipe import FORMAT_VERSION

MANIFEST = "manifest.json"


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    sync(beside)
    os.replace(beside, path)
    sync(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all. Floats keep every bit."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all, with the permissions of other files; a note goes into its head."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, note)
    except SafetensorError as error:  # how a full disk shows itself
        raise OSError(str(error)) from error
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(beside, 0o666 & ~mask)
    sync(beside)
    os.replace(beside, path)
    sync(path.parent)


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        RunError: it is missing or not whole.
    """
    try:
        return load_file(path, device=device)
    except (OSError, SafetensorError) as error:
        raise RunError(explain("a safetensors file", f"{str(path)!r}: {error}", _DAMAGED)) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        RunError: it is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(explain("a JSON file", f"{str(path)!r}: {error}", _DAMAGED)) from error
    if not isinstance(value, dict):
        raise RunError(explain("a JSON object", f"{str(path)!r}, which is none", _DAMAGED))
    return value


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write a folder's manifest: sizes and SHA-256 of these files, and of the manifest's own words."""
    files = {name: {"size": (folder / name).stat().st_size, "sha256": _digest(folder / name)} for name in names}
    body = {"format_version": FORMAT_VERSION, "files": files}
    write_json(folder / MANIFEST, body | {"sha256": _own_digest(body)})


def verify(folder: Path) -> None:
    """Check every file that a folder's manifest names.

    Raises:
        RunError: the manifest or a file is missing, of another version, or not what was written.
    """
    manifest = read_json(folder / MANIFEST)
    own = manifest.pop("sha256", None)
    require_version(manifest.get("format_version"), folder)
    if own != _own_digest(manifest):
        raise RunError(explain("the manifest that was written", f"{str(folder / MANIFEST)!r}, changed", _DAMAGED))
    for name, facts in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise RunError(explain("a whole folder", f"{str(folder)!r} without {name!r}", _DAMAGED))
        if path.stat().st_size != facts["size"] or _digest(path) != facts["sha256"]:
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

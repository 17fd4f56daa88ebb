"""Weights out of a pickle (.pt, .pth, .bin, .ckpt): for those who say so, in a process that can be lost.

A pickle is a program. torch's restricted reader runs a small part of it, and has had holes (CVE-2025-32434,
CVE-2026-24747), so it is run in a child process with a bound on memory and time, which hands back the tensors and
nothing else. Everywhere else in this library nothing is unpickled.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from torch import Tensor

from pushforward._errors import RunError, explain
from pushforward.training.files import read_tensors

_SECONDS: Final = 300

_CHILD: Final = """
import sys
try:
    import resource
    room = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
import torch
from safetensors.torch import save_file
found = torch.load(sys.argv[1], map_location="cpu", weights_only=True, mmap=False)
named = {}
def walk(value, name):
    if isinstance(value, torch.Tensor):
        named[name or "tensor"] = value.detach().clone().contiguous()
    elif isinstance(value, dict):
        for key, each in value.items():
            walk(each, f"{name}.{key}" if name else str(key))
walk(found, "")
save_file(named, sys.argv[2])
"""


def from_pickle(path: str | os.PathLike[str], *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors in a pickled file of weights, by name; those in dictionaries within as "outer.inner".

    Save them with `safetensors.torch.save_file`, or hand them to a model by `load_state_dict`, and forget the pickle.

    Args:
        path: the file.
        allow_pickle: you trust whoever made it.

    Raises:
        RunError: without `allow_pickle`; the file cannot be read, or holds more than tensors in dictionaries.
    """
    file = Path(path)
    if not allow_pickle:
        fix = "Ask for .safetensors, or pass allow_pickle=True if you trust whoever made it."
        raise RunError(explain("weights without code", f"{str(file)!r}, a pickle, which can hold any program", fix))
    if not file.is_file():
        raise RunError(explain("a file of weights", f"{str(file)!r}, which is none", "Check the path."))
    with tempfile.TemporaryDirectory() as folder:
        out, room = Path(folder) / "found.safetensors", 4 * file.stat().st_size + 2**34
        command = [sys.executable, "-I", "-c", _CHILD, str(file.resolve()), str(out), str(room)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder, check=False)
        except subprocess.TimeoutExpired as error:
            raise _refused(file, f"no answer in {_SECONDS} s") from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise _refused(file, next((line for line in lines if "Error" in line), f"status {done.returncode}"))
        return read_tensors(out)


def _refused(file: Path, why: str) -> RunError:
    fix = "Have whoever made it save it as .safetensors."
    return RunError(explain("a pickle of tensors alone", f"{str(file)!r}: {why[:300]}", fix))

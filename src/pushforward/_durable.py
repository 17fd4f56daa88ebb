"""Files that last: whole or not at all, and not lost once written.

    a file     written beside its place  ->  synced  ->  renamed  ->  its folder synced
    a folder   the same, with all that is in it

A rename is atomic, so a crash leaves what was there or what was meant; a sync outlives a power cut, so names are synced
as well as contents. Whatever this library writes for good is written here, in calls of `os` that a test can fail one by
one (`tests/faults`). A full disk is an `OSError`; what was there stays, and nothing is left beside it.
"""

import contextlib
import hashlib
import os
import uuid
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PIECE, _BEHIND = 1 << 20, 1 << 28
"""Bytes that are written at a time, and that may wait to be hashed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was written into a file.

    Args:
        size: bytes.
        sha256: their digest, in hexadecimal.
    """

    size: int
    sha256: str


def put(path: Path, parts: Iterable[bytes | memoryview]) -> Facts:
    """Write a file and sync it. A crash leaves part of it, so its place is beside another or in a new folder.

    A thread hashes while this one writes and waits for the disk, so the file is not read again; it may be behind by a
    few parts, since to wait for it at each would cost more than it does on a machine that is busy.
    """
    size, digest = 0, hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with ThreadPoolExecutor(1) as pool:
            behind, waiting = 0, deque[tuple[int, Future[None]]]()
            for part in parts:
                view = memoryview(part)
                behind += len(view)
                waiting.append((len(view), pool.submit(digest.update, view)))
                while behind > _BEHIND:
                    length, hashed = waiting.popleft()
                    hashed.result()
                    behind -= length
                while view:
                    count = os.write(descriptor, view[:_PIECE])
                    size, view = size + count, view[count:]
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Facts(size, digest.hexdigest())


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # no such thing there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make(folder: Path) -> None:
    """A folder that is there, with its parents, and will be."""
    if folder.is_dir():
        return
    make(folder.parent)
    with contextlib.suppress(FileExistsError):  # somebody was quicker
        os.mkdir(folder)
    sync(folder.parent)


@contextmanager
def replacing(path: Path, alone: bool = False) -> Generator[Path]:
    """Where to write what then becomes the file at `path`; missing folders are made.

    Args:
        path: the file's place.
        alone: nobody else writes there (this process holds a lock), so what a dead writer left is overwritten.
    """
    make(path.parent)
    mark = "" if alone else f".{uuid.uuid4().hex}"
    beside = path.with_name(f".{path.stem}{mark}.part{path.suffix}")
    with _undone(beside):
        yield beside
        sync(beside)
        os.replace(beside, path)
    sync(path.parent)


@contextmanager
def replacing_folder(place: Path) -> Generator[Path]:
    """Where to write the files of what then becomes the folder at `place`, instead of what was there.

    Its files are to be written by `put`. Of two writers at a time one fails.
    """
    make(place.parent)
    beside = place.with_name(f".{place.name}.tmp")
    remove(beside)
    with _undone(beside):
        os.mkdir(beside)
        yield beside
        sync(beside)
        remove(place)
        os.rename(beside, place)
    sync(place.parent)


def write_text(path: Path, text: str, alone: bool = False) -> Facts:
    """Write a text file whole or not at all, in UTF-8."""
    with replacing(path, alone) as beside:
        return put(beside, [text.encode()])


def write_first(path: Path, text: str) -> None:
    """Write a text file unless it is there: of several that do so at once, on any machine, one is the first."""
    make(path.parent)
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part{path.suffix}")
    with _undone(beside):
        put(beside, [text.encode()])
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            os.replace(beside, path)
    remove(beside)
    sync(path.parent)


def remove(path: Path) -> None:
    """Take away a file, or a folder with all that is in it; nothing to do where there is none."""
    if path.is_dir() and not path.is_symlink():
        for each in sorted(path.iterdir()):
            remove(each)
        os.rmdir(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@contextmanager
def _undone(beside: Path) -> Generator[None]:
    """Leave nothing beside if it goes wrong."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            remove(beside)
        raise

"""A disk that remembers what was asked of it, so that a test can cut the power after any call.

    names      a folder's entries; a crash keeps them all, a power cut those that were synced and any number of the next
    contents   a file's bytes; a crash keeps them all, a power cut those that were synced and any part of the rest

`Disk` records the calls of `os` that `pushforward._durable` makes below a folder. After each of them, `left(...)` lays
out what a crash or a power cut would have left. `full` makes the calls fail instead, as a full disk does.
"""

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

WRITING = ("open", "write", "fsync", "rename", "replace", "mkdir")


@dataclass
class File:
    """Bytes as written and as synced."""

    now: bytes = b""
    kept: bytes = b""


@dataclass
class Folder:
    """Entries as they are, and all they were since they were synced, the synced ones first."""

    now: "dict[str, File | Folder]" = field(default_factory=dict)
    since: "list[dict[str, File | Folder]]" = field(default_factory=lambda: [{}])

    def change(self) -> None:
        self.since.append(dict(self.now))


def scanned(path: Path) -> "File | Folder":
    """What lies on the real disk, all of it synced."""
    if path.is_dir():
        now = {each.name: scanned(each) for each in path.iterdir()}
        return Folder(now, [dict(now)])
    return File(path.read_bytes(), path.read_bytes())


def lay_out(node: "File | Folder", path: Path, power: random.Random | None, worst: bool = False) -> None:
    """Write a node to the real disk: as a crash leaves it, or as a power cut does."""
    if isinstance(node, File):
        extra = 0 if worst or power is None else power.randint(0, len(node.now))
        path.write_bytes(node.now if power is None else (node.now[:extra] if node.kept != node.now else node.kept))
        return
    path.mkdir()
    entries = node.now if power is None else (node.since[0] if worst else power.choice(node.since))
    for name, child in entries.items():
        lay_out(child, path / name, power, worst)


class Disk:
    """Records what happens below `root` while it is `watched`."""

    def __init__(self, root: Path) -> None:
        self.root, self.tree, self.calls = root, scanned(root), 0
        self._open: dict[int, tuple[Path, File | Folder]] = {}
        self._at, self._stays, self._after = 0, False, None

    @contextmanager
    def watched(self, at: int = 0, stays: bool = False, after=None) -> Iterator[None]:
        """Within, calls are recorded; the `at`-th fails (and all later ones that need room, if it `stays` full)."""
        self._at, self._stays, self._after = at, stays, after
        with pytest.MonkeyPatch.context() as patch:
            for name in (*WRITING, "close", "unlink", "rmdir"):
                patch.setattr(os, name, self._call(name, getattr(os, name)))
            yield

    def left(self, place: Path, power: random.Random | None = None, worst: bool = False) -> Path:
        """What is left in `place` by a crash, or by a power cut of this chance; at `worst` only what was synced."""
        lay_out(self.tree, place, power, worst)
        return place

    def _call(self, name: str, act):
        def call(first, *args, **options):
            mine = first in self._open if name in ("write", "fsync", "close") else self._inside(first)
            if name == "close" or not mine:
                self._open.pop(first, None) if name == "close" else None
                return act(first, *args, **options)
            writes = name in WRITING and not (name == "open" and not args[0] & os.O_CREAT)
            if writes or name in ("unlink", "rmdir"):
                self.calls += 1
            if self._at and writes and (self.calls == self._at or (self._stays and self.calls > self._at)):
                if name == "write":
                    self._record(name, act, first, memoryview(args[0])[: len(args[0]) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            result = self._record(name, act, first, *args, **options)
            if self._after is not None and (writes or name in ("unlink", "rmdir")):
                self._after()
            return result

        return call

    def _inside(self, path) -> bool:
        return not isinstance(path, int) and self.root in (Path(path), *Path(path).parents)

    def _find(self, path: Path) -> "File | Folder":
        node = self.tree
        for part in Path(path).relative_to(self.root).parts:
            node = node.now[part]
        return node

    def _found(self, path: Path) -> "File | Folder":
        """A node that was opened, which another library may have made."""
        if path == self.root:
            return self.tree
        parent = self._find(path.parent)
        if path.name not in parent.now:
            parent.now[path.name] = Folder() if path.is_dir() else File()
            parent.change()
        return parent.now[path.name]

    def _record(self, name: str, act, first, *args, **options):
        if name == "fsync":
            path, node = self._open[first]
            if isinstance(node, File):
                node.now = node.kept = path.read_bytes()
            else:
                node.since = [dict(node.now)]
            return None
        if name == "open":
            path, result = Path(first), act(first, *args, **options)
            node = self._found(path)
            if args[0] & os.O_TRUNC:
                node.now = b""
            self._open[result] = (path, node)
            return result
        if name == "write":
            result = act(first, *args, **options)
            path, node = self._open[first]
            node.now += bytes(args[0][:result])
            return result
        result = act(first, *args, **options)
        path = Path(first)
        parent = self._find(path.parent)
        if name in ("rename", "replace"):
            self._find(path.parent).now[Path(args[0]).name] = parent.now.pop(path.name)
        elif name == "mkdir":
            parent.now[path.name] = Folder()
        else:
            parent.now.pop(path.name, None)
        parent.change()
        return result

"""The lock of a run folder: one process at a time writes to it, any number may read.

The system takes it back when its process ends in whatever way, so none is ever left behind.
"""

import os
import platform
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pushforward._errors import RunError, explain

LOCK = "lock"
_TRIES = 5


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Within, this process alone writes to a run folder.

    Raises:
        RunError: another process has it.
    """
    with (path / LOCK).open("a+", encoding="utf-8") as file:
        _lock(file, path)
        try:
            yield
        finally:
            _unlock(file)


def held(path: Path) -> str:
    """Who is writing to a run folder, in words; '' if nobody is, or the system does not say."""
    try:
        import fcntl

        with (path / LOCK).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return " ".join(file.read(200).split()) or "another process"
    except (ImportError, OSError):
        pass
    return ""


def _lock(file: IO[str], path: Path) -> None:
    """Take the lock, and write down who has it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: trust the user
        return
    try:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(0.05)  # `held` may be looking
    except BlockingIOError as error:
        file.seek(0)
        got = f"{str(path)!r}, in use by {' '.join(file.read(200).split()) or 'another run'}"
        fix = "Wait for it, or choose another folder."
        raise RunError(explain("a folder of one's own", got, fix)) from error
    except OSError as error:  # a file system without locks
        warnings.warn(f"{str(path)!r} cannot be locked ({error}). See that one run alone writes to it.", stacklevel=6)
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}\n")
    file.flush()


def _unlock(file: IO[str]) -> None:
    """Give the lock back: closing the file does not, where a data worker that was forked off still has it open."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)

"""Being told to stop: finish the step, write a checkpoint, say so.

A first SIGINT, SIGTERM or SIGUSR1 is only noted; the loop sees the note at the next step's edge. A second one
does what it would have done without us.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interrupted(Exception):  # noqa: N818
    """A run that was told to stop and can go on: its checkpoint is written. The command line exits with 75.

    Args:
        step: how many updates have been made, or files.
        run: the run's folder.
        what: what was made, in words.
    """

    def __init__(self, step: int, run: Path, what: str = "") -> None:
        made = f"step {step}; the checkpoint is" if not what else f"{what}; they are"
        super().__init__(f"Stopped after {made} in {str(run)!r}. Run it again to go on.")
        self.step = step
        self.run = run


class StopNote:
    """Whether somebody asked to stop."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def noted(listen: bool) -> Generator[StopNote]:
    """A note that the first signal sets. Only the main thread can listen; elsewhere the note stays blank."""
    note = StopNote()
    if not listen or threading.current_thread() is not threading.main_thread():
        yield note
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def take(number: int, frame: FrameType | None) -> None:
        note.asked = True
        restore()

    for number in _SIGNALS:
        signal.signal(number, take)
    try:
        yield note
    finally:
        restore()

"""Checkpoints written while training goes on.

    copy to the CPU, a matter of memory  ->  a thread hashes, writes and syncs, a matter of the disk

One is under way at a time. What goes wrong with it is heard at the next step's edge. The copy shares nothing with the
model, so the file is that of its step; a process that dies meanwhile leaves the checkpoints before, as always.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from pushforward.training.checkpoint import Checkpoint


def snapshot(checkpoint: Checkpoint) -> Checkpoint:
    """A copy on the CPU that further steps do not change."""

    def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}

    return replace(
        checkpoint,
        model=copied(checkpoint.model),
        ema=copied(checkpoint.ema),
        optim=copied(checkpoint.optim),
        profiles=copied(checkpoint.profiles),
    )


class Saving:
    """What is being written, if anything is."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def begin(self, write: Callable[[], object]) -> None:
        """Write in a thread, once the one before is done."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def failed(self) -> bool:
        """Whether `trouble` has something to say."""
        return self._error is not None

    def trouble(self) -> OSError | None:
        """What went wrong since this was asked last."""
        error, self._error = self._error, None
        return error

    def _run(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            self._error = error.with_traceback(None)  # whose frames hold tensors

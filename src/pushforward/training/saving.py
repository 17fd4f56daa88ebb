"""Checkpoints written while training goes on.

    copy to the CPU, a matter of memory  ->  a thread hashes, writes and syncs, a matter of the disk

One is under way at a time. What goes wrong with it is heard at the next step's edge. The copy shares nothing with the
model, so the file is that of its step; a process that dies meanwhile leaves the checkpoints before, as always.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from pushforward.training.checkpoint import Checkpoint


def snapshot(checkpoint: Checkpoint, into: Checkpoint | None = None) -> Checkpoint:
    """A copy on the CPU that further steps do not change.

    Args:
        checkpoint: what to copy.
        into: an earlier copy that nobody needs any more; its tensors are taken, where they fit. A page of fresh memory
            costs more than copying into one that is there.
    """

    def copied(what: Callable[[Checkpoint], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        there = {} if into is None else what(into)
        return {name: _copied(tensor.detach(), there.get(name)) for name, tensor in what(checkpoint).items()}

    return replace(
        checkpoint,
        model=copied(lambda each: each.model),
        ema=copied(lambda each: each.ema),
        optim=copied(lambda each: each.optim),
        profiles=copied(lambda each: each.profiles),
    )


def _copied(tensor: Tensor, into: Tensor | None) -> Tensor:
    if into is None or into.shape != tensor.shape or into.dtype != tensor.dtype:
        return tensor.to("cpu", copy=True)
    return into.copy_(tensor)


class Saving:
    """What is being written, if anything is."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self._copy: Checkpoint | None = None  # whose memory the next copy takes

    def begin(self, checkpoint: Checkpoint, write: Callable[[Checkpoint], object]) -> None:
        """Copy a checkpoint, once the one before is written, and write the copy in a thread."""
        self.wait()
        self._copy = copy = snapshot(checkpoint, self._copy)
        self._thread = threading.Thread(target=self._run, args=(partial(write, copy),), name="checkpoint", daemon=True)
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

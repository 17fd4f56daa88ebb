"""Batches that go on where they broke.

Data may come from processes, from a network or from a disk that sulks. A stream is a function of (draw, step), so
one that breaks at a step is opened again at that step, and nobody can tell afterwards. What breaks three times running
at one step is broken.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Protocol

from pushforward._errors import DataError, PushforwardError, explain, out_of_memory
from pushforward._random import Draw
from pushforward.data.batch import Batch

TRIES = 3
"""How often one step's batch is asked for."""


class Data(Protocol):
    """Where batches come from: `data.Dataset`, or anything with its shape and its streams."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        ...

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Batches without end from step `start`: this rank's slice of the global batch of `size`."""
        ...


def worker_died(error: Exception) -> DataError | None:
    """What to say of an error by which torch tells that a DataLoader's process died; None of any other.

    It tells so wherever the program is at that moment. Outside of the data nobody knows what of an update was made, so
    the weights in memory are not to be gone on with; those of the checkpoint are.
    """
    said = " ".join(str(error).split())
    if not said.startswith("DataLoader worker"):
        return None
    fix = "Run it again: with a run folder it goes on from its checkpoint, to the same bits."
    return DataError(explain("data workers that live", f"{said} It happened during an update", fix))


def steady(open_at: Callable[[int], Iterator[Batch]], start: int) -> Iterator[Batch]:
    """The batches of `open_at(start)`, opened again where they break off as processes and files do.

    Raises:
        DataError: they end, or break three times at one step.
    """
    step, tries, stream = start, 0, open_at(start)
    while True:
        try:
            batch = next(stream, None)
        except PushforwardError:
            raise
        except (RuntimeError, OSError, EOFError, MemoryError) as error:
            tries += 1
            said = " ".join(f"{type(error).__name__}: {error}".split())
            if tries == TRIES or out_of_memory(error):
                fix = "Look at the samples of that step; --pdb stops where it breaks."
                raise DataError(explain(f"the batch of step {step}", f"{said} ({tries} times)", fix)) from error
            warnings.warn(f"The data broke at step {step} and are opened again there. {said}", stacklevel=2)
            stream = open_at(step)
            continue
        if batch is None:
            raise DataError(explain("batches without end", f"the end at step {step}", "Start over in `batches`."))
        yield batch
        step, tries = step + 1, 0

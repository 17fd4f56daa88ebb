"""Many samples, as many at a time as memory allows.

    samples first .. first + n - 1   =   chunk by chunk, each half as long as the one that did not fit

A sample is a function of the seed and of its index, so how they are split cannot be seen in them.
"""

import warnings
from collections.abc import Callable, Iterator

import torch

from pushforward._errors import out_of_memory
from pushforward._typing import Sample


def in_chunks(draw: Callable[[int, int], Sample], n: int, chunk: int, first: int = 0) -> Iterator[Sample]:
    """The samples `first` .. `first + n - 1`, in order, chunk by chunk; a chunk that memory has no room for is halved.

    Args:
        draw: `count` samples from sample `start` on, from (count, start).
        n: how many.
        chunk: how many at a time, at most.
        first: index of the first.

    >>> [part.tolist() for part in in_chunks(lambda count, start: torch.arange(start, start + count), 5, 2, first=3)]
    [[3, 4], [5, 6], [7]]
    """
    done = 0
    while done < n:
        count = min(chunk, n - done)
        try:
            part = draw(count, first + done)
        except (RuntimeError, MemoryError) as error:
            if count == 1 or not out_of_memory(error):
                raise
            chunk = (count + 1) // 2
        else:
            yield part
            done += count
            continue
        _let_go()
        warnings.warn(f"Memory has no room for {count:,} samples at a time: going on with {chunk:,}.", stacklevel=2)


def _let_go() -> None:
    """Give the memory of what failed back to the device, once its frames are gone."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

"""Places of an event, and what is there: indices, which in graphs of `torch.compile` are slices where they can be.

A compiler knows nothing of the numbers in a buffer, so it makes loops over single numbers of them, gradients in
particular. Evenly spaced places, as those of halves, channels and every other number, are slices: loops over rows.
"""

import torch
from torch import Tensor


def slice_of(places: Tensor, n: int) -> slice | None:
    """The slice that these places of n are, if they are evenly spaced, upwards.

    >>> slice_of(torch.tensor([1, 3, 5]), 6), slice_of(torch.tensor([0, 1, 3]), 6)
    (slice(1, 6, 2), None)
    """
    found = places.tolist()
    step = found[1] - found[0] if len(found) > 1 else 1
    evenly = step > 0 and found == [*range(found[0], found[-1] + 1, step)]
    return slice(found[0], found[-1] + 1, step) if evenly and found[0] >= 0 and found[-1] < n else None


def taken(x: Tensor, places: Tensor, run: slice | None) -> Tensor:
    """What is there [batch, places] of x [batch, n]: new memory, in one piece."""
    return x.index_select(1, places) if run is None else x[:, run].clone(memory_format=torch.contiguous_format)


def put(x: Tensor, new: Tensor, places: Tensor, run: slice | None) -> Tensor:
    """x with other numbers there."""
    return x.index_copy(1, places, new) if run is None else x.slice_scatter(new, 1, run.start, run.stop, run.step)

"""How many of the numbers that reach a spline lie beyond its knots.

The transform is run once with each of its splines replaced by one that looks at what it is given: of a coupling these
are the numbers that change, and of a `Composed` what the first map makes of them.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from pushforward._typing import Context, Sample
from pushforward.transforms import Composed, Inverse, Monotone, Spline, Transform
from pushforward.transforms.monotone import Pair


def beyond_knots(transform: Transform, x: Sample, context: Context) -> tuple[float, Spline | None]:
    """The largest share among the transform's splines, and that spline; (0, None) where it has none that ends.

    Args:
        transform: one that holds no other, or the inverse of one.
        x: what reaches it.
        context: its context.
    """
    inner = transform.transform if isinstance(transform, Inverse) else transform
    watched = {id(spline): _Watched(spline) for spline in _splines(getattr(inner, "monotone", None))}
    if not watched:
        return 0.0, None
    if inner is not transform:  # knots are corners of a square: its sides are alike, and encoding is one call
        x = transform.encode(x, context)[0]
    shared = {id(tensor): tensor for tensor in (*inner.parameters(), *inner.buffers())}
    copy.deepcopy(inner, {**shared, **watched}).encode(x, context)
    return max(((max(each.shares), each.spline) for each in watched.values()), key=lambda found: found[0])


@dataclass(frozen=True)
class _Watched(Monotone):
    """A spline, and the shares of the numbers it was given that lie beyond its knots."""

    spline: Spline
    shares: list[float] = field(default_factory=list[float])

    @property
    def size(self) -> int:
        return self.spline.size

    def encode(self, x: Tensor, params: Tensor) -> Pair:
        beyond = (x < self.spline.low) | (x > self.spline.high)
        self.shares.append(beyond.double().mean().item())
        return self.spline.encode(x, params)

    def decode(self, z: Tensor, params: Tensor) -> Pair:
        return self.spline.decode(z, params)


def _splines(monotone: object) -> Iterator[Spline]:
    match monotone:
        case Composed():
            yield from _splines(monotone.first)
            yield from _splines(monotone.second)
        case Spline() if monotone.tails != "circular":
            yield monotone
        case _:
            pass

"""Where a solver stops on its way: decreasing (or increasing) times, as plain numbers.

    Uniform   t_i = start + (end - start) i / steps
    Power     t_i = start + (end - start) (1 - (1 - i / steps)**rho)       dense near `end` for rho > 1

On the path `EDM`, `Uniform` is Karras's grid, because that path's clock already runs with the rho-th root.
"""

import abc
from dataclasses import dataclass


class Grid(abc.ABC):
    """A rule for the times; a frozen dataclass."""

    @abc.abstractmethod
    def times(self, steps: int, start: float, end: float) -> tuple[float, ...]:
        """`steps` + 1 times from `start` to `end`, both included exactly."""


@dataclass(frozen=True, slots=True)
class Uniform(Grid):
    """Equal intervals.

    >>> Uniform().times(4, 1.0, 0.0)
    (1.0, 0.75, 0.5, 0.25, 0.0)
    """

    def times(self, steps: int, start: float, end: float) -> tuple[float, ...]:
        return (*(start + (end - start) * i / steps for i in range(steps)), end)


@dataclass(frozen=True, slots=True)
class Power(Grid):
    """Intervals that shrink towards the end.

    >>> Power(rho=2.0).times(2, 1.0, 0.0)
    (1.0, 0.25, 0.0)
    """

    rho: float = 2.0

    def times(self, steps: int, start: float, end: float) -> tuple[float, ...]:
        done = (1 - (1 - i / steps) ** self.rho for i in range(steps))
        return (*(start + (end - start) * fraction for fraction in done), end)

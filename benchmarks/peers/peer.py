"""A row of the table: a solver of another library, and how its network calls are counted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from peers.problem import Denoiser


@dataclass(frozen=True)
class Peer:
    """A solver under its library's name for it.

    Args:
        library, name: whose, and which settings.
        run: (denoiser, eps [batch, dimensions], steps) -> endpoints [batch, dimensions].
    """

    library: str
    name: str
    run: Callable[[Denoiser, Tensor, int], Tensor] = field(repr=False)


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, y: Tensor, s: float) -> Tensor:
        self.calls += 1
        return self.denoiser(y, s)


def at(denoiser: Denoiser, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
    """E[x0] for x = alpha x0 + sigma eps; alpha may be 0."""
    alpha = max(float(alpha), 1e-9)
    return denoiser(x / alpha, float(sigma) / alpha)


REFUSALS = (ValueError, IndexError, ZeroDivisionError, AssertionError, RuntimeError, UnboundLocalError)
"""What libraries raise when they are given too few steps."""


def within(peer: Peer, eps: Tensor, budget: int) -> int | None:
    """The largest number of steps whose calls stay within the budget; None if all of those are too few for it.

    Counted on two samples and a denoiser that always answers 0, by bisection: more steps are more calls.
    """
    fits, exceeds, guess, found = 0, budget + 1, budget, None
    while exceeds - fits > 1:
        counted = Counted(lambda y, s: y * 0)
        try:
            peer.run(counted, eps[:2], guess)
        except REFUSALS:
            fits = guess
        else:
            if counted.calls > budget:
                exceeds = guess
            else:
                fits = found = guess
            guess = guess * budget // counted.calls
        guess = min(max(guess, fits + 1), exceeds - 1)
    return found

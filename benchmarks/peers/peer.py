"""A row of the table: a solver of another library, and how its network calls are counted."""

from collections.abc import Callable, Sequence
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


def within(peer: Peer, denoiser: Denoiser, eps: Tensor, budgets: Sequence[int]) -> dict[int, int]:
    """budget -> the largest number of steps whose calls stay within it; without those too small for this solver."""
    calls: dict[int, int] = {}
    for steps in range(1, max(budgets) + 2):
        counted = Counted(denoiser)
        try:
            peer.run(counted, eps[:2], steps)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError, RuntimeError, UnboundLocalError):
            continue  # too few steps for this solver
        if counted.calls > max(budgets):
            break
        calls[steps] = counted.calls
    fitting = {budget: [steps for steps, n in calls.items() if n <= budget] for budget in budgets}
    return {budget: max(steps) for budget, steps in fitting.items() if steps}

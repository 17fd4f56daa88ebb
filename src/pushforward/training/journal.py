"""What training looked like so far, and what of it must outlive an interruption.

Losses stay on the device until an interval is closed, so that logging costs no step a wait. The losses of an
interval that a checkpoint falls into are saved with it: the log of a resumed run is that of an unbroken one.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class History:
    """What training looked like: one entry per log interval.

    Args:
        steps: updates made by then.
        losses: mean loss since the entry before.
        seconds: time in training by then, over all resumptions.
        judged: (updates made, what the judge said of the averaged weights), if there was one.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    judged: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class Journal:
    """What is logged, and what must outlive an interruption for the log to go on unchanged."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    judged: list[tuple[int, float]] = field(default_factory=list)
    pending: list[Tensor] = field(default_factory=list)
    carried: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def enter(self, step: int) -> float:
        """Close an interval; its mean loss."""
        values = self.pending_losses()
        self.pending, self.carried = [], []
        self.steps.append(step)
        self.losses.append(math.fsum(values) / len(values))
        self.seconds.append(time.monotonic() - self.began)
        return self.losses[-1]

    def pending_losses(self) -> list[float]:
        """The losses since the last entry."""
        return self.carried + (torch.stack(self.pending).tolist() if self.pending else [])

    def state(self) -> dict[str, Any]:
        """This journal as JSON values."""
        return {
            "steps": self.steps,
            "losses": self.losses,
            "seconds": self.seconds,
            "judged": self.judged,
            "pending": self.pending_losses(),
            "elapsed": time.monotonic() - self.began,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Journal":
        """The journal that `state` was taken from."""
        began = time.monotonic() - state["elapsed"]
        judged = [(step, value) for step, value in state.get("judged", [])]
        return cls(state["steps"], state["losses"], state["seconds"], judged, [], state["pending"], began)

    def history(self) -> History:
        """What the user gets."""
        return History(tuple(self.steps), tuple(self.losses), tuple(self.seconds), tuple(self.judged))

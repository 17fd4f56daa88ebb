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

from pushforward._errors import RunError, explain


@dataclass(frozen=True, slots=True)
class History:
    """What training looked like: one entry per log interval.

    Args:
        steps: updates made by then.
        losses: mean loss since the entry before.
        seconds: time in training by then, over all resumptions.
        skipped: steps whose update was left out because it was not finite, counted from 0.
        judged: (updates made, what the judge said of the averaged weights), if there was one.
    """

    steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    skipped: tuple[int, ...] = ()
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
    skipped: list[int] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def enter(self, step: int) -> float | None:
        """Close an interval; its mean loss, over the steps that had one. None if none had."""
        values = self.pending_losses()
        self.pending, self.carried = [], []
        if not values:
            return None
        self.steps.append(step)
        self.losses.append(math.fsum(values) / len(values))
        self.seconds.append(time.monotonic() - self.began)
        return self.losses[-1]

    def pending_losses(self) -> list[float]:
        """The losses since the last entry; those of skipped steps do not count."""
        new = torch.stack(self.pending).tolist() if self.pending else []
        return self.carried + [loss for loss in new if math.isfinite(loss)]

    def forget(self) -> None:
        """Take back the losses since the last entry: their updates were."""
        self.pending, self.carried = [], []

    def state(self) -> dict[str, Any]:
        """This journal as JSON values, which further steps do not change."""
        return {
            "steps": list(self.steps),
            "losses": list(self.losses),
            "seconds": list(self.seconds),
            "judged": [list(each) for each in self.judged],
            "pending": self.pending_losses(),
            "skipped": list(self.skipped),
            "elapsed": time.monotonic() - self.began,
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "Journal":
        """The journal that `state` was taken from.

        Raises:
            RunError: it was taken from none.
        """
        whole = {"skipped": [], "judged": [], **state}  # runs that were begun without
        lists = [whole.get(name) for name in ("steps", "losses", "seconds", "pending", "skipped")]
        lists += whole["judged"] if isinstance(whole["judged"], list) else [None]
        numbers = [whole.get("elapsed"), *(number for each in lists if isinstance(each, list) for number in each)]
        if not all(isinstance(each, list) for each in lists) or not all(type(n) in (int, float) for n in numbers):
            got = f"{sorted(state)} of other types"
            raise RunError(explain("the journal of a run in state.json", got, "Take that checkpoint away."))
        steps, losses, seconds, pending, skipped, *judged = (list[Any](each) for each in lists if each is not None)
        return cls(
            steps, losses, seconds, [(step, value) for step, value in judged], carried=pending, skipped=skipped,
            began=time.monotonic() - state["elapsed"],
        )  # fmt: skip

    def history(self) -> History:
        """What the user gets."""
        return History(
            tuple(self.steps), tuple(self.losses), tuple(self.seconds), tuple(self.skipped), tuple(self.judged)
        )

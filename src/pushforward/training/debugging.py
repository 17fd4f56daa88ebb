"""The debugger in the step whose loss is not finite.

A step is a function of its number, so it can be run again: this time with the debugger, in the middle of it, at the
first module with a bad output. Leaving the debugger lets the step, and what was to happen after it, go on.
"""

import pdb
import sys
from typing import Any

from torch import Tensor, nn


def stop_here(
    step: int,
    model: nn.Module,
    batch: Any,
    name: str = "",
    module: nn.Module | None = None,
    inputs: object = None,
    output: object = None,
    losses: Tensor | None = None,
) -> None:
    """Open the debugger with these names at hand, and what called this above them (`up`).

    Args:
        step: its number.
        model: with the weights from before it.
        batch: this process's samples.
        name: of the first module whose output is not finite, if there is one.
        module: itself.
        inputs: what it was given.
        output: what it made of that.
        losses: one per sample, if no module was to blame.
    """
    what = f"{name!r} is the first module whose output is not finite" if name else "no module's output, the loss itself"
    hand = "model, batch, " + ("module, inputs, output" if name else "losses")
    debugger = pdb.Pdb()
    debugger.message(f"Step {step}: {what}. At hand: {hand}; `up` to where it was called, `q` to go on.")
    debugger.reset()
    debugger.interaction(sys._getframe(), None)

"""How far along: one line that moves on a terminal, one plain line per log interval elsewhere.

    step 50/2000  loss 0.213  412 MB  12.3 steps/s  02:38 left

Memory is the most that tensors took on the accelerator where there is one, else what the process holds.
"""

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A context that shows steps, loss, rate and time left on stderr.

    Args:
        steps: how many there will be.
        done: how many there were before.
        shown: show anything at all.
    """

    def __init__(self, steps: int, done: int, shown: bool) -> None:
        self._steps, self._done, self._first = steps, done, done
        self._began = time.monotonic()
        self._plain = shown and not sys.stderr.isatty()
        moving = shown and not self._plain
        self._bar = tqdm(total=steps, initial=done, dynamic_ncols=True, file=sys.stderr) if moving else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """One step more."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()

    def tell(self, loss: float, held: Mapping[str, int]) -> None:
        """Show the loss of the last interval, and the bytes held."""
        said = f"loss {loss:.4g}{_megabytes(held)}"
        if self._plain:
            seconds = time.monotonic() - self._began
            rate = (self._done - self._first) / max(seconds, 1e-9)
            left = tqdm.format_interval((self._steps - self._done) / max(rate, 1e-9))
            line = f"step {self._done}/{self._steps}  {said}  {rate:.1f} steps/s  {left} left"
            print(line, file=sys.stderr, flush=True)
        elif self._bar is not None:
            self._bar.set_postfix_str(said, refresh=False)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._plain:
            print(line, file=sys.stderr, flush=True)
        elif self._bar is not None:
            self._bar.write(line, file=sys.stderr)


def _megabytes(held: Mapping[str, int]) -> str:
    bytes_held = held.get("device_memory_peak", held.get("device_memory", held.get("memory")))
    return "" if bytes_held is None else f"  {bytes_held / 1e6:,.0f} MB"

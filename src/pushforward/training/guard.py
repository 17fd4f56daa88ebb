"""No update from a loss or gradient that is not finite, and no waiting for the device to know.

On a CPU the two numbers are looked at before every update. On an accelerator looking would make the host
wait, so the device itself withholds every update from the first bad step on, remembers that step, and the
host asks when it logs. Either way the weights are those from before the bad step. Since a step is a function
of its number, it is then run again with every module watched, to name the first with a bad output.

    stop        the run ends there
    skip        w_{s+1} = w_s and the optimizer's state stays; the next step is the next one
    rollback    w_{s+1} = w_c of the newest checkpoint c <= s, likewise the optimizer and the average

All three are functions of the run, so that an interrupted run does the same again. References: Chowdhery et al. 2022
(PaLM, arXiv 2204.02311, section 5.1), who went back and left out the batches before a spike.
"""

import functools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import TrainingError, explain
from pushforward.data.batch import Batch
from pushforward.training.debugging import stop_here
from pushforward.training.weights import not_finite

LIMIT = 10
"""How many steps of a run may be skipped or rolled back over: more is not an accident."""


class NotFinite(Exception):  # noqa: N818
    """The update number `step` was withheld. Private to the loop, which turns it into a `TrainingError`."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class Guard:
    """Watches losses and gradient norms.

    Args:
        device: where they live.
        lazy: ask the device at every `settled` alone; the default for all but CPUs.
        skip: withhold the bad updates alone and go on; `taken` says which they were.
    """

    def __init__(self, device: torch.device, lazy: bool | None = None, skip: bool = False) -> None:
        self._lazy = device.type != "cpu" if lazy is None else lazy
        self._skip = skip
        self._first = torch.tensor(-1, device=device)
        self._looks: list[tuple[int, Tensor]] = []
        self._skipped: list[int] = []

    def judge(self, step: int, loss: Tensor, norm: Tensor) -> Tensor | None:
        """What the optimizer is told: None to update, or a scalar that is 1.0 where it must not.

        Raises:
            NotFinite: at once, where looking costs nothing.
        """
        if not self._lazy:
            if math.isfinite(loss.item() + norm.item()):
                return None
            if not self._skip:
                raise NotFinite(step)
            self._skipped.append(step)
            return torch.ones(())
        if self._skip:
            bad = (~(loss + norm).isfinite()).float()
            self._looks.append((step, bad))
            return bad
        new = (self._first < 0) & ~(loss + norm).isfinite()
        self._first = torch.where(new, step, self._first)
        return (self._first >= 0).float()

    def reset(self) -> None:
        """Begin again after a rollback."""
        self._first.fill_(-1)

    def settled(self) -> None:
        """Wait for the device and ask it.

        Raises:
            NotFinite: an update was withheld since.
        """
        if self._looks:
            steps, looks = zip(*self._looks)
            self._skipped += [step for step, bad in zip(steps, torch.stack(looks).tolist()) if bad]
            self._looks.clear()
        elif self._lazy:
            first = int(self._first.item())
            if first >= 0:
                raise NotFinite(first)

    def taken(self) -> list[int]:
        """The steps skipped since this was asked last, as far as they are known."""
        steps, self._skipped = self._skipped, []
        return steps


@dataclass(frozen=True, slots=True)
class Samples:
    """What this process's samples of a step are called.

    Args:
        first: the number of the first in the global batch.
        rows: each one's row and file, if they are known.
    """

    first: int = 0
    rows: tuple[str, ...] = ()

    def said(self, bad: list[int]) -> str:
        """Some of them, counted from 0 here: their numbers in the global batch, and their rows.

        >>> Samples(8, ("a.csv:3", "a.csv:9")).said([1])
        'sample 9 of the batch: a.csv:9'
        """
        numbers = f"sample{'s' * (len(bad) > 1)} {_listed([str(self.first + i) for i in bad])} of the batch"
        return f"{numbers}: {_listed([self.rows[i] for i in bad])}" if self.rows else numbers


def diagnose(
    step: int,
    model: nn.Module,
    batch: Batch,
    losses: Callable[[], Tensor],
    differentiate: bool = True,
    debug: bool = False,
    samples: Samples = Samples(),
) -> TrainingError:
    """Run a bad step again, watched, and say where it went wrong.

    Args:
        step: its number.
        model: the model, with the weights from before that step.
        batch: this process's samples.
        losses: computes their losses exactly as that step did.
        differentiate: look at the gradients too, if the losses are finite.
        debug: open the debugger at the first module whose output is not finite, else where the losses are known.
        samples: what the samples are called.
    """
    stop = functools.partial(stop_here, step, model, batch) if debug else None
    with torch.enable_grad(), _watched(model, stop) as found:
        values = losses()
    if stop is not None and not found:
        stop(losses=values)
    rows = (~values.isfinite()).nonzero().flatten().tolist()
    inputs = {"x": batch.x} | ({"context": batch.context} if batch.context is not None else {})
    bad_input, bad_weight = not_finite(inputs), not_finite(dict(model.named_parameters()))
    if bad_input:
        where, fix = f"the batch's {bad_input} is not finite", "Look for NaN and infinity in the data."
    elif bad_weight:
        where, fix = f"the weight {bad_weight!r} is not finite", "Start from other weights."
    elif found:
        where = f"{found[0]!r} is the first module whose output is not finite"
        fix = "Lower lr, raise warmup, or set clip; --pdb-on-nan opens the debugger in the middle of it."
    elif rows:
        where = "every module's output is finite, so the objective itself is not"
        fix = "Look for a division or a logarithm of 0 in the objective."
    else:
        names = _bad_gradients(model, values) if differentiate else []
        where = f"the loss is finite, the gradient of {names[0]!r} is not" if names else "it did not happen again here"
        fix = "Look for a square root or a norm at 0, or lower lr."
    got = f"step {step}: {where}" + (f" ({samples.said(rows)})" if rows else "")
    return TrainingError(explain("a finite loss and gradient", got, f"The weights are from before it. {fix}"))


@contextmanager
def _watched(model: nn.Module, stop: Callable[..., None] | None = None) -> Generator[list[str]]:
    """The names of modules with an output that is not finite, in the order they ran."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if any(not_finite({name: each}) for each in _tensors(output)):
                found.append(name)
                if stop is not None and len(found) == 1:
                    stop(name, module, inputs, output)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _bad_gradients(model: nn.Module, values: Tensor) -> list[str]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(values.sum(), list(named.values()), allow_unused=True)
    return [name for name, g in zip(named, found) if not (g is None or bool(g.isfinite().all()))]  # pyright: ignore[reportUnnecessaryComparison]


def _listed(rows: list[str]) -> str:
    return ", ".join(rows[:10]) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")

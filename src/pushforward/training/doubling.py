"""How long to train, found by doubling: of steps/64, steps/32, ..., steps, the length that held-out rows like best.

Small tables are learned by heart in a few hundred steps, and a flow that knows them by heart gives new rows a density
of nearly nothing. Each length is a training of its own, from the same start and with its own schedule; the first length
worse than the one before it is the last one tried. All lengths together cost less than twice the longest.
"""

from collections.abc import Callable
from dataclasses import replace

from pushforward._recipe import Settings
from pushforward.models import AnyConditional
from pushforward.objectives import Likelihood
from pushforward.training.journal import History
from pushforward.training.stream import Data
from pushforward.training.train import train


def doubled(
    make: Callable[[], AnyConditional],
    data: Callable[[AnyConditional], Data],
    settings: Settings,
    progress: bool,
    judge: Callable[[AnyConditional], float] | None,
) -> tuple[AnyConditional, History]:
    """The best model of all lengths, and how its training went.

    Args:
        make: gives the model at its start, the same at every call.
        data: gives what it is trained on.
        settings: of the longest training.
        progress: show it on stderr.
        judge: higher is better; None trains once, all steps.
    """
    lengths = sorted({settings.steps >> k for k in range(7) if judge} - {0} | {settings.steps})
    best: tuple[float, AnyConditional, History] | None = None
    for steps in lengths:
        made = make()
        ema = min(0.999, 1 - 10 / max(steps, 20))  # averages over a tenth of a short training
        warmup = min(settings.warmup, steps // 10)
        changed = replace(settings, steps=steps, ema=ema, warmup=warmup)
        history = train(made.flow, data(made), Likelihood(), settings=changed, progress=progress)
        found = judge(made.eval()) if judge else 0.0
        if best is not None and not found > best[0]:
            break
        best = found, made, history
    assert best is not None
    return best[1:]

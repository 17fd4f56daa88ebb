"""The learning rate as a function of the step: a straight rise, then half a cosine or a constant.

    rise    lr (s + 1) / warmup                              s < warmup
    cosine  lr (1 + cos(pi (s - warmup) / (steps - warmup))) / 2
    constant  lr

Nothing is remembered from step to step, so a resumed run cannot be out of tune with its schedule.

References: Loshchilov and Hutter 2016 (arXiv 1608.03983) for the cosine, without restarts.
"""

import math

from pushforward._recipe import Settings


def rate(step: int, settings: Settings) -> float:
    """The learning rate of the update number `step`, counted from 0.

    The warm-up takes at most half of a short run.

    >>> [round(rate(s, Settings(steps=6, warmup=2, lr=1.0)), 3) for s in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    warmup = min(settings.warmup, settings.steps // 2)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.lr
    done = (step - warmup) / max(1, settings.steps - warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

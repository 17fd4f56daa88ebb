"""A learning rate and a batch size, found by trying, in a few seconds and without an end to be told.

Learning rate: from a rate too small to a rate too large, on a geometric grid, one update at each.

    s_k = 0.8 s_{k-1} + 0.2 loss_k                  smoothed, from the first loss on
    stop     s_k > s_0 + 2 noise, or not finite: all that was learned is lost
    suggest  a tenth of the rate where s was lowest

noise is the spread of the first losses about their mean, while the rate is still too small to matter: six times that
of s. The rule has no unit, so losses below zero (likelihoods) are as good as others.

Batch size: 2^k samples, until memory is full, or throughput (samples a second) grows by less than a tenth twice.

    suggest  the smallest size within a tenth of the best throughput

Larger batches than that make a step longer and give nothing back. The model that is handed in is copied, not trained.

References: Smith 2015 (arXiv 1506.01186), whose range test the first is; McCandlish et al. 2018 (arXiv 1812.06162) on
what larger batches are good for.
"""

import copy
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pushforward._errors import PushforwardError, TrainingError, explain, out_of_memory
from pushforward._random import Draw
from pushforward._recipe import Settings
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.training.distributed import World, connect
from pushforward.training.engine import Engine, Objective, borrowed_randomness
from pushforward.training.guard import NotFinite

_QUIET = 20
"""Losses at the beginning that say how noisy they are."""

_ENOUGH = 1.1
"""Throughput that doubling the batch must gain at least."""


@dataclass(frozen=True, slots=True)
class RateSearch:
    """What a sweep of learning rates found.

    Args:
        rates: those tried, rising.
        losses: the smoothed loss at each.
        suggestion: the rate to train with.
        reason: why, in a sentence.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    reason: str


@dataclass(frozen=True, slots=True)
class BatchSearch:
    """What doubling the batch found.

    Args:
        sizes: those tried, rising.
        seconds: of one step at each.
        suggestion: the batch to train with.
        reason: why, in a sentence.
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    suggestion: int
    reason: str

    @property
    def throughput(self) -> tuple[float, ...]:
        """Samples a second at each size."""
        return tuple(size / seconds for size, seconds in zip(self.sizes, self.seconds))


def find_lr(
    model: Model,
    data: Any,
    objective: Objective,
    settings: Settings | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    tries: int = 150,
) -> RateSearch:
    """Try learning rates from `low` to `high`, and stop where training diverges.

    Args:
        model: as it would be trained; a copy is.
        data: as for `train`.
        objective: as for `train`.
        settings: those of the training to come; batch, betas, clip, precision and seed matter.
        low: the first rate.
        high: the last.
        tries: how many, at equal factors.

    Raises:
        TrainingError: the loss does not fall at any rate, or is not finite at the first.
    """
    chosen = (settings or Settings()).changed(ema=0.0, on_nan="stop")
    rates, losses = list[float](), list[float]()
    with _alone(chosen) as world:
        engine, stream = Engine(copy.deepcopy(model), objective, chosen, world), _stream(data, chosen)
        for step in range(tries):
            rate = low * (high / low) ** (step / max(tries - 1, 1))
            try:
                loss = float(engine.advance(step, next(stream).to(str(world.device)), lr=rate)[0])
                engine.settled()
            except NotFinite:
                break
            rates.append(rate)
            losses.append(loss)
            if diverges(smoothed(losses), losses):
                break
    return _rates(rates, losses, complete=len(rates) == tries and not diverges(smoothed(losses), losses))


def smoothed(losses: list[float]) -> list[float]:
    """s_k = 0.8 s_{k-1} + 0.2 loss_k, from the mean of the quiet beginning on."""
    means = list[float]()
    for loss in losses:
        means.append(0.8 * means[-1] + 0.2 * loss if means else statistics.fmean(losses[:_QUIET]))
    return means


def diverges(means: list[float], losses: list[float]) -> bool:
    """Whether the last smoothed loss is above where it began, by more than the noise."""
    return len(means) > _QUIET and not means[-1] <= means[0] + 2 * statistics.pstdev(losses[:_QUIET])


def _rates(rates: list[float], losses: list[float], complete: bool) -> RateSearch:
    means = smoothed(losses)
    if not rates:
        got = "one that is not finite at the first rate"
        raise TrainingError(explain("a finite loss", got, "Train for a step with --pdb-on-nan to see where."))
    lowest = min(range(len(means)), key=means.__getitem__)
    noise = statistics.pstdev(losses[:_QUIET])
    if not lowest or means[0] - means[lowest] <= noise / 2:
        got = f"{means[0]:.4g} at first and {means[lowest]:.4g} at best, with noise of {noise:.2g}"
        raise TrainingError(explain("a loss that falls at some rate", got, "Look at the data and the objective."))
    end = "it did not diverge" if complete else f"it diverged at {rates[-1]:.2g}"
    reason = f"a tenth of {rates[lowest]:.2g}, where the loss was lowest ({means[lowest]:.4g}); {end}"
    return RateSearch(tuple(rates), tuple(means), float(f"{rates[lowest] / 10:.1e}"), reason)


def find_batch(
    model: Model,
    data: Any,
    objective: Objective,
    settings: Settings | None = None,
    least: int = 8,
    most: int = 2**20,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchSearch:
    """Double the batch until memory is full or throughput no longer grows.

    Args:
        model: as it would be trained; a copy is.
        data: as for `train`.
        objective: as for `train`.
        settings: those of the training to come; precision, accumulation, `recompute` and `compile` matter.
        least: the first size.
        most: no larger one is tried; nor one of more samples than the data have.
        clock: seconds, rising.

    Raises:
        TrainingError: not even the first size fits.
    """
    chosen, rows = settings or Settings(), len(data) if hasattr(data, "__len__") else most
    sizes, seconds, full = list[int](), list[float](), 0
    with _alone(chosen) as world:
        size = least
        while size <= max(min(most, rows), least):
            try:
                seconds.append(_seconds(model, data, objective, chosen.changed(batch=size), world, clock))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                full = size
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # what the last try held
            if full:
                break
            sizes.append(size)
            if _flat(sizes, seconds):
                break
            size *= 2
    if not sizes:
        fix = "Ask for accumulation (--accumulate 8), --recompute, or a smaller model."
        raise TrainingError(explain(f"memory for a batch of {least}", "none left", fix))
    return _sizes(sizes, seconds, full)


def _seconds(
    model: Model, data: Any, objective: Objective, settings: Settings, world: World, clock: Callable[[], float]
) -> float:
    """The quickest of three steps, after one to warm up."""
    engine, stream = Engine(copy.deepcopy(model), objective, settings, world), _stream(data, settings)
    took = list[float]()
    for step in range(4):
        batch = next(stream).to(str(world.device))
        began = clock()
        try:
            loss = engine.advance(step, batch, lr=1e-8)[0]
        except NotFinite as error:
            raise engine.explain(error, batch) from None
        loss.item()  # waits for the device
        took.append(clock() - began)
    return max(min(took[1:]), 1e-9)


def _flat(sizes: list[int], seconds: list[float]) -> bool:
    """Whether throughput grew by less than a tenth twice running."""
    speed = [size / took for size, took in zip(sizes, seconds)]
    return len(speed) > 2 and speed[-1] < _ENOUGH * speed[-2] and speed[-2] < _ENOUGH * speed[-3]


def _sizes(sizes: list[int], seconds: list[float], full: int) -> BatchSearch:
    speed = [size / took for size, took in zip(sizes, seconds)]
    best = max(speed)
    chosen = next(size for size, each in zip(sizes, speed) if each >= best / _ENOUGH)
    end = f"{full} does not fit into memory" if full else f"{sizes[-1]} fits too" if sizes[-1] > chosen else "all fit"
    within = "the best throughput" if chosen == sizes[speed.index(best)] else "within a tenth of the best throughput"
    return BatchSearch(
        tuple(sizes), tuple(seconds), chosen, f"the smallest with {within}, {best:,.0f} samples/s; {end}"
    )


def _stream(data: Any, settings: Settings) -> Iterator[Batch]:
    return data.batches(settings.batch, Draw(settings.seed, "data"))


@contextmanager
def _alone(settings: Settings) -> Generator[World]:
    """This process, with the caller's random numbers put back.

    Raises:
        PushforwardError: there are others, as under torchrun.
    """
    world = connect(settings.device)
    if world.size > 1:
        raise PushforwardError(explain("one process for a search", f"{world.size}", "Start it without torchrun."))
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        with borrowed_randomness(world.device):
            yield world
    finally:
        torch.set_num_threads(threads)

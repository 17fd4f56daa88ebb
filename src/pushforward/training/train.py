"""`train`: what is to be trained, brought together, and then the loop.

    model, data, objective, settings  ->  device and processes, a locked run folder, an engine  ->  `loop.py`

What cannot go together is refused before anything is begun. Torch's threads and generators, and the modules that the
objective asks, are as training wants them meanwhile, and as they were afterwards.
"""

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pushforward._errors import ConfigError, explain
from pushforward._recipe import Recipe, Run, Settings
from pushforward.models.model import Model
from pushforward.training.distributed import World, connect
from pushforward.training.engine import Engine, Objective, borrowed_randomness
from pushforward.training.journal import History
from pushforward.training.loop import Loop
from pushforward.training.run_folder import RunFolder, locked
from pushforward.training.signals import noted
from pushforward.training.stream import Data
from pushforward.training.teachers import digest, resting, teachers
from pushforward.training.tracking import Tracker, TrackerName, require


def train(
    model: Model,
    data: Data,
    objective: Objective,
    *,
    settings: Settings | None = None,
    run: str | os.PathLike[str] | None = None,
    progress: bool = True,
    recipe: Recipe | None = None,
    start: nn.Module | None = None,
    judge: Callable[[Any], float] | None = None,
    judge_every: int = 500,
    track: TrackerName | Tracker | None = None,
    pdb_on_nan: bool = False,
    **changes: object,
) -> History:
    """Train a model in place; at the end it holds the averaged weights and is ready to sample.

    Args:
        model: what to train. It is moved to the settings' device.
        data: a data set, or anything with its `shape` and `batches`. If it has `named` too, errors name its rows.
        objective: per-sample losses `objective(model, batch, draw)`, [batch].
        settings: how to train.
        run: a folder for metrics, checkpoints and the result. Where it holds an unfinished run, that goes on.
            With a folder, a signal stops at a step's edge after writing a checkpoint.
        progress: show it on stderr.
        recipe: how `model` was built, so that `load(run)` can build it again.
        start: the trained model or the rows that `model` was made of, if any; the run does not go on from others.
        judge: a number about the model with its averaged weights: the likelihood of events that are not trained on,
            say. It goes to the history and the metrics.
        judge_every: steps from one judgement to the next; one is made at the end.
        track: where the metrics go besides: the name of a tracker, whose run is kept with the folder, or one's own.
        pdb_on_nan: open the debugger in the middle of a step whose loss is not finite, on the first process.
        **changes: settings by name, `steps=500`, over those in `settings`.

    Returns:
        The loss over time.

    Raises:
        TrainingError: a loss or gradient that is not finite. The weights are from before that update.
        Interrupted: a signal asked to stop; call again to go on.
        RunError: the folder is in use, damaged, or holds something else.
        ConfigError: an impossible argument, or a setting that differs from what the folder was begun with.
    """
    chosen = (settings or Settings()).changed(**changes)
    _require_possible(chosen, run, judge_every, track)
    with ExitStack() as stack:
        world = connect(chosen.device)
        stack.enter_context(_quiet(chosen, world, teachers(objective, model)))
        folder = None
        if run is not None:
            config, path = _describe(chosen, model, data, objective, recipe, start), Path(run)
            mine: list[RunFolder] = []
            world.first(lambda: mine.append(stack.enter_context(locked(path, config))))
            folder = mine[0] if mine else RunFolder(path, config)
        engine = Engine(model, objective, chosen, world)
        note = stack.enter_context(noted(folder is not None))
        loop = Loop(engine, data, chosen, world, folder, note, judge, judge_every)
        loop.debug = pdb_on_nan and world.rank == 0
        return loop.run(progress and world.rank == 0, track)


def _require_possible(settings: Settings, run: object, judge_every: int, track: object) -> None:
    """Refuse arguments that cannot go together, before anything is begun."""
    if settings.on_nan == "rollback" and run is None:
        raise ConfigError(explain("a run folder for on_nan = 'rollback'", "none", "Pass run=, or choose 'skip'."))
    if judge_every < 1:
        raise ConfigError(explain("judge_every to be 1 or more", f"{judge_every}", "Change the value."))
    if isinstance(track, str):
        require(track)


def _describe(
    settings: Settings, model: Model, data: Data, objective: Objective, recipe: Recipe | None, start: nn.Module | None
) -> Run:
    asked, begun = digest(teachers(objective, model)), digest([] if start is None else [start])
    name, classes = getattr(data, "name", ""), getattr(data, "classes", 0)
    return Run(settings, tuple(model.shape), classes, name, _name(objective), recipe, teacher=asked, start=begun)


def _name(objective: Objective) -> str:
    """How an objective prints itself, without addresses in memory."""
    text = getattr(objective, "__qualname__", None) or repr(objective)
    return type(objective).__qualname__ if " at 0x" in text or "\n" in text else text


@contextmanager
def _quiet(settings: Settings, world: World, asked: list[nn.Module]) -> Generator[None]:
    """Within, threads, torch's generators and the modules that the objective asks are as training wants them."""
    with _threads(settings.threads), borrowed_randomness(world.device), resting(asked):
        yield


@contextmanager
def _threads(number: int | None) -> Generator[None]:
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

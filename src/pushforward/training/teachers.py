"""The teachers of an objective: networks that it asks and nobody trains.

An objective is a frozen dataclass, so a teacher is whatever module stands in a field of it, or of a dataclass or tuple
in one. One that shares a part with the model in training is none: it changes as the model does.

A teacher rests while a student learns (its dropout is off), and a run keeps a digest of its weights, so that no run
goes on under another.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, cast

from torch import Tensor, nn

from pushforward.training.shards import fingerprint

_DIGITS = 16


def teachers(objective: Callable[..., Tensor], model: nn.Module) -> list[nn.Module]:
    """The modules an objective asks, none of which has a part of `model`.

    >>> from pushforward.models import Diffusion, gaussian
    >>> from pushforward.objectives import few_steps
    >>> teacher = gaussian(shape=(2,))
    >>> teachers(few_steps.direct(teacher), nn.Linear(1, 1)) == [teacher]
    True
    """
    own = set(map(id, model.modules())) | set(map(id, model.parameters()))
    return [each for each in _modules(objective) if own.isdisjoint(map(id, (*each.modules(), *each.parameters())))]


def digest(modules: list[nn.Module]) -> str | None:
    """What tells the weights of these modules from others; None of no module."""
    if not modules:
        return None
    named = {f"{i}.{name}": p for i, each in enumerate(modules) for name, p in each.state_dict().items()}
    return fingerprint(named)[:_DIGITS]


@contextmanager
def resting(modules: list[nn.Module]) -> Generator[None]:
    """Within, these modules are not in training; afterwards they are as they were."""
    awake = [part for each in modules for part in each.modules() if part.training]
    for part in awake:
        part.training = False
    try:
        yield
    finally:
        for part in awake:
            part.training = True


def _modules(value: object) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from _modules(getattr(value, each.name))
    elif isinstance(value, tuple | list):
        for part in cast("tuple[Any, ...]", value):
            yield from _modules(part)

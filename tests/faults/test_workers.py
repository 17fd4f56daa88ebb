"""Real worker processes of a DataLoader, killed while a run goes on: the run goes on too, or says what happened.

Slow, and not for every run: a worker that is killed while it holds the lock of torch's event of "workers are done"
leaves torch's own clean-up waiting for that lock for ever, in `DataLoader`'s iterator. That was seen once in some ten
runs.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice

import pytest
import torch

from faults.test_hostile import at_once
from faults.test_training import SETTINGS, at, same
from pushforward._errors import DataError
from pushforward.data.batch import Batch
from pushforward.training import train
from training.stand_in import Circle, Straight, flow_matching

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")]


@dataclass(frozen=True)
class Steps:
    """The batch of each step, by its number: what a worker is asked for."""

    size: int
    draw: object

    def __getitem__(self, step: int) -> torch.Tensor:
        return next(Circle().batches(self.size, self.draw, step)).x


@dataclass(frozen=True)
class Loaded(Circle):
    """A circle whose batches are made by two processes; `act` is told their ids before each step's batch is fetched."""

    act: Callable[[int, list[int]], None] = lambda step, workers: None

    def batches(self, size, draw, start=0, rank=0, world=1) -> Iterator[Batch]:
        steps = Steps(size, draw)
        loader = torch.utils.data.DataLoader(steps, None, sampler=islice(count(start), 100), num_workers=2)
        batches = iter(loader)
        for step, x in enumerate(batches, start):
            self.act(step, [worker.pid for worker in batches._workers])
            yield Batch(x)


def trained(data, objective=flow_matching, **options) -> Straight:
    model = Straight(dropout=0.2)
    train(model, data, objective, settings=SETTINGS, progress=False, **options)
    return model


def killed(pid: int) -> None:
    """Kill a worker and wait for it to be dead, or for torch's handler to say so."""
    os.kill(pid, signal.SIGKILL)
    time.sleep(5)


def test_a_killed_worker_is_replaced_and_no_bit_changes():
    left = [9, 15]

    def act(step: int, workers: list[int]) -> None:
        if left and step == left[0]:
            killed(workers[left.pop(0) % 2])

    with at_once(180), pytest.warns(UserWarning, match=r"The data broke at step (9|15) .*worker.*killed") as told:
        model = trained(Loaded(act=act))
    assert len(told) == 2
    assert same(model, trained(Circle()))


def test_a_worker_that_is_killed_again_and_again_is_an_error_with_the_step():
    def act(step: int, workers: list[int]) -> None:
        if step == 9:
            killed(workers[0])

    with (
        at_once(180),
        pytest.warns(UserWarning, match="The data broke at step 9"),
        pytest.raises(DataError, match=r"the batch of step 9; got RuntimeError: DataLoader worker .*\(3 times\)"),
    ):
        trained(Loaded(act=act))


def test_a_worker_that_dies_during_an_update_is_an_error_and_the_run_goes_on_from_its_checkpoint(tmp_path):
    """torch's handler may raise anywhere, so that nobody knows what of the update was made."""
    pids: list[int] = []
    once = at(9, lambda: killed(pids[0]))

    def objective(model, batch, draw):
        once(draw.step)
        return flow_matching(model, batch, draw)

    objective.__qualname__ = "flow_matching"
    data = Loaded(act=lambda step, workers: pids.__setitem__(slice(None), workers))
    with at_once(180), pytest.raises(DataError, match=r"worker.*killed.*Run it again"):
        trained(data, objective, run=tmp_path)
    assert same(trained(data, run=tmp_path), trained(Circle()))

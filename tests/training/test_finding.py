"""Searches that end by themselves, and find what is known."""

import math
from dataclasses import dataclass

import pytest
import torch

import pushforward as pf
from pushforward._errors import TrainingError
from pushforward.training import Settings, find_batch, find_lr, train
from pushforward.training.finding import diverges, smoothed
from training.stand_in import Circle, Straight, flow_matching

SETTINGS = Settings(batch=128, device="cpu", threads=1)


def test_the_rate_found_trains_better_than_ones_far_from_it():
    model = Straight()
    found = find_lr(model, Circle(), flow_matching, SETTINGS, high=100.0)
    assert len(found.rates) < 150  # it stopped by itself
    assert 1e-4 < found.suggestion < 0.3
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), Straight().parameters()))

    def loss(lr):
        changes = {"steps": 60, "lr": lr, "warmup": 0, "schedule": "constant", "clip": 0.0, "log_every": 20}
        return train(Straight(), Circle(), flow_matching, settings=SETTINGS, progress=False, **changes).losses[-1]

    assert loss(found.suggestion) < min(loss(found.suggestion / 30), loss(found.suggestion * 100))
    lowest = found.rates[min(range(len(found.losses)), key=found.losses.__getitem__)]
    assert found.suggestion == pytest.approx(lowest / 10, rel=0.05)
    assert "where the loss was lowest" in found.reason
    assert "it diverged at" in found.reason


def test_losses_below_zero_are_as_good():
    model = pf.models.real_nvp((2,), 2, 8, 1)
    found = find_lr(model, pf.data.moons(200), pf.objectives.Likelihood(), SETTINGS, tries=80)
    shifted = find_lr(model, pf.data.moons(200), lambda *a: pf.objectives.Likelihood()(*a) - 100, SETTINGS, tries=80)
    assert (shifted.suggestion, len(shifted.rates)) == (found.suggestion, len(found.rates))


@pytest.mark.parametrize(("last", "expected"), [(1.9, False), (2.1, True), (math.nan, True), (math.inf, True)])
def test_divergence_is_a_loss_above_the_first_ones_by_more_than_their_noise(last, expected):
    assert diverges([1.0] * 21 + [0.0, last], [0.5, 1.5] * 12) is expected  # whose spread is 0.5


def test_smoothing_begins_with_the_mean_and_follows():
    means = smoothed([0.0, 2.0] * 10 + [6.0])
    assert means[0] == 1.0
    assert means[1] == pytest.approx(0.8 * 1.0 + 0.2 * 2.0)
    assert means[-1] == pytest.approx(0.8 * means[-2] + 0.2 * 6.0)


def test_a_loss_that_never_falls_or_is_not_finite_is_told():
    with pytest.raises(TrainingError, match="a loss that falls at some rate"):
        find_lr(Straight(), Circle(), lambda m, b, d: 0 * flow_matching(m, b, d) + 1.0, SETTINGS)
    with pytest.raises(TrainingError, match="a finite loss; got one that is not finite at the first rate"):
        find_lr(Straight(), Circle(), lambda m, b, d: flow_matching(m, b, d) / 0, SETTINGS)


@dataclass
class Machine:
    """A step takes `fixed` seconds and `each` per sample beyond what runs at once; memory holds `room` samples."""

    fixed: float = 1.0
    each: float = 0.01
    room: int = 10**9
    now: float = 0.0

    def clock(self) -> float:
        return self.now

    def objective(self, model, batch, draw):
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.now += self.fixed + self.each * len(batch)
        return flow_matching(model, batch, draw)


class Endless(Circle):
    """Points without a number of rows."""


def searched(machine: Machine, data=None, **options):
    return find_batch(
        Straight(), data or Endless(), machine.objective, SETTINGS, clock=machine.clock, **{"most": 2**14, **options}
    )


def test_the_batch_stops_growing_where_throughput_does():
    found = searched(Machine())
    assert found.sizes == (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    assert found.suggestion == 1024  # 91 samples a second, 95 at best
    assert found.seconds[0] == pytest.approx(1.08)
    assert found.throughput[0] == pytest.approx(8 / 1.08)
    assert "within a tenth of the best throughput" in found.reason


def test_the_batch_stops_growing_where_memory_ends():
    found = searched(Machine(room=100))
    assert found.sizes == (8, 16, 32, 64)
    assert found.suggestion == 64
    assert "128 does not fit into memory" in found.reason
    with pytest.raises(TrainingError, match="memory for a batch of 8; got none left"):
        searched(Machine(room=4))


def test_no_batch_is_larger_than_the_data():
    @dataclass(frozen=True)
    class Counted(Circle):
        def __len__(self) -> int:
            return 50

    assert searched(Machine(), Counted()).sizes == (8, 16, 32)


def test_other_errors_are_not_taken_for_full_memory():
    def broken(model, batch, draw):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        find_batch(Straight(), Circle(), broken, SETTINGS)

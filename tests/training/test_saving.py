"""Copies for checkpoints that are written meanwhile."""

import torch

from pushforward.training.checkpoint import Checkpoint
from pushforward.training.saving import snapshot


def checkpoint(step, size=3):
    tensors = {name: torch.full((size,), float(step)) for name in ("w", "b")}
    return Checkpoint(step, tensors, {"w": tensors["w"]}, {"w.exp_avg": torch.zeros(size)}, {"step": step}, {})


def test_a_copy_takes_the_memory_of_an_earlier_one_and_nothing_of_the_model():
    first, later = checkpoint(1), checkpoint(2)
    before = snapshot(first)
    places = [tensor.data_ptr() for part in (before.model, before.ema, before.optim) for tensor in part.values()]
    copy = snapshot(later, before)
    assert places == [tensor.data_ptr() for part in (copy.model, copy.ema, copy.optim) for tensor in part.values()]
    later.model["w"].add_(10)
    assert copy.step == 2
    assert copy.state == {"step": 2}
    assert copy.model["w"].tolist() == copy.ema["w"].tolist() == [2.0] * 3


def test_what_does_not_fit_is_copied_afresh():
    before = snapshot(checkpoint(1, size=4))
    copy = snapshot(checkpoint(2), before)
    assert copy.model["w"].tolist() == [2.0] * 3
    assert before.model["w"].tolist() == [1.0] * 4

"""The loss of the next token against torch's own, and what is not asked."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from pushforward import Draw
from pushforward._errors import ShapeError
from pushforward.data import Batch
from pushforward.objectives import next_token, next_token_loss

LOGITS = Draw(0).normal(3, (5, 7))
TARGETS = torch.tensor([[1, 2, 3, 4, 5], [-1, -1, 6, 0, -1], [-1, -1, -1, -1, -1]])


def test_each_text_has_the_mean_over_what_is_asked():
    losses = next_token_loss(LOGITS, TARGETS)
    torch.testing.assert_close(losses[0], cross_entropy(LOGITS[0], TARGETS[0]))
    torch.testing.assert_close(losses[1], cross_entropy(LOGITS[1, 2:4], TARGETS[1, 2:4]))
    assert losses[2] == 0


def test_what_is_not_asked_has_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    next_token_loss(logits, TARGETS).sum().backward()
    assert (logits.grad.abs().sum(-1) > 0).tolist() == (TARGETS >= 0).tolist()


def test_it_is_the_objective_of_a_model():
    assert (next_token(lambda x: LOGITS, Batch(TARGETS, TARGETS), Draw(0)) == next_token_loss(LOGITS, TARGETS)).all()


def test_low_precision_is_summed_in_float32():
    low = next_token_loss(LOGITS.bfloat16(), TARGETS)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, next_token_loss(LOGITS.bfloat16().float(), TARGETS))


def test_another_shape_is_refused():
    with pytest.raises(ShapeError, match="targets"):
        next_token_loss(LOGITS, TARGETS[:, :3])

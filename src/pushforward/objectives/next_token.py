"""The loss of guessing each token from those before it.

    loss = mean over the tokens with a target of -log p(target)            one number per text

A target of -1 asks nothing: padding, or the question of a puzzle, of which only the answer counts.

References: Bengio et al. 2003, A neural probabilistic language model (JMLR 3, no arXiv number).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pushforward._errors import ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch

NOTHING = -1
"""The target of a token that is not asked about."""


def next_token_loss(logits: Tensor, targets: Tensor) -> PerSample:
    """The mean of -log p over the asked tokens of each text, [batch]; 0 for a text without any.

    Args:
        logits: [batch, tokens, vocabulary].
        targets: the token that comes next, or -1 where nothing is asked, [batch, tokens].

    Raises:
        ShapeError: targets of another shape.

    >>> next_token_loss(torch.zeros(1, 3, 4), torch.tensor([[2, -1, 0]]))
    tensor([1.3863])
    """
    if logits.ndim != 3 or logits.shape[:2] != targets.shape:
        got = f"{list(logits.shape)} and {list(targets.shape)}"
        raise ShapeError(explain("logits [batch, tokens, vocabulary] and targets [batch, tokens]", got, "Match them."))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
    losses = functional.cross_entropy(wide, targets.flatten(), ignore_index=NOTHING, reduction="none")
    return losses.view(targets.shape).sum(1) / (targets != NOTHING).sum(1).clamp(min=1)


def next_token(model: Any, batch: Batch, draw: Draw) -> PerSample:
    """The objective of a language model: `batch.x` are tokens, `batch.context` what comes after each."""
    assert batch.context is not None
    return next_token_loss(model(batch.x), batch.context)

"""How a field net is told a second time, and becomes the net of a flow map.

A flow map jumps from t to s, and its net must know both. It keeps t as it is and is told the leap t - s besides,

    our own nets     c = time(t) + context + jump(t - s)                  one more embedding beside that of t
    any other net    net(x + W jump(t - s), t, context)                   the embedding is added to the event itself

and the last layer of the embedding is zero at the start: whatever the leap, the net says exactly what it said before.
A velocity field is therefore its own warm start, u(x, t, s) = v(x, t). The waves of the leap are slow (4 cycles at
most over the whole path): a flow map is smooth in s, and objectives take its derivative.
"""

import copy
import math
from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from pushforward._errors import ShapeError, explain
from pushforward._typing import Context, Sample, Time
from pushforward.nets.condition import check_event, zero
from pushforward.nets.mlp import MLP
from pushforward.nets.time import TimeEmbedding
from pushforward.nets.transformer import Transformer

_FASTEST: Final = 4.0
_WIDTH: Final = 64


def two_times(net: nn.Module | Callable[..., Tensor], shape: tuple[int, ...] | None = None) -> nn.Module:
    """A copy of a field net that takes `leap=t - s` as well; at the start it makes no difference.

    Args:
        net: (x, t, context) -> [batch, *event].
        shape: the shape of one event; that of the net if None.

    Returns:
        For `MLP` and `Transformer` a net of the same class; any other inside a `TwoTimes`.

    Raises:
        ShapeError: the shape is not known.

    >>> import torch
    >>> net = two_times(MLP((2,), hidden=8, layers=1))
    >>> net(torch.ones(3, 2), torch.rand(3), leap=torch.rand(3)).shape
    torch.Size([3, 2])
    """
    told = copy.deepcopy(net)
    if isinstance(told, TwoTimes):
        return told
    if not isinstance(told, MLP | Transformer):
        return TwoTimes(told, shape)
    if told.condition.leap is None:
        like = told.condition.time.second.weight
        embedding = TimeEmbedding(like.shape[0], fastest=_FASTEST)
        zero(embedding.second)
        told.condition.leap = embedding.to(like)
    return told


class TwoTimes(nn.Module):
    """Any field net, told a second time through its input.

    Args:
        net: (x, t, context) -> [batch, *event].
        shape: the shape of one event; that of the net if None.

    Raises:
        ShapeError: the shape is not known.
    """

    def __init__(self, net: nn.Module | Callable[..., Tensor], shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        shape = shape if shape is not None else getattr(net, "shape", None)
        if shape is None:
            raise ShapeError(explain("a net with a `shape`, or shape=", "neither", "Pass shape=data.shape."))
        self.net, self.shape = net, tuple(shape)
        self.jump = TimeEmbedding(_WIDTH, fastest=_FASTEST)
        self.enter = zero(nn.Linear(_WIDTH, math.prod(self.shape)))
        like = next(net.parameters(), None) if isinstance(net, nn.Module) else None
        if like is not None:
            self.to(like)

    def forward(self, x: Sample, t: Time, context: Context = None, leap: Time | None = None) -> Sample:
        """The field, [batch, *shape], for a jump of this length; None is 0, a velocity."""
        check_event(x, t, self.shape)
        leap = t.new_zeros(()) if leap is None else leap
        moved = self.enter(nn.functional.silu(self.jump(leap.expand(len(x)))))
        return self.net(x + moved.reshape(x.shape), t, context)

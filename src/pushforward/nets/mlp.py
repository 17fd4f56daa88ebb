"""Plain networks on vectors.

`MLP` is a field net: x, t and context in, something of x's shape out. Each layer is residual,

    h <- h + W2 SiLU(W1 norm(h) + W3 c),       c = time(t) + context,

and the last matrix is zero at the start. `Dense` is the conditioner a coupling transform asks for: a vector
(and a context) in, a vector of another length out, zero at the start: the transform starts as the identity.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from pushforward._errors import ShapeError, explain
from pushforward._typing import Context, Sample, Time
from pushforward.nets.condition import Condition, check_event, zero
from pushforward.nets.derivatives import normalise
from pushforward.nets.layers import Layers, bare
from pushforward.nets.sizes import check_sizes
from pushforward.nets.time import FASTEST


class MLP(nn.Module):
    """A field net that sees an event as one vector; for points, tables and very small images.

    Args:
        shape: shape of one event.
        hidden: size of the hidden vectors.
        layers: how many residual layers.
        context: length of a context vector, 0 for none.
        classes: number of classes instead; index `classes` means "no class".
        fastest: cycles of the fastest wave that tells the time; 2 to 4 for a model whose d/dt is to be learned from.

    >>> net = MLP((2,), hidden=32, layers=2)
    >>> net(torch.randn(5, 2), torch.rand(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden: int = 256,
        layers: int = 4,
        context: int = 0,
        classes: int = 0,
        fastest: float = FASTEST,
    ) -> None:
        super().__init__()
        check_sizes(hidden, context=context)
        self.shape = tuple(shape)
        size = math.prod(self.shape)
        self.enter = nn.Linear(size, hidden)
        self.condition = Condition(hidden, classes, context, fastest)
        self.blocks = nn.ModuleList(Residual(hidden) for _ in range(layers))
        self.leave = zero(nn.Linear(hidden, size))

    def forward(self, x: Sample, t: Time, context: Context = None, leap: Time | None = None) -> Sample:
        """The field at (x, t), [batch, *shape].

        Args:
            x: [batch, *shape].
            t: times, [batch].
            context: class indices [batch], vectors [batch, context], or None.
            leap: how far a flow map jumps (`two_times`), [batch]; None is 0.
        """
        check_event(x, t, self.shape)
        h = self.enter(x.reshape(len(x), -1))
        c = self.condition(t, context, len(x), leap)
        for block in self.blocks:
            h = block(h, c)
        return self.leave(nn.functional.silu(h)).reshape(x.shape)


class Residual(nn.Module):
    """h + W2 SiLU(W1 norm(h) + W3 c): one layer of `MLP`."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(hidden, hidden)
        self.condition = nn.Linear(hidden, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        return h + self.second(nn.functional.silu(self.first(normalise(h)) + self.condition(c)))


class Dense(nn.Module):
    """A plain conditioner: [batch, inputs] (and a context) to [batch, outputs].

    Args:
        inputs: length of the vector.
        outputs: length of what is made of it.
        hidden: size of the hidden layers.
        layers: how many hidden layers.
        context: length of a context vector that is appended to the input, 0 for none.
        dropout: probability of dropping a hidden unit in training.
        zero_output: start with output 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int = 256,
        layers: int = 2,
        context: int = 0,
        dropout: float = 0.0,
        zero_output: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(hidden, dropout, context)
        self.context = context
        sizes = [inputs + context] + [hidden] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = dropout
        last = nn.Linear(sizes[-1], outputs)
        self.leave = zero(last) if zero_output else last

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """[batch, outputs] from [batch, inputs] and, if it was made with one, [batch, context]."""
        given = 0 if context is None else context.shape[-1] if context.ndim == 2 else -1
        if given != self.context:
            raise ShapeError(explain(
                f"a context [batch, {self.context}]" if self.context else "no context",
                "none" if context is None else f"one of shape {list(context.shape)}",
                "Make the model with context=... or classes=..., or leave the context out (data.unlabelled()).",
            ))  # fmt: skip
        h = x if context is None else torch.cat([x, context.to(x.dtype)], -1)
        layers = [*self.hidden, self.leave]
        if not (self.dropout and self.training) and all(map(bare, layers)):
            return Layers().of(h, layers)
        for layer in self.hidden:
            h = layer(h).relu_()
            h = nn.functional.dropout(h, self.dropout, self.training) if self.dropout else h
        return self.leave(h)

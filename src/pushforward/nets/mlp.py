"""Plain networks on vectors.

`MLP` is a field net: x, t and context in, something of x's shape out. Each layer is residual,

    h <- h + W2 SiLU(W1 norm(h) + c),       c = time(t) + context,

with the last matrix zero at the start. `Dense` is the conditioner a coupling transform asks for: a vector (and a
context) in, a vector of another length out, zero at the start so that the transform starts as the identity.
"""

import math

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time
from pushforward.nets.time import TimeEmbedding


class MLP(nn.Module):
    """A field net that sees an event as one vector; for points, tables and very small images.

    Args:
        shape: shape of one event.
        hidden: size of the hidden vectors.
        layers: how many residual layers.
        context: length of a context vector, 0 for none.
        classes: number of classes instead; index `classes` means "no class".

    >>> net = MLP((2,), hidden=32, layers=2)
    >>> net(torch.randn(5, 2), torch.rand(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, shape: tuple[int, ...], hidden: int = 256, layers: int = 4, context: int = 0, classes: int = 0
    ) -> None:
        super().__init__()
        if context and classes:
            raise ConfigError(explain("context or classes", "both", "Embed the classes in the context yourself."))
        self.shape, self.context, self.classes = tuple(shape), context, classes
        size = math.prod(self.shape)
        self.enter = nn.Linear(size, hidden)
        self.time = TimeEmbedding(hidden)
        self.label = nn.Embedding(classes + 1, hidden) if classes else None
        self.vector = nn.Linear(context, hidden) if context else None
        self.blocks = nn.ModuleList(Residual(hidden) for _ in range(layers))
        self.leave = nn.Linear(hidden, size)
        zero(self.leave)

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """The field at (x, t), [batch, *shape]."""
        if tuple(x.shape[1:]) != self.shape:
            raise ShapeError(explain(
                f"[batch, {', '.join(map(str, self.shape))}]", f"{list(x.shape)}", "Make the net with data.shape.",
            ))  # fmt: skip
        h = self.enter(x.flatten(1))
        c = self.time(t.expand(len(x)))
        if self.label is not None:
            c = c + (self.label.weight[self.classes] if context is None else self.label(context))
        elif self.vector is not None:
            c = c + self.vector(context)
        for block in self.blocks:
            h = block(h, c)
        return self.leave(nn.functional.silu(h)).reshape(x.shape)


class Residual(nn.Module):
    """h + W2 SiLU(W1 norm(h) + W3 c)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.first = nn.Linear(hidden, hidden)
        self.condition = nn.Linear(hidden, hidden)
        self.second = nn.Linear(hidden, hidden)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        return h + self.second(nn.functional.silu(self.first(self.norm(h)) + self.condition(c)))


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
        self.inputs, self.outputs, self.context = inputs, outputs, context
        sizes = [inputs + context] + [hidden] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.dropout = dropout
        self.leave = nn.Linear(sizes[-1], outputs)
        if zero_output:
            zero(self.leave)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """[batch, outputs] from [batch, inputs] and [batch, context]."""
        h = x if context is None or not self.context else torch.cat([x, context.to(x.dtype)], -1)
        for layer in self.hidden:
            h = nn.functional.relu(layer(h))
            h = nn.functional.dropout(h, self.dropout, self.training) if self.dropout else h
        return self.leave(h)


def zero(layer: nn.Linear) -> None:
    """Make a layer's output 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)

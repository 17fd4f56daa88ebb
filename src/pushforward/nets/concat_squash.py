"""The network of FFJORD: a small one, told the time at every layer by a gate and a shift.

    layer(h) = (W h + b) 4 sigmoid(U c + u) + V c + v,      c = (t, context),      SiLU between layers

Smooth, because a continuous flow differentiates it and a solver follows it; the last layer is zero at the start. Gates
start at 2, because SiLU halves small numbers: at a half, as published, with tanh, learning takes several times as many
steps.

References:
    Grathwohl et al. 2018, arXiv 1810.01367 (its code's "concatsquash").
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from pushforward._classes import unit_vectors
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time
from pushforward.nets.condition import check_event, zero
from pushforward.nets.sizes import check_sizes


class ConcatSquash(nn.Module):
    """A field net for continuous flows over points and tables.

    Args:
        shape: shape of one event.
        hidden: size of the hidden layers.
        layers: how many hidden layers.
        context: length of a context vector, 0 for none; leaving it out is a vector of zeros.
        classes: number of classes instead; index `classes` means "no class", as leaving the context out does.

    Raises:
        ConfigError: both classes and a context vector are asked for.

    >>> ConcatSquash((2,), hidden=8)(torch.randn(5, 2), torch.rand(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, shape: tuple[int, ...], hidden: int = 64, layers: int = 3, context: int = 0, classes: int = 0
    ) -> None:
        super().__init__()
        check_sizes(hidden, context=context)
        if classes and context:
            fix = "Append a one-hot vector of the class to the context yourself."
            raise ConfigError(explain("context or classes", f"{context=} and {classes=}", fix))
        self.shape, self.context, self.classes = tuple(shape), context, classes
        size = math.prod(self.shape)
        sizes = [size] + [hidden] * layers + [size]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.modulations = nn.ModuleList(nn.Linear(1 + (context or classes), 2 * b) for b in sizes[1:])
        last, modulation = self.layers[-1], self.modulations[-1]
        assert isinstance(last, nn.Linear)
        assert isinstance(modulation, nn.Linear)
        zero(last)
        with torch.no_grad():  # its shift
            modulation.weight[size:], modulation.bias[size:] = 0, 0

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """The field at (x, t), [batch, *shape]; times [batch] or one for all.

        The context is [batch, context], class indices [batch], or None.
        """
        check_event(x, t, self.shape)
        h, c = x.reshape(len(x), -1), self._told(x, t, context)
        for k, (layer, modulation) in enumerate(zip(self.layers, self.modulations, strict=True)):
            gate, shift = modulation(c).chunk(2, 1)
            h = layer(silu(h) if k else h) * (4 * torch.sigmoid(gate)) + shift
        return h.reshape(x.shape)

    def _told(self, x: Sample, t: Time, context: Context) -> Tensor:
        time = t.to(x.dtype).expand(len(x))[:, None]
        if context is None:
            return torch.cat([time, x.new_zeros(len(x), self.context or self.classes)], 1)
        if self.classes:
            return torch.cat([time, unit_vectors(context, self.classes).to(x.dtype)], 1)
        if context.ndim != 2 or context.shape[1] != self.context:
            fix = "Make the net with context=... or classes=..., or leave the context out."
            raise ShapeError(explain(f"a context [batch, {self.context}]", f"{list(context.shape)}", fix))
        return torch.cat([time, context.to(x.dtype)], 1)

"""The network of autoregressive flows: outputs for number i are a function of the numbers before it (MADE).

    h_1 = W_1 x + C_1 c          h_l = W_l a(h_{l-1}) + C_l c          out = W a(h)          a = activation

with entries of every W set to 0 so that no way leads from x_j to the outputs of i unless A[i, j]. With
residual layers, h <- h + W_2 a(W_1 a(h) + C_1 c) + C_2 c. All hidden layers share one assignment of sets to
units, sorted (`dependencies.py`), so that the masks are triangular in blocks and two things are cheap:

- a product: rows are cut into blocks, each reading only the columns it may see, about 5/8 of the dense product
  and of its weights (`staircase.py`);
- an inverse: a unit is computed once, when its set is known. `walk` hands out the outputs of a level, is sent
  the numbers of that level, and computes what has become known: all levels together cost one pass, where a
  pass for each level is usual.

References:
    Germain, Gregor, Murray, Larochelle 2015, arXiv 1502.03509 (MADE).
    Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057 (in flows).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context
from pushforward.nets.dependencies import dependencies, ranked
from pushforward.nets.known import Known
from pushforward.nets.sizes import check_sizes
from pushforward.nets.staircase import Staircases

Walk = Generator[Tensor, Tensor, None]
"""Yields the outputs of a level [batch, places, outputs], is sent that level's numbers [batch, places]."""


class MaskedDense(nn.Module):
    """A conditioner that is autoregressive: [batch, features] (and a context) to [batch, features, outputs].

    The outputs for a number depend on the numbers before it alone; on which, is told by an order, by how many
    passes the inverse needs, or by any graph.

    Args:
        features: numbers in an event.
        outputs: outputs for each.
        hidden: size of the hidden layers.
        layers: how many hidden layers; how many residual blocks of two if `residual`.
        order: which number stands at each place; their own order by default.
        passes: levels that become known at once; `features` by default, 2 is a coupling.
        adjacency: A[i, j] says that number i may depend on j, [features, features], instead of the two.
        context: length of a context vector every hidden layer is told, 0 for none.
        residual: blocks h + W a(W a(h)) behind the first layer.
        activation: a, of each unit alone.
        dropout: probability of dropping a hidden unit in training.
        zero_output: start with output 0: the flow starts as the identity.

    Raises:
        ConfigError: an impossible order, graph or number of passes, or too few units to tell every number.

    >>> net = MaskedDense(3, 2, hidden=16, zero_output=False)
    >>> x = torch.randn(1, 3)
    >>> (net(x)[:, 0] == net(x + 1)[:, 0]).all().item(), net(x).shape
    (True, torch.Size([1, 3, 2]))
    """

    order: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: int = 256,
        layers: int = 2,
        *,
        order: Tensor | Sequence[int] | None = None,
        passes: int | None = None,
        adjacency: Tensor | None = None,
        context: int = 0,
        residual: bool = False,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        dropout: float = 0.0,
        zero_output: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(hidden, dropout, context)
        if adjacency is not None and (order is not None or passes is not None):
            raise ConfigError(explain("an adjacency or an order", "both", "The adjacency says it all: leave them out."))
        graph = ranked(features, order, passes) if adjacency is None else adjacency
        if graph.shape != (features, features):
            fix = "Give a boolean square, A[i, j] for 'i depends on j'."
            raise ConfigError(explain(f"an adjacency {[features] * 2}", f"shape {list(graph.shape)}", fix))
        laid = dependencies(graph, hidden, blind=context > 0)
        self.register_buffer("order", laid.order)
        self.sizes, self.ready, self.outputs, self.length = laid.sizes, laid.ready, outputs, context
        self.residual, self.activation, self.dropout = residual, activation, dropout
        between, count = laid.feeds(laid.sets), 2 * layers if residual else layers - 1
        leave = laid.feeds(laid.rows).repeat_interleave(outputs, 0)
        self.products = Staircases([laid.sets, *[between] * count, leave], zero_output)
        self.context = nn.Linear(context, hidden * (1 + count), bias=False) if context else None

    @property
    def former(self) -> Mapping[str, Sequence[str]]:
        """The parts that earlier releases kept apart, by what they are now."""
        layers = ["enter", *(f"middle.{i}" for i in range(len(self.products.inputs) - 2)), "leave"]
        return {f"products.{what}": [f"{layer}.{what}" for layer in layers] for what in ("weight", "bias", "mask")}

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """[batch, features, outputs], features in the order of the event."""
        return self.placed(x.index_select(1, self.order), context).index_select(1, self.order.argsort())

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """The same with numbers and outputs in the order of their places, `order`."""
        told = self._told(context)
        y = self.products(x.T, told) if self._plain else self._by_layer(x.T, told)
        return y.view(x.shape[1], self.outputs, len(x)).permute(2, 0, 1)

    def walk(self, n: int, context: Context = None) -> Walk:
        """The outputs of each level in turn, [n, places, outputs], given the numbers of those before by `send`.

        Nothing is computed twice: all levels together cost the arithmetic of one call. No gradients flow.
        """
        known, unit, last = self._unknown(n, context), 0, len(self.products.inputs) - 1
        for level, ready in enumerate(self.ready):
            if ready > unit:
                self._learn(known, level)
            known.add(last, level)
            x = yield known.outputs[level]
            known.numbers[level].copy_(x.detach().T)
            unit = ready

    def _learn(self, known: Known, level: int) -> None:
        """The units of a level, whose numbers are known."""
        if self._plain:
            for i, hidden in enumerate(known.hidden):
                known.add(i, level)
                hidden[level].relu_()
            return

        def layer(i: int, a: Tensor) -> Tensor:
            known.hidden[i][level].copy_(a)
            known.add(i + 1, level)
            return known.hidden[i + 1][level]

        known.add(0, level)
        known.hidden[-1][level].copy_(self._through(known.hidden[0][level].clone(), layer))

    @property
    def _plain(self) -> bool:
        """Whether layers have ReLU between them and nothing else."""
        return self.activation is torch.relu and not self.residual and not (self.dropout and self.training)

    def _through(self, h: Tensor, layer: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The activated last hidden layer, from the first one before its activation."""
        t = h
        for i in range(len(self.products.inputs) - 2):
            t = layer(i, self._activated(t))
            if self.residual and i % 2:
                t = h = h + t
        return self._activated(t)

    def _activated(self, h: Tensor) -> Tensor:
        a = self.activation(h)
        return nn.functional.dropout(a, self.dropout, self.training) if self.dropout else a

    def _by_layer(self, x: Tensor, told: Tensor | None) -> Tensor:
        """[outputs, batch] of [inputs, batch], layer by layer."""
        first, *middle, last = self.products.each()
        parts = [0.0] * (1 + len(middle)) if told is None else told.chunk(1 + len(middle))
        return last(self._through(first(x) + parts[0], lambda i, a: middle[i](a) + parts[i + 1]))

    def _told(self, context: Context) -> Tensor | None:
        """What the context adds to the hidden layers, [units, batch]."""
        if context is None and not self.length:
            return None
        given = 0 if context is None else context.shape[-1] if context.ndim == 2 else -1
        if given != self.length:
            raise ShapeError(explain(
                f"a context [batch, {self.length}]" if self.length else "no context",
                "none" if context is None else f"one of shape {list(context.shape)}",
                "Make the network with context=..., or leave the context out.",
            ))  # fmt: skip
        if self.context is None or context is None:
            return None
        return nn.functional.linear(self.context.weight, context.to(self.context.weight.dtype))

    def _unknown(self, n: int, context: Context) -> Known:
        """What a walk over a batch of `n` starts from."""
        layers, told = self.products, self._told(context)
        weight, told = (layers.weight * layers.mask).detach(), None if told is None else told.detach()
        units = tuple(b - a for a, b in pairwise((0, *self.ready)))
        return Known(layers.product, weight, layers.bias.detach(), told, n, self.sizes, units)

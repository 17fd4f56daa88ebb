"""Products with matrices that are cut into blocks of rows, layer by layer, as one node of the graph.

    h_1 = (W_1 * mask_1) x + b_1          h_l = (W_l * mask_l) relu(h_{l-1}) + b_l

Row k of a layer sees its first columns alone, as many as its block is wide; blocks grow. Numbers lie along the batch: a
unit is a row, [units, batch], so a block's rows, its results and what it may see are each in one piece. Blocks are
multiplied straight into the rows of their results, ReLU and its derivative act in place, and gradients are multiplied
straight into one gradient, with no slices, paddings and sums between.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pushforward._derivatives import Fused, Tensors

Blocks = tuple[tuple[int, int], ...]
"""Rows and columns of each block of a layer."""

Views = Sequence[Sequence[Tensor]]
"""A tensor for each block of each layer."""


@dataclass(frozen=True)
class Blocked(Fused):
    """All layers, of x, weights, masks, biases and, if there is a context, what it adds."""

    layers: tuple[Blocks, ...]
    rows: tuple[int, ...] = field(init=False)  # of each layer
    sizes: tuple[int, ...] = field(init=False)  # of each block

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sum(rows for rows, _ in blocks) for blocks in self.layers))
        object.__setattr__(self, "sizes", tuple(rows * columns for blocks in self.layers for rows, columns in blocks))

    def plain(self, *inputs: Tensor) -> Tensors:
        a, weight, mask, bias, *told = inputs
        h = a
        for i, (blocks, offsets) in enumerate(zip(self.cut(weight * mask), self.offsets(bias, *told), strict=True)):
            a = h.relu() if i else h
            h = torch.cat([b + w @ a[: w.shape[1]] for b, w in zip(offsets, blocks, strict=True)])
        return (h,)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        a, weight, mask, bias, *told = inputs
        blocks, offsets, kept = self.ready(weight, mask, bias, *told)
        hidden: list[Tensor] = []
        for i, each in enumerate(zip(blocks, offsets, strict=True)):
            if i:
                hidden.append(a := a.relu_())
            a = _product(*each, a)
        return (a,), (*kept, *hidden)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, weight, mask, _, *told), (g,), rows = inputs, results, self.rows
        blocks, hidden = self.again(kept)
        pulled, entries = g.new_empty(sum(rows[:-1]), g.shape[1]), torch.empty_like(weight)
        grads, activations, outer = (*pulled.split_with_sizes(rows[:-1]), g), (x, *hidden), self.cut(entries)
        to_x = torch.empty_like(x) if needed[0] else None
        for i in reversed(range(len(rows))):
            parts = _rows(grads[i], self.layers[i])
            _outer(outer[i], parts, activations[i])
            if i:
                _pull(grads[i - 1], parts, blocks[i])
                _closed(grads[i - 1], activations[i], 0, grad_input=grads[i - 1])
            elif to_x is not None:
                _pull(to_x, parts, blocks[0])
        return to_x, entries.mul_(mask), None, torch.cat([pulled.sum(1), g.sum(1)]), *([pulled] if told else [])

    @abc.abstractmethod
    def ready(self, weight: Tensor, mask: Tensor, *added: Tensor) -> tuple[Views, Views, Tensors]:
        """Blocks and offsets of each layer, and what to keep of them for the gradients."""

    @abc.abstractmethod
    def again(self, kept: Tensors) -> tuple[Views, Tensors]:
        """The blocks of each layer and the hidden layers, of what was kept."""

    def cut(self, entries: Tensor) -> Views:
        """The blocks of each layer, as views."""
        parts = iter(entries[0].split_with_sizes(self.sizes))
        return [[next(parts).view(shape) for shape in blocks] for blocks in self.layers]

    def offsets(self, bias: Tensor, told: Tensor | None = None) -> Views:
        """What is added to each block of each layer, [units, 1 or batch]."""
        *hidden, last = bias[:, None].split_with_sizes(self.rows)
        if told is not None:
            hidden = [b + c for b, c in zip(hidden, told.split_with_sizes(self.rows[:-1]), strict=True)]
        return [_rows(each, blocks) for each, blocks in zip((*hidden, last), self.layers, strict=True)]


@dataclass(frozen=True)
class Products(Blocked):
    """Layers with any parameters, masked anew at each call."""

    def ready(self, weight: Tensor, mask: Tensor, *added: Tensor) -> tuple[Views, Views, Tensors]:
        entries = weight * mask
        return self.cut(entries), self.offsets(*added), (entries,)

    def again(self, kept: Tensors) -> tuple[Views, Tensors]:
        entries, *hidden = kept
        return self.cut(entries), tuple(hidden)


@dataclass(frozen=True, eq=False)
class Laid(Blocked):
    """Layers with parameters that lie still: masked into one place, whose blocks are looked up once.

    Twenty views cost what the product of 64 by 64 by 256 numbers does. Two calls at once write the same there.
    """

    weight: Tensor
    bias: Tensor
    addresses: tuple[int, int] = field(init=False)
    entries: tuple[Tensor, Tensor] = field(init=False)  # those of the parameter, and those masked
    views: tuple[Views, Views] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        with torch.inference_mode(False), torch.no_grad():
            entries = self.weight.detach(), torch.empty_like(self.weight)
            views = self.cut(entries[1]), self.offsets(self.bias.detach())
        for name, value in (("entries", entries), ("views", views), ("addresses", _addresses(self.weight, self.bias))):
            object.__setattr__(self, name, value)

    def holds(self, weight: Tensor, bias: Tensor) -> bool:
        """Whether these are the parameters, still where they were."""
        return weight is self.weight and bias is self.bias and _addresses(weight, bias) == self.addresses

    def ready(self, weight: Tensor, mask: Tensor, *added: Tensor) -> tuple[Views, Views, Tensors]:
        given, masked = self.entries
        torch.mul(given, mask, out=masked)
        blocks, offsets = self.views
        return blocks, offsets if len(added) == 1 else self.offsets(*added), ()

    def again(self, kept: Tensors) -> tuple[Views, Tensors]:
        return self.views[0], kept


def _addresses(weight: Tensor, bias: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), bias.data_ptr()


def _rows(h: Tensor, blocks: Blocks) -> Sequence[Tensor]:
    """The rows of each block."""
    return h.split_with_sizes([rows for rows, _ in blocks]) if len(blocks) > 1 else [h]


def _product(blocks: Sequence[Tensor], offsets: Sequence[Tensor], a: Tensor) -> Tensor:
    """W a + b."""
    if len(blocks) == 1:  # views cost what small products do
        return torch.addmm(offsets[0], blocks[0], a)
    found = a.new_empty(sum([len(w) for w in blocks]), a.shape[1])
    parts = found.split_with_sizes([len(w) for w in blocks])
    for b, w, part in zip(offsets, blocks, parts, strict=True):
        torch.addmm(b, w, _first(a, w.shape[1]), out=part)
    return found


_closed = torch.ops.aten.threshold_backward.grad_input
"""The gradient where ReLU was open."""


def _pull(found: Tensor, parts: Sequence[Tensor], blocks: Sequence[Tensor]) -> None:
    """W^T g into `found` [inputs, batch]: the widest block first, which is the last, the others added to it."""
    (*others, last), (*before, widest) = parts, blocks
    most = widest.shape[1]
    if most < len(found):
        found[most:] = 0
    torch.mm(widest.T, last, out=_first(found, most))
    for part, w in zip(others, before, strict=True):
        _first(found, w.shape[1]).addmm_(w.T, part)


def _outer(found: Sequence[Tensor], parts: Sequence[Tensor], a: Tensor) -> None:
    """g a^T, what of it is under the staircase, into `found`."""
    for part, w in zip(parts, found, strict=True):
        torch.mm(part, _first(a, w.shape[1]).T, out=w)


def _first(h: Tensor, count: int) -> Tensor:
    """The first rows."""
    return h if count == len(h) else h[:count]

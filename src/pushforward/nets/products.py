"""Products with matrices that are cut into blocks of rows, layer by layer, as one node of the graph.

    h_1 = (W_1 * mask_1) x + b_1          h_l = (W_l * mask_l) relu(h_{l-1}) + b_l

Row k of a layer sees its first columns alone, as many as its block is wide; blocks grow. Numbers lie along the batch: a
unit is a row, [units, batch], so a block's rows, its results and what it may see are each in one piece. Products are
added straight to the rows of their results, which hold the biases already, ReLU and its derivative act in place, and
gradients are multiplied straight into one gradient, with no slices, paddings and sums between.

`Products` takes any parameters and new memory for each call. Small ones on a CPU: `laid.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import linear

from pushforward._derivatives import Fused, Tensors, whole

Blocks = tuple[tuple[int, int], ...]
"""Rows and columns of each block of a layer."""

Views = Sequence[Tensor]
"""A tensor for each block of a layer."""


@dataclass(frozen=True)
class Blocked(Fused):
    """All layers, of x, weights, masks, biases and, if there is a context, what it adds to the hidden ones."""

    layers: tuple[Blocks, ...]
    rows: tuple[int, ...] = field(init=False)  # of each layer
    sizes: tuple[int, ...] = field(init=False)  # of each block

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sum(rows for rows, _ in blocks) for blocks in self.layers))
        object.__setattr__(self, "sizes", tuple(rows * columns for blocks in self.layers for rows, columns in blocks))

    def plain(self, *inputs: Tensor) -> Tensors:
        x, weight, mask, bias, *told = inputs
        offsets = self.offsets(bias)
        added = [*(b + c for b, c in zip(offsets, self.hidden(*told), strict=False)), offsets[-1]] if told else offsets
        weights = self.cut(weight * mask)
        return ((_along if whole() else _in_rows)(x, weights, added),)

    def cut(self, entries: Tensor) -> Sequence[Views]:
        """The blocks of each layer, as views."""
        parts = iter(entries[0].split_with_sizes(self.sizes))
        return [[next(parts).view(shape) for shape in blocks] for blocks in self.layers]

    def offsets(self, bias: Tensor) -> Views:
        """The biases of each layer, [units, 1]."""
        return bias[:, None].split_with_sizes(self.rows)

    def hidden(self, h: Tensor) -> Views:
        """Each hidden layer of all, [units, batch]."""
        return h.split_with_sizes(self.rows[:-1])

    def added(self, told: Tensor | None = None) -> Sequence[Tensor | None]:
        """What is added to each hidden layer."""
        return [None] * (len(self.rows) - 1) if told is None else self.hidden(told)

    def through(self, space: "Workspace", offsets: Views, x: Tensor, told: Tensor | None = None) -> Tensor:
        """The outputs for x, through hidden layers in `space`, whose weights are there."""
        seen = seen_of(x, self.layers[0])
        for i, (h, more) in enumerate(zip(space.layers, self.added(told), strict=True)):
            filled(h, offsets[i], more)
            _add(space.rows[i], space.weights[i], seen)
            h.relu_()
            seen = space.seen[i]
        y, weights = x.new_empty(self.rows[-1], x.shape[1]), space.weights[-1]
        _add(rows_of(filled(y, offsets[-1]), self.layers[-1]), weights, seen)
        return y

    def back(
        self, space: "Workspace", found: "Workspace", x: Tensor, g: Tensor, needed: Sequence[bool]
    ) -> Tensor | None:
        """The gradient of x, and those of weights and hidden layers in `found`, of those of the outputs."""
        rows, seen = [*found.rows, rows_of(g, self.layers[-1])], [seen_of(x, self.layers[0]), *space.seen]
        for i in range(len(rows) - 1, -1, -1):
            if needed[1]:
                _outer(found.weights[i], rows[i], seen[i])
            if i:
                h = found.layers[i - 1]
                _pull(h, found.seen[i - 1], rows[i], space.weights[i])
                _closed(h, space.layers[i - 1], 0, grad_input=h)
        if not needed[0]:
            return None
        to_x = torch.empty_like(x)
        _pull(to_x, seen_of(to_x, self.layers[0]), rows[0], space.weights[0])
        return to_x


@dataclass(frozen=True)
class Products(Blocked):
    """Layers with any parameters."""

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, weight, mask, bias, *told = inputs
        space = Workspace(self, weight * mask, x.new_empty(sum(self.rows[:-1]), x.shape[1]))
        return (self.through(space, self.offsets(bias), x, *told),), (space.entries, space.hidden)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, _, mask, _, *told), (g,) = inputs, results
        found = Workspace(self, *[torch.empty_like(each) for each in kept])
        to_x = self.back(Workspace(self, *kept), found, x, g, needed)
        to_weight = found.entries.mul_(mask) if needed[1] else None
        return to_x, to_weight, None, torch.cat([found.hidden.sum(1), g.sum(1)]), *([found.hidden] if told else [])


class Workspace:
    """Masked weights and hidden layers, of a call or of its gradients, and views of all their blocks.

    Of each layer: its weights block by block; of each hidden one: itself, its rows block by block, and the rows that
    each block of the next layer sees.
    """

    __slots__ = ("entries", "hidden", "layers", "rows", "seen", "weights")

    def __init__(self, product: Blocked, entries: Tensor, hidden: Tensor):
        self.entries, self.hidden = entries, hidden
        self.weights = product.cut(entries)
        self.layers = product.hidden(hidden)
        self.rows = [rows_of(h, blocks) for h, blocks in zip(self.layers, product.layers[:-1], strict=True)]
        self.seen = [seen_of(h, blocks) for h, blocks in zip(self.layers, product.layers[1:], strict=True)]


_closed = torch.ops.aten.threshold_backward.grad_input
"""The gradient where ReLU was open."""


def rows_of(h: Tensor, blocks: Blocks) -> Views:
    """The rows of each block."""
    return h.split_with_sizes([rows for rows, _ in blocks]) if len(blocks) > 1 else [h]


def seen_of(h: Tensor, blocks: Blocks) -> Views:
    """The rows that each block of the next layer sees, the first ones."""
    return [h if columns == len(h) else h[:columns] for _, columns in blocks]


def filled(h: Tensor, offset: Tensor, more: Tensor | None = None) -> Tensor:
    """A layer that holds its biases and what a context adds."""
    return h.copy_(offset) if more is None else torch.add(offset, more, out=h)


def _along(h: Tensor, weights: Sequence[Views], added: Views) -> Tensor:
    """The last layer [units, batch] in a compiled graph."""
    for i, (blocks, offset) in enumerate(zip(weights, added, strict=True)):
        a = h.relu() if i else h
        h = offset + torch.cat([w @ a[: w.shape[1]] for w in blocks])
    return h


def _in_rows(x: Tensor, weights: Sequence[Views], added: Views) -> Tensor:
    """The same by operations that make one product of all that `torch.vmap` stacks."""
    h = x.T.clone(memory_format=torch.contiguous_format)  # one sample may have any strides, and a stack of them not
    for i, (blocks, offset) in enumerate(zip(weights, added, strict=True)):
        a = h.relu() if i else h
        h = offset.T + torch.cat([linear(a[:, : w.shape[1]], w) for w in blocks], 1)
    return h.T


def _add(rows: Views, weights: Views, seen: Views) -> None:
    """W a, added to the rows."""
    for part, w, a in zip(rows, weights, seen, strict=True):
        part.addmm_(w, a)


def _outer(found: Views, rows: Views, seen: Views) -> None:
    """g a^T, what of it is under the staircase, into `found`."""
    for w, part, a in zip(found, rows, seen, strict=True):
        torch.mm(part, a.T, out=w)


def _pull(found: Tensor, seen: Views, rows: Views, weights: Views) -> None:
    """W^T g into `found` [inputs, batch]: the widest block first, which is the last, the others added to it."""
    widest = seen[-1]
    if len(widest) < len(found):
        found[len(widest) :] = 0
    torch.mm(weights[-1].T, rows[-1], out=widest)
    for part, w, g in zip(seen[:-1], weights[:-1], rows[:-1], strict=True):
        part.addmm_(w.T, g)

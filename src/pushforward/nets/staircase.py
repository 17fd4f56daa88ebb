"""Products with matrices whose zeros make staircases, one after the other, at the price of what is under them.

    h_1 = (W_1 * mask_1) x + b_1          h_l = (W_l * mask_l) relu(h_{l-1}) + b_l

with rows sorted: row i sees columns 0 .. reach(i) at most, reach growing. Rows are cut into blocks, each as wide as
what its rows may see, about 5/8 of the dense product with four. All blocks of all layers stand in one parameter of one
row (as a matrix, which weight decay goes by) and their biases in another, so an optimizer meets two tensors a network.

Numbers lie along the batch: a unit is a row, [units, batch], so a block's rows, its results and what it may see are
each in one piece. All layers are one node of the graph: blocks are multiplied straight into the rows of their results,
ReLU and its derivative act in place, and gradients are multiplied straight into one gradient, with no slices, paddings
and sums between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward._derivatives import Fused, Tensors

Blocks = tuple[tuple[int, int], ...]
"""Rows and columns of each block of a layer."""


class Staircases(nn.Module):
    """Layers x -> W x + b, each with W zero where its mask says so, for masks that are triangular in blocks.

    Args:
        masks: for each layer, which inputs each output may see, boolean [outputs, inputs], sorted.
        zero_output: start with output 0. Otherwise weights and biases start uniform, by how many inputs are seen.
    """

    mask: Tensor

    def __init__(self, masks: Sequence[Tensor], zero_output: bool = False) -> None:
        super().__init__()
        parts, weights, biases = list[list[Tensor]](), list[Tensor](), list[Tensor]()
        for i, mask in enumerate(masks):
            zero, edges = zero_output and i == len(masks) - 1, _edges(*mask.shape)
            parts.append([_reached(mask[low:high]) for low, high in pairwise(edges)] if len(edges) > 2 else [mask])
            weights += [_start(part, part.shape[1], zero).flatten() for part in parts[-1]]
            biases.append(_start(mask, 1, zero).squeeze(1))
        self.product = Products(tuple(tuple((len(part), part.shape[1]) for part in each) for each in parts))
        self.inputs = tuple(mask.shape[1] for mask in masks)
        self.weight, self.bias = nn.Parameter(torch.cat(weights)[None]), nn.Parameter(torch.cat(biases))
        # 0 or 1: whole in any precision
        entries = torch.cat([part.flatten() for each in parts for part in each])
        self.register_buffer("mask", entries[None].to(self.bias.dtype))

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """[outputs, batch] of [inputs, batch], with ReLU between; `told` [units, batch] adds to the hidden layers."""
        return self.product(x, self.weight, self.mask, self.bias, *(() if told is None else (told,)))[0]

    def each(self) -> list["Layer"]:
        """The layers one by one."""
        singles = [Products((blocks,)) for blocks in self.product.layers]
        sizes = [sum(each.sizes) for each in singles]
        weights, masks, biases = (
            self.weight.split(sizes, 1),
            self.mask.split(sizes, 1),
            self.bias.split_with_sizes(self.product.rows),
        )
        return [Layer(*each) for each in zip(singles, self.inputs, weights, masks, biases, strict=True)]


@dataclass(frozen=True)
class Layer:
    """One product: its blocks, how many inputs it has, and its part of the parameters."""

    product: "Products"
    inputs: int
    weight: Tensor
    mask: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[outputs, batch] of [inputs, batch]."""
        return self.product(x, self.weight, self.mask, self.bias)[0]

    def dense(self) -> Tensor:
        """W in one piece, [outputs, inputs]."""
        (blocks,) = self.product.cut(self.weight * self.mask)
        return torch.cat([nn.functional.pad(w, (0, self.inputs - w.shape[1])) for w in blocks])


@dataclass(frozen=True)
class Products(Fused):
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
        for i, (blocks, offset) in enumerate(zip(self.cut(weight * mask), self._offsets(bias, *told), strict=True)):
            a = h.relu() if i else h
            h = torch.cat([w @ a[: w.shape[1]] for w in blocks]) + offset
        return (h,)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        a, weight, mask, bias, *told = inputs
        masked, heights, batch = weight * mask, self.rows, a.shape[1]
        hidden, y = a.new_empty(sum(heights[:-1]), batch), a.new_empty(heights[-1], batch)
        layers = (*hidden.split_with_sizes(heights[:-1]), y)
        offsets = self._offsets(bias, *told)
        for h, shapes, blocks, offset in zip(layers, self.layers, self.cut(masked), offsets, strict=True):
            if len(blocks) == 1:  # views cost what small products do
                torch.addmm(offset, blocks[0], a, out=h)
            else:
                sizes = [rows for rows, _ in shapes]
                parts = zip(offset.split_with_sizes(sizes), blocks, h.split_with_sizes(sizes), shapes, strict=True)
                for b, w, part, (_, columns) in parts:
                    torch.addmm(b, w, a[:columns], out=part)
            a = h if h is y else h.relu_()
        return (y,), (masked, hidden)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, _, mask, _, *told), (masked, hidden), (g,), rows = inputs, kept, results, self.rows
        pulled, entries = torch.empty_like(hidden), torch.empty_like(masked)
        grads = *pulled.split_with_sizes(rows[:-1]), g
        activations = x, *hidden.split_with_sizes(rows[:-1])
        blocks, outer = self.cut(masked), self.cut(entries)
        for i in reversed(range(len(rows))):
            _outer(outer[i], grads[i], activations[i], self.layers[i])
            if i:
                _pull(grads[i - 1], grads[i], blocks[i], self.layers[i])
                _closed(grads[i - 1], activations[i], 0, grad_input=grads[i - 1])
        to_x = _pull(torch.empty_like(x), grads[0], blocks[0], self.layers[0]) if needed[0] else None
        return to_x, entries.mul_(mask), None, torch.cat([pulled.sum(1), g.sum(1)]), *([pulled] if told else [])

    def cut(self, entries: Tensor) -> list[list[Tensor]]:
        """The blocks of each layer, as views."""
        parts = iter(entries[0].split_with_sizes(self.sizes))
        return [[next(parts).view(shape) for shape in blocks] for blocks in self.layers]

    def _offsets(self, bias: Tensor, told: Tensor | None = None) -> Sequence[Tensor]:
        """What is added to each layer, [units, 1 or batch]."""
        *hidden, last = bias[:, None].split_with_sizes(self.rows)
        if told is not None:
            hidden = [b + c for b, c in zip(hidden, told.split_with_sizes(self.rows[:-1]), strict=True)]
        return *hidden, last


_closed = torch.ops.aten.threshold_backward.grad_input
"""The gradient where ReLU was open."""


def _pull(found: Tensor, g: Tensor, blocks: list[Tensor], shapes: Blocks) -> Tensor:
    """W^T g into `found` [inputs, batch]: the widest block first, the others added to it."""
    if len(blocks) == 1:
        return torch.mm(blocks[0].T, g, out=found)
    parts = zip(g.split_with_sizes([rows for rows, _ in shapes]), blocks, shapes, strict=True)
    (part, w, (_, most)), *others = sorted(parts, key=lambda each: -each[2][1])
    found[most:] = 0
    torch.mm(w.T, part, out=found[:most])
    for part, w, (_, columns) in others:
        found[:columns].addmm_(w.T, part)
    return found


def _outer(found: list[Tensor], g: Tensor, a: Tensor, shapes: Blocks) -> None:
    """g a^T, what of it is under the staircase, into `found`."""
    if len(found) == 1:
        torch.mm(g, a.T, out=found[0])
        return
    for part, w, (_, columns) in zip(g.split_with_sizes([rows for rows, _ in shapes]), found, shapes, strict=True):
        torch.mm(part, a[:columns].T, out=w)


def _edges(outputs: int, inputs: int) -> list[int]:
    """Where blocks of rows begin and end."""
    blocks = max(1, min(4, min(outputs, inputs) // 64))
    return [outputs * k // blocks for k in range(blocks + 1)]


def _reached(mask: Tensor) -> Tensor:
    """The columns up to the last one that any row sees."""
    return mask[:, : int((mask.any(0) * torch.arange(1, mask.shape[1] + 1)).max())].clone()


def _start(mask: Tensor, columns: int, zero_output: bool) -> Tensor:
    """Uniform on 1 / sqrt(inputs seen) for each row, [rows, columns]; or zeros."""
    bound = 0.0 if zero_output else mask.sum(1, keepdim=True).clamp_min(1).rsqrt()
    return (2 * torch.rand(len(mask), columns) - 1) * bound

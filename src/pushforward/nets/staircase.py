"""A product with a matrix whose zeros make a staircase, at the price of what is under it.

    y = (W * mask) x + b            rows sorted: row i sees columns 0 .. reach(i) at most, reach growing

Rows are cut into blocks, each as wide as what its rows may see, about 5/8 of the dense product with four. All blocks
stand in one parameter of one row (as a matrix, which weight decay goes by), so an optimizer meets one tensor a layer.

Where one derivative is wanted and no more, the product is one node of the graph: blocks are multiplied straight into
the rows of one result, and their gradients straight into one gradient, with no slices, paddings and sums between.
Under `torch.func`, forward mode, `torch.compile`, autocast and for derivatives of derivatives the same is said in plain
operations.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed

Shapes = tuple[tuple[int, int], ...]
"""Rows and columns of each block."""


class MaskedLinear(nn.Module):
    """W x + b with W zero where `mask` says so, for masks that are triangular in blocks.

    Args:
        mask: which inputs each output may see, boolean [outputs, inputs], sorted.
        zero_output: start with output 0. Otherwise weights and biases start uniform, by how many inputs are seen.
        along: results [batch, outputs] lie in memory with the samples of an output side by side, where that is free:
            for what treats each of many outputs alike.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, zero_output: bool = False, along: bool = False) -> None:
        super().__init__()
        self.along = along
        outputs, self.inputs = mask.shape
        edges = _edges(outputs, self.inputs)
        parts = [_reached(mask[low:high]) for low, high in pairwise(edges)] if len(edges) > 2 else [mask]
        self.shapes: Shapes = tuple((len(part), part.shape[1]) for part in parts)
        self.weight = nn.Parameter(_together([_start(part, part.shape[1], zero_output) for part in parts]))
        self.bias = nn.Parameter(_start(mask, 1, zero_output).squeeze(1))
        self.register_buffer("mask", _together(parts).to(self.bias.dtype))  # 0 or 1: whole in any precision

    def masked(self) -> list[Tensor]:
        """The blocks of W, each [rows, what they may see]."""
        return _blocks(self.weight * self.mask, self.shapes)

    def dense(self) -> Tensor:
        """W in one piece, [outputs, inputs]."""
        return torch.cat([nn.functional.pad(w, (0, self.inputs - w.shape[1])) for w in self.masked()])

    def forward(self, x: Tensor) -> Tensor:
        """[batch, outputs] of [batch, inputs]."""
        if len(self.shapes) == 1:
            return nn.functional.linear(x, self.weight * self.mask, self.bias)
        if torch.compiler.is_compiling() or transformed() or torch.is_autocast_enabled(x.device.type):
            return _product(x, self.masked(), self.bias)
        return _Staircase.apply(x, self.weight, self.mask, self.bias, self.shapes, self.along)  # pyright: ignore[reportReturnType]


class _Staircase(torch.autograd.Function):
    """The product as one node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor, shapes: Shapes, along: bool) -> Tensor:
        masked = weight * mask
        ctx.save_for_backward(x, weight, masked, mask)
        ctx.shapes = shapes
        rows = [each[0] for each in shapes]
        y = x.new_empty(len(bias), len(x)).T if along else x.new_empty(len(x), len(bias))
        for (_, columns), w, b, part in zip(
            shapes, _blocks(masked, shapes), bias.split_with_sizes(rows), y.split_with_sizes(rows, 1)
        ):
            torch.addmm(b, x[:, :columns], w.T, out=part)
        return y

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (g,), (x, weight, masked, mask), shapes = grad_outputs, ctx.saved_tensors, ctx.shapes
        to_x, to_weight, _, to_bias, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled() or transformed():
            blocks = _blocks(weight * mask, shapes)
            grad_x = _pull(g, blocks, x.shape[1]) if to_x else None
            grad_weight = _outer(g, x, shapes) * mask if to_weight else None
        else:
            grad_x = _pull_into(torch.empty_like(x), g, _blocks(masked, shapes)) if to_x else None
            grad_weight = _outer_into(torch.empty_like(weight), g, x, shapes).mul_(mask) if to_weight else None
        return grad_x, grad_weight, None, g.sum(0) if to_bias else None, None, None


def _product(x: Tensor, blocks: list[Tensor], bias: Tensor) -> Tensor:
    biases = bias.split_with_sizes([len(block) for block in blocks])
    pairs = zip(blocks, biases, strict=True)
    return torch.cat([nn.functional.linear(x[:, : block.shape[1]], block, each) for block, each in pairs], 1)


def _pull(g: Tensor, blocks: list[Tensor], inputs: int) -> Tensor:
    """g W, block by block, [batch, inputs]."""
    parts = g.split_with_sizes([len(block) for block in blocks], 1)
    each = [nn.functional.pad(part @ w, (0, inputs - w.shape[1])) for part, w in zip(parts, blocks, strict=True)]
    return torch.stack(each).sum(0)


def _outer(g: Tensor, x: Tensor, shapes: Shapes) -> Tensor:
    """g^T x, what of it is under the staircase, [1, entries]."""
    parts = g.split_with_sizes([rows for rows, _ in shapes], 1)
    each = [part.T @ x[:, :columns] for part, (_, columns) in zip(parts, shapes, strict=True)]
    return _together(each)


def _pull_into(found: Tensor, g: Tensor, blocks: list[Tensor]) -> Tensor:
    """`_pull`, written into `found`: the widest block first, the others added to it."""
    parts = zip(g.split_with_sizes([len(block) for block in blocks], 1), blocks, strict=True)
    (part, w), *others = sorted(parts, key=lambda pair: -pair[1].shape[1])
    found[:, w.shape[1] :] = 0
    torch.mm(part, w, out=found[:, : w.shape[1]])
    for part, w in others:
        found[:, : w.shape[1]].addmm_(part, w)
    return found


def _outer_into(found: Tensor, g: Tensor, x: Tensor, shapes: Shapes) -> Tensor:
    """`_outer`, written into `found`."""
    parts = g.split_with_sizes([rows for rows, _ in shapes], 1)
    for part, block in zip(parts, _blocks(found, shapes), strict=True):
        torch.mm(part.T, x[:, : block.shape[1]], out=block)
    return found


def _together(blocks: list[Tensor]) -> Tensor:
    """One block as it is, several as one row, [1, entries]."""
    return blocks[0] if len(blocks) == 1 else torch.cat([block.flatten() for block in blocks])[None]


def _blocks(entries: Tensor, shapes: Shapes) -> list[Tensor]:
    """What `_together` was given, as views."""
    if len(shapes) == 1:
        return [entries]
    parts = entries[0].split_with_sizes([rows * columns for rows, columns in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


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

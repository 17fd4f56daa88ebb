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

from pushforward.nets.derivatives import transformed

Shapes = tuple[tuple[int, int], ...]
"""Rows and columns of each block."""


class MaskedLinear(nn.Module):
    """W x + b with W zero where `mask` says so, for masks that are triangular in blocks.

    Args:
        mask: which inputs each output may see, boolean [outputs, inputs], sorted.
        zero_output: start with output 0. Otherwise weights and biases start uniform, by how many inputs are seen.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, zero_output: bool = False) -> None:
        super().__init__()
        outputs, self.inputs = mask.shape
        parts = [_reached(mask[low:high]) for low, high in pairwise(_edges(outputs, self.inputs))]
        self.shapes: Shapes = tuple((len(part), part.shape[1]) for part in parts)
        starts = [_start(part, part.shape[1], zero_output) for part in parts]
        self.weight = nn.Parameter(torch.cat([start.flatten() for start in starts])[None])
        self.bias = nn.Parameter(_start(mask, 1, zero_output).squeeze(1))
        flat = torch.cat([part.flatten() for part in parts])[None]
        self.register_buffer("mask", flat.to(self.bias.dtype))  # 0 or 1: whole in any precision

    def masked(self) -> list[Tensor]:
        """The blocks of W, each [rows, what they may see]."""
        return _blocks(self.weight * self.mask, self.shapes)

    def dense(self) -> Tensor:
        """W in one piece, [outputs, inputs]."""
        return torch.cat([nn.functional.pad(w, (0, self.inputs - w.shape[1])) for w in self.masked()])

    def forward(self, x: Tensor) -> Tensor:
        """[batch, outputs] of [batch, inputs]."""
        if torch.compiler.is_compiling() or transformed() or torch.is_autocast_enabled(x.device.type):
            return _product(x, self.masked(), self.bias)
        found: Tensor = _Staircase.apply(x, self.weight, self.mask, self.bias, self.shapes)  # pyright: ignore[reportAssignmentType]
        return found


class _Staircase(torch.autograd.Function):
    """The product as one node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor, shapes: Shapes) -> Tensor:
        masked = weight * mask
        ctx.save_for_backward(x, weight, masked, mask)
        ctx.shapes = shapes
        y, low = x.new_empty(len(x), len(bias)), 0
        for block in _blocks(masked, shapes):
            high = low + len(block)
            torch.addmm(bias[low:high], x[:, : block.shape[1]], block.T, out=y[:, low:high])
            low = high
        return y

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, Tensor | None, None]:
        (g,), (x, weight, masked, mask) = grad_outputs, ctx.saved_tensors
        wanted_x, wanted_weight, _, wanted_bias, _ = ctx.needs_input_grad
        if torch.is_grad_enabled() or transformed():
            blocks = _blocks(weight * mask, ctx.shapes)
            return (
                _pull(g, blocks, x.shape[1]) if wanted_x else None,
                _outer(g, x, ctx.shapes) * mask if wanted_weight else None,
                None,
                g.sum(0) if wanted_bias else None,
                None,
            )
        return (
            _pull_into(x.new_empty(x.shape), g, _blocks(masked, ctx.shapes)) if wanted_x else None,
            _outer_into(torch.empty_like(weight), g, x, ctx.shapes).mul_(mask) if wanted_weight else None,
            None,
            g.sum(0) if wanted_bias else None,
            None,
        )


def _product(x: Tensor, blocks: list[Tensor], bias: Tensor) -> Tensor:
    biases = bias.split([len(block) for block in blocks])
    pairs = zip(blocks, biases, strict=True)
    parts = [nn.functional.linear(x[:, : block.shape[1]], block, each) for block, each in pairs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _pull(g: Tensor, blocks: list[Tensor], inputs: int) -> Tensor:
    """g W, block by block, [batch, inputs]."""
    parts = g.split([len(block) for block in blocks], 1)
    each = [nn.functional.pad(part @ w, (0, inputs - w.shape[1])) for part, w in zip(parts, blocks, strict=True)]
    return torch.stack(each).sum(0)


def _outer(g: Tensor, x: Tensor, shapes: Shapes) -> Tensor:
    """g^T x, what of it is under the staircase, [1, entries]."""
    parts = g.split([rows for rows, _ in shapes], 1)
    each = [part.T @ x[:, :columns] for part, (_, columns) in zip(parts, shapes, strict=True)]
    return torch.cat([part.flatten() for part in each])[None]


def _pull_into(found: Tensor, g: Tensor, blocks: list[Tensor]) -> Tensor:
    """`_pull`, written into `found`: the widest block first, the others added to it."""
    parts = zip(g.split([len(block) for block in blocks], 1), blocks, strict=True)
    (part, w), *others = sorted(parts, key=lambda pair: -pair[1].shape[1])
    found[:, w.shape[1] :] = 0
    torch.mm(part, w, out=found[:, : w.shape[1]])
    for part, w in others:
        found[:, : w.shape[1]].addmm_(part, w)
    return found


def _outer_into(found: Tensor, g: Tensor, x: Tensor, shapes: Shapes) -> Tensor:
    """`_outer`, written into `found`."""
    parts = g.split([rows for rows, _ in shapes], 1)
    for part, block in zip(parts, _blocks(found, shapes), strict=True):
        torch.mm(part.T, x[:, : block.shape[1]], out=block)
    return found


def _blocks(flat: Tensor, shapes: Shapes) -> list[Tensor]:
    """Blocks [rows, columns] of the entries of all, [1, entries]: views."""
    parts = flat[0].split([rows * columns for rows, columns in shapes])
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

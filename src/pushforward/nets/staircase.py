"""Products with matrices whose zeros make staircases, one after the other, at the price of what is under them.

    h_1 = (W_1 * mask_1) x + b_1          h_l = (W_l * mask_l) relu(h_{l-1}) + b_l

with rows sorted: row i sees columns 0 .. reach(i) at most, reach growing. Rows are cut into blocks, each as wide as
what its rows may see, about 5/8 of the dense product with four. All blocks of all layers stand in one parameter of one
row (as a matrix, which weight decay goes by) and their biases in another, so an optimizer meets two tensors a network.

How they are multiplied: `products.py`, and `laid.py` for small ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward.nets.laid import LARGEST, Laid
from pushforward.nets.products import Blocked, Products


class Staircases(nn.Module):
    """Layers x -> W x + b, each with W zero where its mask says so, for masks that are triangular in blocks.

    Args:
        masks: for each layer, which inputs each output may see, boolean [outputs, inputs], sorted.
        zero_output: start with output 0. Otherwise weights and biases start uniform, by how many inputs are seen.
    """

    mask: Tensor
    _laid: Laid | None = None

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
        weight, bias = self.weight, self.bias
        return self._product(x, weight, bias)(x, weight, self.mask, bias, *(() if told is None else (told,)))[0]

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Blocked:
        """All layers; small ones on a CPU as they lie there, looked up again when parameters are exchanged or moved."""
        laid = self._laid
        if torch.compiler.is_compiling() or transformed():
            return self.product
        if type(weight) is not nn.Parameter or not weight.is_cpu:
            self._laid = None
            return self.product
        if type(x) is not Tensor or x.shape[1] * sum(self.product.rows[:-1]) > LARGEST:
            return self.product
        if laid is None or not laid.holds(weight, bias):
            self._laid = laid = Laid(self.product.layers, weight, bias)
        return laid

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_laid": None}

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

    product: Blocked
    inputs: int
    weight: Tensor
    mask: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[outputs, batch] of [inputs, batch]."""
        return self.product(x, self.weight, self.mask, self.bias)[0]


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

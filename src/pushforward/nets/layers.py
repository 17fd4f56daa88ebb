"""Dense layers with ReLU between as one node of the graph, whose last result lies along the batch.

    h_1 = W_1 x + b_1          h_l = W_l relu(h_{l-1}) + b_l

ReLU and its derivative act in place, and the last product is made the other way round, so that its rows are outputs:
maps of single numbers read their parameters there without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pushforward._derivatives import Fused, Tensors, whole

NARROW = 8
"""Inputs up to which MKL takes up to three times as long along a batch of 1,024 or more as in rows."""


@dataclass(frozen=True)
class Layers(Fused):
    """The last layer [batch, outputs] of x [batch, inputs] and W_1, b_1, W_2, b_2 and so on."""

    def of(self, x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        """The last of these layers, all of them `bare`."""
        parameters = (each for layer in layers for each in layer._parameters.values() if each is not None)
        return self(x, *parameters)[0]

    def plain(self, *inputs: Tensor) -> Tensors:
        return ((_along if whole() else _in_rows)(*inputs),)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        a, *parameters, w, b = inputs
        hidden: list[Tensor] = []
        for i in range(0, len(parameters), 2):
            a = linear(a, *parameters[i : i + 2]).relu_()
            hidden.append(a)
        return (torch.addmm(b[:, None], w, a.T).T,), tuple(hidden)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (x, *parameters), (g,) = inputs, results
        found: list[Tensor | None] = []
        for i, a in reversed([*enumerate((x, *kept))]):
            found += [g.sum(0) if needed[2 * i + 2] else None, torch.mm(g.T, a) if needed[2 * i + 1] else None]
            if i or needed[0]:
                g = torch.mm(g, parameters[2 * i])
            if i:
                _closed(g, a, 0, grad_input=g)
        return g if needed[0] else None, *reversed(found)


def _in_rows(a: Tensor, *parameters: Tensor) -> Tensor:
    """The last layer by operations that make one product of all that `torch.vmap` stacks."""
    for i in range(0, len(parameters), 2):
        a = linear(a.relu() if i else a, *parameters[i : i + 2])
    return a


def _along(x: Tensor, *parameters: Tensor) -> Tensor:
    """The last layer in a compiled graph, all layers along the batch, so that gradients lie as the layers do.

    But for a narrow first one in rows, where there are no gradients.
    """
    w, b, *others = parameters
    a = _sum(x, w.T, b).T if x.shape[1] <= NARROW and not torch.is_grad_enabled() else _sum(w, x.T, b[:, None])
    for i in range(0, len(others), 2):
        w, b = others[i : i + 2]
        a = _sum(w, a.relu(), b[:, None])
    return a.T


def _sum(left: Tensor, right: Tensor, b: Tensor) -> Tensor:
    """A product and a bias, added in the pass of what follows: the compiler would have BLAS copy it to all rows."""
    product = left @ right
    if product.dtype != b.dtype:  # autocast, which casts the bias of one operation alone
        return torch.addmm(b, left, right)
    return (product[None] + b).squeeze(0)


def bare(layer: nn.Module) -> bool:
    """Whether a layer is a product and a bias and no more: nobody has wrapped it, or listens to its calls."""
    heard = layer._forward_hooks or layer._forward_pre_hooks
    whole = [*layer._parameters] == _BOTH and layer._parameters["bias"] is not None
    return type(layer) is nn.Linear and whole and not heard


_BOTH = ["weight", "bias"]

_closed = torch.ops.aten.threshold_backward.grad_input
"""The gradient where ReLU was open."""

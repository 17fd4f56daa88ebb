"""Gradients through a solver without keeping the network's insides of every step.

Training by likelihood differentiates through a whole solve. Kept as it is, the graph of every call of the field stays
in memory until the backward pass: all activations, times the products of the divergence, times the steps. A
checkpointed call keeps its arguments, one state, and is computed again when its turn comes: two calls for one, and the
exact gradient of the discrete solve. (`Retraced` and `Adjoint` keep no states either, however many steps there are.)

A network with dropout would drop others the second time; a density has none.

References:
    Griewank, Walther 2000 (checkpointing).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import transformed
from pushforward._typing import Sample, Time
from pushforward.solvers.divergence import Divergence, Exact, Trace
from pushforward.solvers.state import Field

_Made = Callable[..., Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Checkpointed(Trace):
    """Another trace, whose calls are computed again for gradients instead of kept.

    Args:
        trace: how the divergence is computed.

    >>> rate, x = torch.ones(2, requires_grad=True), torch.tensor([[1.0, 2.0]])
    >>> both = Checkpointed(Exact()).of(lambda x, t: rate * x.square(), x, weights=[rate])
    >>> both(x, torch.zeros(1))[1]
    tensor([[6.]], grad_fn=...)
    """

    trace: Trace = Exact()

    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        inner = self.trace.of(field, x, first)

        def both(x: Sample, t: Time) -> tuple[Sample, Tensor]:
            if transformed() or torch.compiler.is_compiling():
                return inner(x, t)
            return _Call.apply(inner, 2, x, t, *weights)  # pyright: ignore[reportReturnType]

        return both

    def columns(self, size: int) -> int:
        return self.trace.columns(size)


class _Call(torch.autograd.Function):
    """made(*given), a function of weights too; its gradients are such a call again where they are to have their own."""

    @staticmethod
    def forward(ctx: Any, made: _Made, given: int, *inputs: Tensor) -> Sequence[Tensor]:
        kind = inputs[0].device.type
        ctx.made, ctx.given = made, given
        ctx.precision = torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))
        ctx.save_for_backward(*inputs)
        return made(*inputs[:given])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, weights, wants = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :], ctx.needs_input_grad[2:]
        pulled = partial(_pulled, ctx.made, ctx.precision, ctx.given, weights, wants)
        told = (*given, *grad_outputs)
        found = _Call.apply(pulled, len(told), *told, *weights) if torch.is_grad_enabled() else pulled(*told)
        each = iter(found)  # pyright: ignore[reportArgumentType]
        return None, None, *(next(each) if want else None for want in wants)


def _pulled(
    made: _Made,
    precision: torch.autocast,
    given: int,
    weights: Sequence[Tensor],
    wants: Sequence[bool],
    *told: Tensor,
) -> Sequence[Tensor]:
    """The gradients of made(*told[:given]), and by the weights, of those of its results, which follow in `told`."""
    again = torch.is_grad_enabled()
    at = [x.view_as(x) if again else x.detach().requires_grad_(want) for x, want in zip(told[:given], wants)]
    with torch.enable_grad(), precision:
        results = made(*at)
    wanted = [each for each, want in zip([*at, *weights], wants, strict=True) if want]
    options = {"allow_unused": True, "materialize_grads": True, "create_graph": again}
    return torch.autograd.grad(results, wanted, told[given:], **options)

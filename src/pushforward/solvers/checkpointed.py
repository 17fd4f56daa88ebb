"""Gradients through a solver without keeping the network's insides of every step.

Training by likelihood differentiates through a whole solve. Kept as it is, the graph of every call of the field stays
in memory until the backward pass: all activations, times the products of the divergence, times the steps. A
checkpointed call keeps its arguments, one state, and is computed again when its turn comes: two calls for one, and the
exact gradient of the discrete solve. (`Retraced` and `Adjoint` keep no states either, however many steps there are.)

A network with dropout would drop others the second time; a density has none.

References:
    Griewank, Walther 2000 (checkpointing).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward._derivatives import transformed
from pushforward._typing import Sample, Time
from pushforward.solvers.divergence import Divergence, Exact, Trace
from pushforward.solvers.state import Field


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
            return _Call.apply(inner, x, t, *weights)  # pyright: ignore[reportReturnType]

        return both

    def columns(self, size: int) -> int:
        return self.trace.columns(size)


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Divergence, x: Tensor, t: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        kind = x.device.type
        ctx.both = both
        ctx.precision = torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))
        ctx.save_for_backward(x, t, *weights)
        return both(x, t)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, t, *weights), again = ctx.saved_tensors, torch.is_grad_enabled()
        x = x if again else x.detach().requires_grad_(ctx.needs_input_grad[1])
        with torch.enable_grad(), ctx.precision:
            made = ctx.both(x, t)
        wants = [ctx.needs_input_grad[1], False, *ctx.needs_input_grad[3:]]
        wanted = [each for each, want in zip([x, t, *weights], wants, strict=True) if want]
        options = {"allow_unused": True, "materialize_grads": True, "create_graph": again}
        found = iter(torch.autograd.grad(made, wanted, grad_outputs, **options))
        return None, *(next(found) if want else None for want in wants)

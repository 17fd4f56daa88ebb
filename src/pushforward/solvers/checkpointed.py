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

from pushforward._derivatives import once, transformed
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


@dataclass(frozen=True, slots=True)
class _Again:
    """The call, in the precision it was made in, with what it is a function of cut off from how that came to be.

    The state is a function of the weights, through the steps before: only so are they not counted there, too.
    """

    both: Divergence
    precision: torch.autocast

    def pull(self, x: Tensor, t: Tensor, weights: Sequence[Tensor], seed: Sequence[Tensor], keep: bool = False):
        """The gradients of the state and of each weight; `keep` makes them differentiable."""
        with torch.enable_grad(), self.precision:
            made = self.both(x, t)
        options = {"allow_unused": True, "materialize_grads": True, "create_graph": keep}
        return torch.autograd.grad(made, [x, *weights], seed, **options)


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Divergence, x: Tensor, t: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        kind = x.device.type
        dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.again = _Again(both, torch.autocast(kind, dtype, enabled=enabled))
        ctx.save_for_backward(x, t, *weights)
        return both(x, t)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, t, *weights), wants = ctx.saved_tensors, ctx.needs_input_grad[3:]
        wanted = [weight for weight, want in zip(weights, wants, strict=True) if want]
        if torch.is_grad_enabled():
            to_x, *found = _Pull.apply(ctx.again, x, t, *grad_outputs, *wanted)  # pyright: ignore[reportGeneralTypeIssues]
        else:
            to_x, *found = ctx.again.pull(x.detach().requires_grad_(), t, wanted, grad_outputs)
        rest = iter(found)
        return None, to_x, None, *(next(rest) if want else None for want in wants)


class _Pull(torch.autograd.Function):
    """The gradients of a call, as a function of its state, of theirs and of the weights."""

    @staticmethod
    def forward(
        ctx: Any, again: _Again, x: Tensor, t: Tensor, slope: Tensor, divergence: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.again = again
        ctx.save_for_backward(x, t, slope, divergence, *weights)
        return tuple(again.pull(x.detach().requires_grad_(), t, weights, (slope, divergence)))

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, t, slope, divergence, *weights = ctx.saved_tensors
        x, *seed = (each.detach().requires_grad_() for each in (x, slope, divergence))
        with torch.enable_grad():
            first = ctx.again.pull(x, t, weights, seed, keep=True)
        made, grads = zip(
            *(both for both in zip(first, grad_outputs, strict=True) if both[0].requires_grad), strict=True
        )
        options = {"allow_unused": True, "materialize_grads": True}
        to_x, *rest = torch.autograd.grad(made, [x, *seed, *weights], grads, **options)
        return None, to_x, None, *rest

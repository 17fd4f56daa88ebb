"""Gradients through a solver without keeping the network's insides of every step.

Training by likelihood differentiates through a whole solve. Kept as it is, the graph of every call of the field stays
in memory until the backward pass: all activations, times the products of the divergence, times the steps. A
checkpointed call keeps its arguments, one state, and is computed again when its turn comes: more time, and the exact
gradient of the discrete solve. (The adjoint method, which integrates the state backwards, also needs the memory of one
call, but its gradient is that of another discretisation, and its backward solve may not retrace the path.)

References:
    Griewank, Walther 2000 (checkpointing). Chen et al. 2018, arXiv 1806.07366 (the adjoint).
    Gholami, Keutzer, Biros 2019, arXiv 1902.10298 (why it may not retrace).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pushforward._typing import Sample, Time
from pushforward.solvers.divergence import Divergence, Exact, Trace
from pushforward.solvers.state import Field


@dataclass(frozen=True, slots=True)
class Checkpointed(Trace):
    """Another trace, whose calls are computed again for gradients instead of kept.

    Args:
        trace: how the divergence is computed.

    >>> both = Checkpointed(Exact()).of(lambda x, t: x.square(), torch.ones(1, 2))
    >>> both(torch.tensor([[1.0, 2.0]]), torch.zeros(1))[1].detach()
    tensor([[6.]])
    """

    trace: Trace = Exact()

    def of(self, field: Field, x: Sample, first: int = 0) -> Divergence:
        inner = self.trace.of(field, x, first)

        def both(x: Sample, t: Time) -> tuple[Sample, Tensor]:
            if not torch.is_grad_enabled():
                return inner(x, t)
            slope, divergence = checkpoint(inner, x, t, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
            return slope, divergence

        return both

    def columns(self, size: int) -> int:
        return self.trace.columns(size)

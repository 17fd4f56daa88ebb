"""Bits per dimension of data a model has not seen.

    bits = -log2 p(value) / dimensions
         = -(log p_model(x) + log |d x / d value|) / (dimensions ln 2)

in the raw units of the data, so models trained in different units compare. For whole-numbered data x carries uniform
dequantisation noise, and the number bounds the bits of a lossless code from above (Theis et al. 2016, arXiv
1511.01844). The standard error is over held-out events.
"""

from typing import TYPE_CHECKING

import torch

from pushforward._random import Draw
from pushforward.models import Diffusion, Model
from pushforward.report.estimate import Estimate, mean
from pushforward.solvers import Solver, Trace

if TYPE_CHECKING:
    from pushforward.data import Dataset


@torch.no_grad()
def bits_per_dim(
    model: Model,
    data: "Dataset",
    n: int | None = None,
    solver: Solver | None = None,
    trace: Trace | None = None,
    seed: int = 0,
    conditional: bool = False,
    chunk: int = 256,
) -> Estimate:
    """The model's mean bits per dimension on held-out data, with its standard error.

    Args:
        model: what is judged.
        data: whose held-out events, whose units.
        n: how many events; None is all.
        solver: how a model that integrates does so; None is its own default.
        trace: how a `Diffusion` gets its divergence, in place of its own; the network is shared, not copied.
        seed: of the dequantisation noise.
        conditional: whether the model is given each event's context.
        chunk: events per call of the model.
    """
    if trace is not None and isinstance(model, Diffusion):
        model = Diffusion(model.net, model.path, model.prediction, shape=model.shape, solver=model.solver, trace=trace)
    held = data.held_out_batch(Draw(seed, "bits"), n)
    device, dtype = str(model.device), next((p.dtype for p in model.parameters()), held.x.dtype)
    each: list[torch.Tensor] = []
    for first in range(0, len(held), chunk):
        context = held.context[first : first + chunk].to(device) if conditional and held.context is not None else None
        log_prob = model.log_prob(held.x[first : first + chunk].to(device, dtype), context, solver)
        each.append(data.bits_per_dim(log_prob.cpu()))
    return mean(torch.cat(each))

"""The tensor glossary: every shape that crosses a public border, named once.

Axes in bodies with four or more of them are written as a suffix from one legend:
B batch, T tokens (positions), H heads, D features per head, C channels, W width of the model.
Names are checked at run time only by the tests (run-time checks break `torch.compile(fullgraph=True)`).
"""

from jaxtyping import Float, Int
from torch import Tensor

Sample = Float[Tensor, " batch *event"]
"""Data, noise or anything between: one event per row."""

Time = Float[Tensor, " batch"]
"""Times in [0, 1], one per sample: 0 is data, 1 is noise."""

PerSample = Float[Tensor, " batch"]
"""One number per sample: a log-density in nats, a log-determinant, a loss."""

Context = Float[Tensor, " batch *context"] | Int[Tensor, " batch *context"] | None
"""What a sample is conditioned on, or None."""

Tokens = Float[Tensor, " batch tokens width"]
"""Embedded tokens."""

Heads = Float[Tensor, " batch heads tokens features"]
"""Queries, keys or values, split in heads."""

Positions = Float[Tensor, " *batch tokens axes"] | Int[Tensor, " *batch tokens axes"]
"""Where each token stands: one number per axis, whole or fractional, shared or one row per sequence."""


def per_sample(scalar: Tensor, event: Tensor) -> Tensor:
    """View a [batch] scalar so that it multiplies a [batch, *event] tensor."""
    return scalar.reshape(scalar.shape + (1,) * (event.ndim - scalar.ndim))

"""zuko's free-form transform (`CNF`) as a field of ours, integrated by our solvers.

    dx/dt = net(cos w t, sin w t, x, c),   t from t0 to t1       ours: t0 + (t1 - t0) s, s from 0 (data) to 1 (noise)

Both follow the same curve with Dormand and Prince's pair, ours in steps of each sample's own, theirs in steps of the
whole batch; they agree as far as both solve it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pushforward._typing import Context, Sample, Time
from pushforward.models import Diffusion
from pushforward.models.integrated import Integrated
from pushforward.paths import Linear, velocity
from pushforward.solvers import Adaptive, Checkpointed, Exact, Hutchinson


class FreeForm(nn.Module):
    """The velocity of the module's docstring in s.

    Args:
        net: theirs.
        frequencies: w, one for each pair of waves.
        times: (t0, t1).
    """

    def __init__(self, net: nn.Module, frequencies: tuple[float, ...], times: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.frequencies, self.times = net, frequencies, times

    def forward(self, x: Sample, s: Time, context: Context = None) -> Sample:
        first, last = self.times
        waves = (first + (last - first) * s)[:, None] * torch.tensor(self.frequencies, dtype=x.dtype, device=x.device)
        told: list[Tensor] = [] if context is None else [context]
        return (last - first) * self.net(torch.cat([waves.cos(), waves.sin(), x, *told], 1))


def integrated(theirs: Any, shape: tuple[int, ...]) -> Integrated:
    """An `FFJTransform`, by an adaptive solver with its tolerances; its trace is exact, or by one probe, as theirs."""
    first, last = theirs.times.tolist()
    field = FreeForm(theirs.ode, tuple(theirs.freqs.tolist()), (first, last))
    solver = Adaptive(rtol=theirs.rtol, atol=theirs.atol)
    trace = Checkpointed(Exact() if theirs.exact else Hutchinson())
    return Integrated(Diffusion(field, Linear(), velocity, shape=shape), None, solver, trace)

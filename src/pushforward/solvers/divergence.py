"""The divergence of a velocity field: what turns following a flow into knowing its density.

Along dx/dt = f(x, t) the log-density changes by -div f dt (Chen et al. 2018, arXiv 1806.07366), so integrating
(x, integral of div f) together gives log |det dx(end)/dx(start)|.

    Exact        one vector-Jacobian product per dimension: no error but the solver's
    Hutchinson   the mean of v.J.v over fixed +-1 probes: unbiased, a few products whatever the dimension

The probes are drawn once per solve, never inside it: a field that changes between calls makes adaptive solvers
take tens of times more steps.

References: Hutchinson 1990; Grathwohl et al. 2018 (arXiv 1810.01367).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._random import Draw
from pushforward._typing import PerSample, Sample, Time
from pushforward.solvers.state import Field

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x [batch, *event], t [batch]) -> (velocity [batch, *event], divergence [batch])."""


class Trace(abc.ABC):
    """A way to compute the divergence; a frozen dataclass."""

    @abc.abstractmethod
    def of(self, field: Field, x: Sample) -> Divergence:
        """The field with its divergence, for trajectories of events like `x`."""


@dataclass(frozen=True, slots=True)
class Exact(Trace):
    """Every diagonal entry of the Jacobian, one backward pass per dimension.

    >>> both = Exact().of(lambda x, t: x.square(), torch.ones(1, 2))
    >>> both(torch.tensor([[1.0, 2.0]]), torch.zeros(1))[1].detach()
    tensor([6.])
    """

    def of(self, field: Field, x: Sample) -> Divergence:
        def both(x: Sample, t: Time) -> tuple[Sample, PerSample]:
            keep = torch.is_grad_enabled()
            with torch.enable_grad():
                x = x if x.requires_grad else x.detach().requires_grad_()
                slope = field(x, t)
                each = slope.flatten(1).sum(0)
                total = x.new_zeros(len(x))
                for d in range(len(each)):
                    last = d == len(each) - 1
                    total = total + _vjp(each[d], x, None, keep, last).flatten(1)[:, d]
            return (slope, total) if keep else (slope.detach(), total.detach())

        return both


@dataclass(frozen=True, slots=True)
class Hutchinson(Trace):
    """An unbiased estimate from `probes` random sign vectors per sample, fixed by `seed`.

    With antithetic or repeated probes nothing is gained: signs already cancel the diagonal's noise, and the
    error that is left comes from the off-diagonal entries alone.
    """

    probes: int = 1
    seed: int = 0

    def of(self, field: Field, x: Sample) -> Divergence:
        draw = Draw(self.seed, "hutchinson", device=str(x.device))
        signs = [draw.at(k).signs(len(x), tuple(x.shape[1:]), x.dtype) for k in range(self.probes)]

        def both(x: Sample, t: Time) -> tuple[Sample, PerSample]:
            keep = torch.is_grad_enabled()
            with torch.enable_grad():
                x = x if x.requires_grad else x.detach().requires_grad_()
                slope = field(x, t)
                total = x.new_zeros(len(x))
                for k, sign in enumerate(signs):
                    product = _vjp(slope, x, sign, keep, k == len(signs) - 1)
                    total = total + (product * sign).flatten(1).sum(1) / len(signs)
            return (slope, total) if keep else (slope.detach(), total.detach())

        return both


def _vjp(output: Tensor, x: Tensor, vector: Tensor | None, keep: bool, last: bool) -> Tensor:
    if not output.requires_grad:  # a constant field
        return torch.zeros_like(x)
    options = {"retain_graph": keep or not last, "create_graph": keep}
    return torch.autograd.grad(output, x, vector, **options, allow_unused=True, materialize_grads=True)[0]


def augmented(both: Divergence, shape: tuple[int, ...]) -> Field:
    """The field of (x, integral of its divergence), flattened to [batch, size + 1], for any solver."""

    def field(state: Tensor, t: Time) -> Tensor:
        slope, divergence = both(state[:, :-1].unflatten(1, shape), t)
        return torch.cat([slope.flatten(1), divergence[:, None]], 1)

    return field

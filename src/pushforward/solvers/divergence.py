"""The divergence of a velocity field: what turns following a flow into knowing its density.

Along dx/dt = f(x, t) the log-density changes by -div f dt (Chen et al. 2018, arXiv 1806.07366), so integrating
(x, integral of div f) together gives log |det dx(end)/dx(start)|. With J = df/dx and products v J from one forward
pass, all v of a stage at once:

    Exact         sum_d (e_d J)_d                                  no error but the solver's; one product a dimension
    Hutchinson    g_k J g_k                                        g_k of random signs, k = 1..probes
    HutchPlus     sum_j q_j J q_j + h_k J h_k,                     q_j an orthonormal basis of the span of s_j J, the
                  h_k = g_k - sum_j (q_j . g_k) q_j                directions in which J is large; s_j of random signs

Each k is a column, an unbiased estimate of its own, and columns are integrated side by side in one solve: their mean is
the estimate and their spread its standard error. The signs are drawn once per solve, never inside it, each sample's
from its own address: a field that changes between calls makes adaptive solvers take tens of times more steps.

References: Hutchinson 1990; Grathwohl et al. 2018 (arXiv 1810.01367); Meyer et al. 2021 (arXiv 2010.09649) for
the two parts of `HutchPlus`.
"""

import abc
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Sample, Time
from pushforward.solvers.state import Field

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x [batch, *event], t [batch]) -> (velocity [batch, *event], divergence [batch, columns]), the columns as above."""


class Trace(abc.ABC):
    """A way to compute the divergence; a frozen dataclass."""

    @abc.abstractmethod
    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        """The field with its divergence, for trajectories of events like `x`.

        Args:
            field: the velocity.
            x: the events; their number, shape, dtype and device matter, not their values.
            first: the index of x's first event in a larger batch, by which random signs are found.
            weights: what else the field depends on, for a trace that computes it again (`Checkpointed`).
        """

    @abc.abstractmethod
    def columns(self, size: int) -> int:
        """How many random estimates an event of `size` numbers gets; 0 where the trace is exact, in one column."""


def _at_least(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise ConfigError(explain(f"{name} of {least} or more", str(value), f"Set {name}={least} or more."))


@dataclass(frozen=True, slots=True)
class Exact(Trace):
    """Every diagonal entry of the Jacobian: as many products as an event has numbers, `chunk` at a time.

    >>> both = Exact().of(lambda x, t: x.square(), torch.ones(1, 2))
    >>> both(torch.tensor([[1.0, 2.0]]), torch.zeros(1))[1]
    tensor([[6.]])
    """

    chunk: int = 64

    def __post_init__(self) -> None:
        _at_least(1, chunk=self.chunk)

    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        size = math.prod(x.shape[1:])
        basis = torch.eye(size, dtype=x.dtype, device=x.device).split(self.chunk)

        def both(x: Sample, t: Time) -> tuple[Sample, Tensor]:
            slope, product = _linear(field, x, t)
            total = x.new_zeros(len(x), 1)
            for rows in basis:
                vectors = rows.reshape(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
                total = total + _dot(vectors, product(vectors)).sum(1, keepdim=True)
            return slope, total

        return both

    def columns(self, size: int) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Hutchinson(Trace):
    """An unbiased estimate from `probes` random sign vectors per sample, fixed by `seed`.

    Signs cancel the diagonal's noise: the variance of one probe is the sum of (J_ij + J_ji)**2 over pairs i < j.
    """

    probes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(1, probes=self.probes)

    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        signs = _signs(Draw(self.seed, "hutchinson", first=first, device=str(x.device)), self.probes, x)

        def both(x: Sample, t: Time) -> tuple[Sample, Tensor]:
            slope, product = _linear(field, x, t)
            return slope, _dot(signs, product(signs))

        return both

    def columns(self, size: int) -> int:
        return self.probes


@dataclass(frozen=True, slots=True)
class HutchPlus(Trace):
    """Exact in `sketch` directions where the Jacobian is large, `probes` random sign vectors for the rest (Hutch++).

    It costs 2 sketch + probes products a call; worth it where few directions carry most of the off-diagonal. Exact for
    a Jacobian whose rank is at most `sketch`.
    """

    sketch: int = 4
    probes: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(1, sketch=self.sketch, probes=self.probes)

    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        draw = Draw(self.seed, "hutch++", first=first, device=str(x.device))
        sketch = _signs(draw.of("sketch"), min(self.sketch, math.prod(x.shape[1:])), x)
        signs = _signs(draw.of("probes"), self.probes, x)

        def both(x: Sample, t: Time) -> tuple[Sample, Tensor]:
            slope, product = _linear(field, x, t)
            basis = torch.linalg.qr(product(sketch).flatten(2).permute(1, 2, 0)).Q  # [batch, size, sketch]
            g = signs.flatten(2).permute(1, 2, 0)
            rest = g - basis @ (basis.mT @ g)
            vectors = torch.cat([basis, rest], 2).permute(2, 0, 1).reshape(-1, *x.shape)
            each = _dot(vectors, product(vectors))
            known = basis.shape[2]
            return slope, each[:, :known].sum(1, keepdim=True) + each[:, known:]

        return both

    def columns(self, size: int) -> int:
        return self.probes


@dataclass(frozen=True, slots=True)
class ByDimension(Trace):
    """Exact for events of at most `limit` numbers, estimated by `above` for larger ones.

    >>> ByDimension(limit=32).columns(32), ByDimension(limit=32).columns(33)
    (0, 8)
    """

    limit: int = 32
    above: Trace = Hutchinson(probes=8)

    def of(self, field: Field, x: Sample, first: int = 0, weights: Sequence[Tensor] = ()) -> Divergence:
        return self._chosen(math.prod(x.shape[1:])).of(field, x, first, weights)

    def columns(self, size: int) -> int:
        return self._chosen(size).columns(size)

    def _chosen(self, size: int) -> Trace:
        return Exact() if size <= self.limit else self.above


def augmented(both: Divergence, shape: tuple[int, ...]) -> Field:
    """The field of (x, integrals of the divergence's columns), flattened to [batch, size + columns], for any solver."""
    size = math.prod(shape)

    def field(state: Tensor, t: Time) -> Tensor:
        slope, columns = both(state[:, :size].unflatten(1, shape), t)
        return torch.cat([slope.flatten(1), columns], 1)

    return field


def _linear(field: Field, x: Sample, t: Time) -> tuple[Sample, Callable[[Tensor], Tensor]]:
    """The velocity at x, and the products of vectors [k, batch, *event] with its Jacobian, of the same shape.

    Vectorised where torch can do it. A field that its transforms cannot see through (a compiled network, an autograd
    function of the old kind) is differentiated by plain autograd, one vector after another.
    """
    try:
        slope, pull = torch.func.vjp(lambda x: field(x, t), x)[:2]
    except RuntimeError:
        return _looped(field, x, t)

    def product(vectors: Tensor) -> Tensor:
        if len(vectors) > 1:
            with contextlib.suppress(RuntimeError):
                return torch.func.vmap(lambda v: pull(v)[0])(vectors)
        return torch.stack([pull(v)[0] for v in vectors])

    return slope, product


def _looped(field: Field, x: Sample, t: Time) -> tuple[Sample, Callable[[Tensor], Tensor]]:
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        slope = field(x, t)

    def product(vectors: Tensor) -> Tensor:
        options = {"retain_graph": True, "create_graph": keep, "allow_unused": True, "materialize_grads": True}
        return torch.stack([torch.autograd.grad(slope, x, v, **options)[0] for v in vectors])

    return slope if keep else slope.detach(), product


def _signs(draw: Draw, count: int, x: Sample) -> Tensor:
    """Random signs, [count, batch, *event]."""
    return torch.stack([draw.at(k).signs(len(x), tuple(x.shape[1:]), x.dtype) for k in range(count)])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products over events: two of [k, batch, *event] -> [batch, k]."""
    return (a * b).flatten(2).sum(2).T

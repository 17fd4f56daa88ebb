"""What every generative model here can do: push noise forward to data, and say how likely data are.

    z ~ base,   x = decode(z),   z = encode(x),
    log p(x) = log base(z) + log |det dz/dx|.

A normalizing flow does it with a chain of transforms, a diffusion model by integrating its velocity field.
Both are trained by the same loop, scored with the same words and streamed by the same loop over states.
A *transform* returns the pair (value, ladj); a *model* returns the value alone and keeps the pair behind
`encode_and_ladj` and `decode_and_ladj`. A single row of context is the context of all samples, in every call.
"""

import abc
import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw, fresh_seed
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.base import Base
from pushforward.models.conditioning import fitted
from pushforward.models.distribution import ModelDistribution
from pushforward.solvers.state import Solver, Trajectory, drain


class Model(nn.Module, abc.ABC):
    """A distribution over events that can be sampled and scored.

    `base` is the distribution pushed forward; `shape` the shape of one event. Solvers matter to models that
    integrate; chains of transforms need none and ignore it.
    """

    base: Base

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return self.base.shape

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of every number of data, as far as it is known; infinite if it is not."""
        return -math.inf, math.inf

    @abc.abstractmethod
    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        """The states from noise `z` to data, one after each step; gradients flow if they are enabled.

        `draw` is the address of the noise that stochastic solvers add on the way; a fresh seed if None.
        """

    @abc.abstractmethod
    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        """Data to noise, [batch, *event]."""

    @abc.abstractmethod
    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        """Data to noise with log |det dz/dx|, [batch]."""

    @abc.abstractmethod
    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        """Noise to data with log |det dx/dz|, [batch]."""

    def decode(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Sample:
        """Noise to data, [batch, *event]."""
        return drain(self.decoding(z, context, solver, draw))

    def log_prob(self, x: Sample, context: Context = None, solver: Solver | None = None) -> PerSample:
        """Log-density of each event in nats, [batch]."""
        context = fitted(self, context, len(x))
        z, ladj = self.encode_and_ladj(x, context, solver)
        return self.base.log_prob(z, context) + ladj

    @torch.no_grad()
    def sample(
        self,
        n: int,
        context: Context = None,
        solver: Solver | None = None,
        seed: int | None = None,
        first: int = 0,
        *,
        steps: int | None = None,
    ) -> Sample:
        """`n` new events. Sample i depends on (seed, first + i) alone, however the batch is split.

        Without a seed, one is taken from torch's default generator, so `torch.manual_seed` governs it. `steps` is short
        for the same solver with so many steps.
        """
        (start, on_the_way), context = self._draws(seed, first), fitted(self, context, n)
        return self.decode(self._base(n, start, context), context, self._stepping(solver, steps), on_the_way)

    @torch.no_grad()
    def trajectory(
        self,
        n: int,
        context: Context = None,
        solver: Solver | None = None,
        seed: int | None = None,
        first: int = 0,
        *,
        steps: int | None = None,
    ) -> Trajectory:
        """The states on the way from noise to `n` new events; `send(x)` edits them in flight."""
        (start, on_the_way), context = self._draws(seed, first), fitted(self, context, n)
        chosen = self._stepping(solver, steps)
        return (yield from self.decoding(self._base(n, start, context), context, chosen, on_the_way))

    def rsample_and_log_prob(
        self,
        n: int,
        context: Context = None,
        solver: Solver | None = None,
        seed: int | None = None,
        first: int = 0,
    ) -> tuple[Sample, PerSample]:
        """`n` new events and their log-density in nats, in one pass; gradients of both flow if they are enabled.

        Raises:
            ConfigError: gradients are enabled, and draws of the base do not have those of everything it learns.
        """
        if torch.is_grad_enabled() and not self.base.has_rsample:
            got = f"a {type(self.base).__name__} with weights that draws cannot follow"
            fix = "Freeze these, or call it under torch.no_grad() and differentiate log_prob(x), the score function."
            raise ConfigError(explain("a base whose draws have the derivatives of its weights", got, fix))
        context = fitted(self, context, n)
        z = self.noise(n, seed, first, context)
        x, ladj = self.decode_and_ladj(z, context, solver)
        lost = x.flatten(1).isnan().any(1)  # by noise that no data give
        return x, (self.base.log_prob(z, context) - ladj).masked_fill(lost, math.nan)

    def noise(self, n: int, seed: int | None = None, first: int = 0, context: Context = None) -> Sample:
        """The draws of the base that `sample` with the same arguments pushes forward."""
        return self._base(n, self._draws(seed, first)[0], fitted(self, context, n))

    def distribution(self, context: Context = None, batch: tuple[int, ...] | None = None) -> ModelDistribution:
        """p(x | context) as a `torch.distributions.Distribution`, one for each row of the context.

        Args:
            context: [*batch, *row]: as many axes of rows as one likes, or none for a single row.
            batch: the shape of those axes; if None, what precedes a row where the model's parts say what a row is
                (classes, vectors), else the first axis.
        """
        return ModelDistribution(self, context, batch)

    def _given(self, x: Sample, context: Context) -> Context:
        """The context of these events, a row for each.

        Raises:
            ShapeError: events of another shape, or a context that does not fit.
        """
        if tuple(x.shape[1:]) != tuple(self.shape):
            wanted = f"[batch, {', '.join(map(str, self.shape))}]"
            raise ShapeError(explain(f"events {wanted}", f"{list(x.shape)}", f"Reshape it to {wanted}."))
        return fitted(self, context, len(x))

    def _stepping(self, solver: Solver | None, steps: int | None) -> Solver | None:
        """The solver, or the model's own, with so many steps.

        Raises:
            ConfigError: there is none, or it has no fixed number of steps.
        """
        if steps is None:
            return solver
        chosen: Any = getattr(self, "solver", None) if solver is None else solver
        if not hasattr(chosen, "steps"):
            got = f"steps={steps} for {'a model without one' if chosen is None else type(chosen).__name__}"
            raise ConfigError(explain("a solver of a fixed number of steps", got, "Leave steps out."))
        return replace(chosen, steps=steps)

    def _draws(self, seed: int | None, first: int) -> tuple[Draw, Draw]:
        """The addresses of the start and of what solvers add on the way."""
        seed = fresh_seed() if seed is None else seed
        start = Draw(seed, "sample", first=first, device=str(self.device))
        return start, replace(start, purpose="solver")

    def _base(self, n: int, draw: Draw, context: Context) -> Sample:
        dtype = next((p.dtype for p in self.parameters()), torch.get_default_dtype())
        return self.base.sample(n, draw, context).to(dtype)

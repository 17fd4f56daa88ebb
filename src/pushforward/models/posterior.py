"""Inverse problems: samples of x0 given a linear measurement y = A x0 + std noise, from a model of x0 alone.

The score of the posterior is that of the model plus grad log p(y | x_t). With D(x_t) = E[x0 | x_t] and J = dD/dx_t,
approximate x0 given x_t by a normal around D of covariance V. Then

    p(y | x_t) = N(y; A D, std**2 + A V A^T),    grad log p(y | x_t) = J^T A^T u,    (std**2 + A V A^T) u = y - A D,

(V's dependence on x_t left out), and x0 is nudged by delta = sigma**2 / alpha J^T A^T u. What V is names the method:

    Point       V = 0                                                         DPS
    Isotropic   V = s**2 sigma**2 / (alpha**2 s**2 + sigma**2)                PiGDM; exact for data N(m, s**2)
    Tweedie     V = sigma**2 / alpha J                                        MMPS; exact for all normal data

Write V = (sigma / alpha)**2 B and k = sigma**2 / (alpha**2 std**2 + sigma**2), the share of the variance that is not
the measurement's; then nothing divides by sigma or std:

    ((1 - k) + k A B A^T) w = y - A D,       delta = k alpha J^T A^T w,

solved by a few conjugate gradients per sample. A^T and J^T are vector-Jacobian products of `operator` and the network.

With std = 0 the posterior's velocity has no limit where sigma is 0, so the `span` of such a model stops at t = 0.001.

References: Chung et al. 2022 (arXiv 2209.14687) for DPS, Song et al. 2023 (PiGDM, ICLR), Boys et al. 2023 (arXiv
2310.06721) and Rozet et al. 2024 (arXiv 2405.13712) for the covariance by Tweedie's formula.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.models.around import around, latest, nudge, unscaled
from pushforward.models.diffusion import Diffusion
from pushforward.paths import Coefficients, recast, x0

Operator = Callable[[Tensor], Tensor]
"""A linear map of batches, each sample by itself."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is known of an event: y = operator(x0) + std noise.

    Args:
        operator: linear, [batch, *event] -> [batch, *measured], each sample by itself; differentiable.
        y: the measurement, [*measured] for all samples alike, or one for each sample, [batch, *measured].
        std: of the measurement's noise; 0 for exact knowledge.

    Raises:
        ConfigError: a negative std.

    >>> total = Measurement(lambda x: x.sum(1, keepdim=True), torch.tensor([1.0]))
    >>> total.missing(torch.zeros(2, 3))
    tensor([[1.],
            [1.]])
    """

    operator: Operator
    y: Tensor
    std: float = 0.0

    def __post_init__(self) -> None:
        if self.std < 0:
            raise ConfigError(explain("a std of 0 or more", f"{self.std}", "Use 0 for exact knowledge."))

    @classmethod
    def masked(cls, known: Tensor, values: Tensor, std: float = 0.0) -> "Measurement":
        """Some coordinates themselves: inpainting.

        Args:
            known: which are measured, booleans [*event].
            values: their values, [*event] or [batch, *event]; those elsewhere are ignored.
            std: of the measurement's noise.
        """
        return cls(lambda x: torch.where(known.to(x.device), x, 0.0), torch.where(known, values, 0.0), std)

    def missing(self, event: Sample) -> Tensor:
        """y - operator(event), [batch, *measured]."""
        seen = self.operator(event)
        if self.y.shape not in (seen.shape, seen.shape[1:]):
            got = f"{tuple(self.y.shape)} for an operator that gives {tuple(seen.shape)}"
            raise ShapeError(explain("a measurement of the shape the operator gives", got, "Measure one event."))
        return self.y.to(seen) - seen

    def transpose(self, event: Sample) -> Operator:
        """The operator's transpose, [batch, *measured] -> [batch, *event], for events like `event`."""
        pull = torch.func.vjp(self.operator, event)[1]
        return lambda v: pull(v)[0]


class Covariance(abc.ABC):
    """What is taken for Cov(x0 | x_t) = (sigma / alpha)**2 B; a frozen dataclass."""

    iterations: int

    @abc.abstractmethod
    def apply(self, v: Sample, c: Coefficients, pull: Operator) -> Sample:
        """B v, given J^T as `pull`; [batch, *event]."""


@dataclass(frozen=True, slots=True)
class Point(Covariance):
    """None: x0 is taken for known from x_t.

    Needs a measurement's std above 0, and pulls too hard amid noise, the more the smaller the std: fixed steps can then
    diverge. Soften it with a `scale` below 1, or step adaptively.
    """

    iterations: int = 1

    def apply(self, v: Sample, c: Coefficients, pull: Operator) -> Sample:
        return torch.zeros_like(v)


@dataclass(frozen=True, slots=True)
class Isotropic(Covariance):
    """That of data N(m, std**2) with equal, independent coordinates.

    Args:
        std: of the data.
        iterations: conjugate gradients, as many as A A^T has distinct eigenvalues to be exact; masks need 1.
    """

    std: float = 1.0
    iterations: int = 8

    def apply(self, v: Sample, c: Coefficients, pull: Operator) -> Sample:
        data = (self.std * c.alpha).square()
        return per_sample(data / (data + c.sigma.square()), v) * v


@dataclass(frozen=True, slots=True)
class Tweedie(Covariance):
    """The model's own: the Jacobian of its denoiser, one backward pass through the network an iteration.

    Args:
        iterations: conjugate gradients, at most the size of a measurement to be exact.
    """

    iterations: int = 3

    def apply(self, v: Sample, c: Coefficients, pull: Operator) -> Sample:
        return per_sample(c.alpha, v) * pull(v)


def posterior(
    model: Diffusion, measurement: Measurement, covariance: Covariance | None = None, scale: float = 1.0
) -> Diffusion:
    """The model given a measurement, as a model: it samples, encodes and scores like any other.

    Args:
        model: of the events.
        measurement: what is known of them.
        covariance: how uncertain x0 is taken to be at x_t; `Tweedie()` if None.
        scale: what the measurement's pull is multiplied by; 1 is Bayes' rule.

    Returns:
        A model that shares its parameters with `model`.

    Raises:
        ConfigError: `Point` with a measurement without noise.

    >>> from pushforward.models import gaussian
    >>> seen = Measurement.masked(torch.tensor([True, False]), torch.tensor([1.5, 0.0]))
    >>> posterior(gaussian(shape=(2,)), seen).sample(3, seed=0)[:, 0].round(decimals=1)
    tensor([1.5000, 1.5000, 1.5000])
    """
    chosen = Tweedie() if covariance is None else covariance
    if isinstance(chosen, Point) and measurement.std == 0:
        fix = "Give the measurement a std, or use Isotropic or Tweedie."
        raise ConfigError(explain("a measurement with noise for Point", "std=0", fix))
    return around(model, _Posterior(model, measurement, chosen, scale), _first(model, measurement))


class _Posterior(nn.Module):
    """The network's output for the posterior mean of x0 given x_t and the measurement."""

    def __init__(self, model: Diffusion, measurement: Measurement, covariance: Covariance, scale: float) -> None:
        super().__init__()
        self.model, self.measurement, self.covariance, self.scale = model, measurement, covariance, scale
        self.latest = latest(model.path)

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        model, sooner = self.model, t.clamp(max=self.latest)
        c, there = model.path.coefficients(t), model.path.coefficients(sooner)

        def denoise(x: Sample) -> tuple[Sample, Sample]:
            m = model.raw(x, sooner, context)
            return recast(m, x, there, model.prediction, x0), m

        made = torch.func.vjp(denoise, unscaled(x, c, model.prediction), has_aux=True)
        guess, pull, m = cast("tuple[Tensor, Callable[[Tensor], tuple[Tensor]], Tensor]", made)
        if transformed() or bool((t > self.latest).any()):
            m = model.net(x, t, context)
        delta = self._delta(guess, there, lambda v: pull(v)[0])
        return nudge(m, self.scale * delta, c, model.prediction)

    def _delta(self, guess: Sample, c: Coefficients, pull: Operator) -> Sample:
        """k alpha J^T A^T w, [batch, *event]."""
        missing, back = self.measurement.missing(guess), self.measurement.transpose(guess)
        total = (self.measurement.std * c.alpha).square() + c.sigma.square()
        k = torch.where(total > 0, c.sigma.square() / total.clamp(min=torch.finfo(total.dtype).tiny), 1.0)
        share = per_sample(k, missing)

        def normal(v: Tensor) -> Tensor:
            return (1 - share) * v + share * self.measurement.operator(self.covariance.apply(back(v), c, pull))

        w = conjugate_gradients(normal, missing, self.covariance.iterations)
        return per_sample(k * c.alpha, guess) * pull(back(w))


def conjugate_gradients(normal: Operator, right: Tensor, iterations: int) -> Tensor:
    """w with normal(w) = right for a symmetric, positive map, each sample by itself, from w = 0.

    Args:
        normal: the map, [batch, ...] -> [batch, ...].
        right: the right-hand side, [batch, ...].
        iterations: steps; exact after as many as the map has distinct eigenvalues, but for rounding.

    >>> conjugate_gradients(lambda v: v * torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 1.0]]), 2)
    tensor([[1.0000, 0.5000]])
    """
    w, rest, way = torch.zeros_like(right), right, right
    size = _dot(rest, rest)
    for _ in range(iterations):
        image = normal(way)
        step = _ratio(size, _dot(way, image))
        w, rest = w + step * way, rest - step * image
        left = _dot(rest, rest)
        way, size = rest + _ratio(left, size) * way, left
    return w


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return per_sample((a * b).flatten(1).sum(1), a)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, 0 where b is not positive: there nothing is left to solve."""
    solved = b <= 0
    return torch.where(solved, 0.0, a / torch.where(solved, 1.0, b))


def _first(model: Diffusion, measurement: Measurement) -> float:
    """0, or 0.001 where the posterior has no limit at t = 0."""
    sigma = model.path.coefficients(torch.zeros(1, dtype=torch.float64)).sigma.item()
    return 0.0 if measurement.std > 0 or sigma > 0 else 1e-3

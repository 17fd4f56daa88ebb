"""Oracles: what a network would output were training perfect, for data that are known.

For a mixture of normals every posterior is known. With x_t = alpha x0 + sigma eps and component k of weight w_k,
mean m_k and standard deviation s_k (along each axis):

    var_k        = alpha**2 s_k**2 + sigma**2
    r_k          = w_k N(x_t; alpha m_k, var_k) / sum_j w_j N(x_t; alpha m_j, var_j)
    E[x0 | x_t]  = sum_k r_k (m_k + alpha s_k**2 (x_t - alpha m_k) / var_k)
    E[eps | x_t] = sum_k r_k sigma (x_t - alpha m_k) / var_k
    log p_t(x_t) = log sum_k w_k N(x_t; alpha m_k, var_k)

    Gaussian     one component, along any axes
    Mixture      a few components
    Empirical    one component of one width at each training event: what a network with the training set by heart
                 would output. With width 0 it can say nothing but training events.

Nothing is divided by alpha or sigma, so where every s_k is positive they are right at both ends of every path, for
each prediction that is finite there. Any row of the table is linear in (x0, eps), hence its posterior mean is the row
of the posterior means. Oracles hold float64 and answer in x's dtype, with derivatives of every kind in x and t.

References: Efron 2011 (Tweedie's formula); Karras et al. 2022 (arXiv 2206.00364), appendix B.3, for the empirical
denoiser.
"""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.paths import Coefficients, Path, Prediction

_CELLS = 2**22
"""How many (query, event) pairs `Empirical` holds at a time."""


@dataclass(frozen=True, eq=False)
class Oracle(abc.ABC):
    """What a network would output were training perfect; call it as a network, or ask for its density.

    Args:
        shape: the shape of one event.
        path: alpha and sigma.
        prediction: the row of the table it outputs.
    """

    shape: tuple[int, ...]
    path: Path
    prediction: Prediction

    @abc.abstractmethod
    def posterior(self, x: Sample, t: Time, context: Context = None) -> tuple[Sample, Sample]:
        """(E[x0 | x_t = x], E[eps | x_t = x]), each [batch, *event]."""

    @abc.abstractmethod
    def log_prob(self, x: Sample, t: Time, context: Context = None) -> PerSample:
        """log p_t(x), the density of x_t in nats, [batch]; that of the data at times where sigma is 0."""

    def __call__(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """The posterior mean of the prediction's row, at an input scaled as `Diffusion.raw` scales it."""
        c = self.path.coefficients(t)
        x = x / per_sample(self.prediction.input_scale(c), x)
        row = self.prediction.row(c)
        return row.target(*self.posterior(x, t, context)) / per_sample(row.scale, x)


@dataclass(frozen=True, eq=False)
class Gaussian(Oracle):
    """Data N(mean, axes diag(std**2) axes^T).

    Args:
        mean: float64, [*event].
        std: standard deviations along the axes, float64, [*event].
        axes: orthonormal columns, float64 [size, size]; None for the coordinate axes.
    """

    mean: Tensor
    std: Tensor
    axes: Tensor | None = None

    def posterior(self, x: Sample, t: Time, context: Context = None) -> tuple[Sample, Sample]:
        c = self.path.coefficients(t)
        alpha, sigma = per_sample(c.alpha, x), per_sample(c.sigma, x)
        along, var = self._along(x, c)
        data = self.mean.to(x) + self._back(alpha * self.std.to(x) ** 2 * along / var)
        return data, self._back(sigma * along / var)

    def log_prob(self, x: Sample, t: Time, context: Context = None) -> PerSample:
        along, var = self._along(x, self.path.coefficients(t))
        each = -0.5 * (along.square() / var + var.log() + math.log(2 * math.pi))
        return each.flatten(1).sum(1)

    def _along(self, x: Sample, c: Coefficients) -> tuple[Tensor, Tensor]:
        """x_t - alpha mean and its variance, along the axes."""
        alpha, sigma = per_sample(c.alpha, x), per_sample(c.sigma, x)
        off = x - alpha * self.mean.to(x)
        along = off if self.axes is None else (off.flatten(1) @ self.axes.to(x)).reshape(off.shape)
        return along, alpha**2 * self.std.to(x) ** 2 + sigma**2

    def _back(self, along: Tensor) -> Tensor:
        return along if self.axes is None else (along.flatten(1) @ self.axes.to(along).T).reshape(along.shape)


@dataclass(frozen=True, eq=False)
class Mixture(Oracle):
    """A mixture of normals with independent coordinates.

    Args:
        log_weights: float64, [components].
        means, stds: float64, [components, size].
        labels: the class of each component, [components], or None. A context then picks the components of its
            class; the index `classes`, or no context, picks all.
        classes: how many classes there are.
    """

    log_weights: Tensor
    means: Tensor
    stds: Tensor
    labels: Tensor | None = None
    classes: int = 0

    def posterior(self, x: Sample, t: Time, context: Context = None) -> tuple[Sample, Sample]:
        alpha, sigma, off, var = self._components(x, t)
        share = self._joint(off, var, context).softmax(1).unsqueeze(-1)
        data = self.means.to(x) + alpha * self.stds.to(x) ** 2 * off / var
        noise = sigma * off / var
        return (share * data).sum(1).reshape(x.shape), (share * noise).sum(1).reshape(x.shape)

    def log_prob(self, x: Sample, t: Time, context: Context = None) -> PerSample:
        _, _, off, var = self._components(x, t)
        weights = picked(self.log_weights.to(x), self.labels, self.classes, context)
        return self._joint(off, var, context).logsumexp(1) - weights.logsumexp(-1)

    def _components(self, x: Sample, t: Time) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha and sigma [batch, 1, 1]; x_t - alpha m_k and its variance, [batch, components, size]."""
        c = self.path.coefficients(t)
        alpha, sigma = c.alpha[:, None, None], c.sigma[:, None, None]
        off = x.flatten(1).unsqueeze(1) - alpha * self.means.to(x)
        return alpha, sigma, off, alpha**2 * self.stds.to(x) ** 2 + sigma**2

    def _joint(self, off: Tensor, var: Tensor, context: Context) -> Tensor:
        """log w_k N(x_t; alpha m_k, var_k) of the picked components, [batch, components]."""
        each = -0.5 * (off.square() / var + var.log() + math.log(2 * math.pi))
        return each.sum(-1) + picked(self.log_weights.to(off), self.labels, self.classes, context)


@dataclass(frozen=True, eq=False)
class Empirical(Oracle):
    """Equal weights and one width at each of many events: two matrix products and a softmax.

    Args:
        centre: the events' mean, float64, [size].
        events: the events less their mean, float64, [n, size].
        std: the width around each event.
        labels: the class of each event, [n], or None; as for `Mixture`.
        classes: how many classes there are.
    """

    centre: Tensor
    events: Tensor
    std: float = 0.0
    labels: Tensor | None = None
    classes: int = 0

    def posterior(self, x: Sample, t: Time, context: Context = None) -> tuple[Sample, Sample]:
        c = self.path.coefficients(t)
        parts = [self._mean(*each) for each in self._chunks(x.flatten(1), c, context)]
        mean = (torch.cat(parts) + self.centre.to(x)).reshape(x.shape)
        alpha, sigma = per_sample(c.alpha, x), per_sample(c.sigma, x)
        off = (x - alpha * mean) / per_sample(self._var(c), x)
        return mean + alpha * self.std**2 * off, sigma * off

    def log_prob(self, x: Sample, t: Time, context: Context = None) -> PerSample:
        c = self.path.coefficients(t)
        parts = [self._density(*each) for each in self._chunks(x.flatten(1), c, context)]
        return torch.cat(parts)

    def _mean(self, y: Tensor, c: Coefficients, context: Context) -> Tensor:
        """The mean event given y = x_t - alpha centre, less the centre, [batch, size]."""
        logits, _ = self._logits(y, c, context)
        return logits.softmax(1) @ self.events.to(y)

    def _density(self, y: Tensor, c: Coefficients, context: Context) -> Tensor:
        logits, top = self._logits(y, c, context)
        var, equal = self._var(c), y.new_zeros(len(self.events))
        count = picked(equal, self.labels, self.classes, context).logsumexp(-1)  # log of how many events there are
        inner = logits.logsumexp(1) + (top - 0.5 * y.square().sum(1)) / var
        return inner - count - 0.5 * y.shape[1] * (var.log() + math.log(2 * math.pi))

    def _logits(self, y: Tensor, c: Coefficients, context: Context) -> tuple[Tensor, Tensor]:
        """log N(y; alpha event, var) up to |y|**2 / (2 var) and constants, as (what is below the top, the top var)."""
        events = self.events.to(y)
        near = c.alpha[:, None] * (y @ events.T) - c.alpha[:, None] ** 2 * (0.5 * events.square().sum(1))
        near = picked(near, self.labels, self.classes, context)
        top = near.detach().amax(1)
        return (near - top[:, None]) / self._var(c)[:, None], top

    def _var(self, c: Coefficients) -> Tensor:
        var = c.alpha**2 * self.std**2 + c.sigma**2
        return var.clamp(min=torch.finfo(var.dtype).tiny)

    def _chunks(self, x: Tensor, c: Coefficients, context: Context) -> list[tuple[Tensor, Coefficients, Context]]:
        rows = max(1, _CELLS // len(self.events))
        y = x - c.alpha[:, None] * self.centre.to(x)
        spans = [slice(first, first + rows) for first in range(0, len(x), rows)] or [slice(0)]
        return [
            (y[span], Coefficients(*(each[span] for each in c)), None if context is None else context[span])
            for span in spans
        ]


def picked(logits: Tensor, labels: Tensor | None, classes: int, context: Context) -> Tensor:
    """Minus infinity for components of other classes than the context's, [batch or 1, components]."""
    if labels is None or context is None:
        return logits
    asked = context.to(labels).reshape(-1, 1)
    others = (labels.to(asked.device) != asked) & (asked != classes)
    return logits.masked_fill(others, -torch.inf)

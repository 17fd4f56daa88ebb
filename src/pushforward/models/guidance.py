"""Guidance: pushing samples further towards what they are conditioned on, by a field around the field.

    guided               m = m(nothing) + scale (m(context) - m(nothing))            classifier-free
    autoguided           m = m(weaker)  + scale (m(model)   - m(weaker))
    classifier_guided    score = score + scale grad log p(context | x_t)

`scale` 1 is the model itself and 0 the other one, for classifier guidance the model without it. All three are linear
in the output, hence the same for every prediction (`around.py`), and at each time classifier-free guidance has exactly
the score of

    p_t(x | context)**scale p_t(x)**(1 - scale)      up to its normaliser.

These tilted densities are not the marginals of any one path, so the samples are not draws from the one at t = 0, and
`log_prob` of a guided model is the density of what it samples, not the tilted one.

Guidance hurts where there is only noise and costs a call for nothing where there is hardly any, so it may be kept to an
interval of times: outside of it the model is called alone. Classifier-free guidance is one call with the batch doubled.

References: Dhariwal and Nichol 2021 (arXiv 2105.05233); Ho and Salimans 2022 (arXiv 2207.12598); Lin et al. 2023
(arXiv 2305.08891), section 3.4, for rescaling; Kynkäänniemi et al. 2024 (arXiv 2404.07724) for the interval; Karras et
al. 2024 (arXiv 2406.02070) for autoguidance.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, Sample, Time, per_sample
from pushforward.models.around import around, latest, nudge, unscaled
from pushforward.models.conditioning import Opaque
from pushforward.models.diffusion import Diffusion

Interval = tuple[float, float]
"""The first and the last time, or the lowest and the highest log-SNR, both included."""

Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]
"""log p(context | x_t): (x_t [batch, *event], t [batch], context [batch, ...]) -> [batch]."""


def guided(
    model: Diffusion,
    scale: float,
    interval: Interval | None = None,
    *,
    log_snr: Interval | None = None,
    unconditional: Tensor | int | None = None,
    rescale: float = 0.0,
) -> Diffusion:
    """Classifier-free guidance: away from what the model says without a context.

    Args:
        model: trained with and without a context.
        scale: 1 is the conditional model, 0 the unconditional one, above 1 extrapolates. (Papers that write 1 + w mean
            this number.)
        interval: the times at which to guide; all if None.
        log_snr: the same as an interval of log(alpha**2 / sigma**2) instead.
        unconditional: one context that means "none", a class index or a tensor of one context's shape. If None, the
            index `classes` of a network that has classes, else a second call without a context.
        rescale: how far to bring the output's standard deviation over each event back to that of the conditional
            model, 0 to 1. Not linear: it differs from one prediction to another, and was proposed for v.

    Returns:
        A model that shares its parameters with `model`. Asked without a context it is `model`.

    Raises:
        ConfigError: both kinds of interval, or one that is empty.

    >>> from pushforward.models import ring
    >>> model = guided(ring(), scale=2.0, interval=(0.1, 0.8))
    >>> model.sample(3, context=torch.tensor([0, 1, 2]), seed=0).shape
    torch.Size([3, 2])
    """
    nothing = _nothing(model) if unconditional is None else torch.as_tensor(unconditional)
    return around(model, _Guided(model, None, nothing, scale, _times(model, interval, log_snr), rescale))


def autoguided(
    model: Diffusion,
    weaker: Diffusion,
    scale: float,
    interval: Interval | None = None,
    *,
    log_snr: Interval | None = None,
) -> Diffusion:
    """Autoguidance: away from what a worse model of the same data says, smaller or less trained.

    Args:
        model: the model to improve.
        weaker: the worse one, of the same events, on any path and of any prediction.
        scale, interval, log_snr: as for `guided`; 1 is `model`, 0 is `weaker`.

    Raises:
        ShapeError: models of other events.
        ConfigError: both kinds of interval, or one that is empty.

    >>> from pushforward.models import ring
    >>> autoguided(ring(std=0.1), ring(std=0.3), scale=2.0).sample(3, seed=0).shape
    torch.Size([3, 2])
    """
    if weaker.shape != model.shape:
        fix = "Guide with a model of the same data."
        raise ShapeError(explain(f"a weaker model of events {model.shape}", f"{weaker.shape}", fix))
    if (weaker.path, weaker.prediction) != (model.path, model.prediction):
        weaker = weaker.on(model.path, model.prediction)
    return around(model, _Guided(model, weaker, None, scale, _times(model, interval, log_snr), 0.0))


def classifier_guided(
    model: Diffusion, classifier: Classifier, scale: float = 1.0, *, conditional: bool = False
) -> Diffusion:
    """Classifier guidance: up the gradient of log p(context | x_t).

    Exact for `scale` 1 and the true classifier of noisy events: the model is then the conditional one.

    Args:
        model: the model to guide.
        classifier: (x_t, t, context) -> log-probability [batch] of the context, for noisy events; differentiable.
        scale: what the gradient is multiplied by.
        conditional: whether the model is given the context too, or the classifier alone.

    >>> from pushforward.models import gaussian
    >>> near = lambda x, t, context: -(x - context).square().sum(1)
    >>> classifier_guided(gaussian(shape=(2,)), near).sample(3, context=torch.ones(3, 2), seed=0).shape
    torch.Size([3, 2])
    """
    return around(model, _Classified(model, classifier, scale, conditional))


class _Guided(nn.Module):
    """The network's output pulled away from another: the weaker model's, or its own without a context."""

    def __init__(
        self,
        model: Diffusion,
        weaker: Diffusion | None,
        nothing: Tensor | None,
        scale: float,
        times: Interval | None,
        rescale: float,
    ) -> None:
        super().__init__()
        self.model, self.weaker, self.nothing = model, weaker, nothing
        self.scale, self.times, self.rescale = scale, times, rescale

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        if self.scale == 1 or (context is None and self.weaker is None):
            return self.model.net(x, t, context)
        weight = torch.full_like(t, self.scale - 1)
        if self.times is None:
            return self._apart(*self._both(x, t, context, slice(None)), weight)
        inside = (t >= self.times[0]) & (t <= self.times[1])
        if transformed():  # no decision may depend on a value there
            return self._apart(*self._both(x, t, context, slice(None)), weight * inside)
        rows = inside.nonzero()[:, 0]
        if not len(rows):
            return self.model.net(x, t, context)
        given, other = self._both(x, t, context, rows)
        return given.index_copy(0, rows, self._apart(given[rows], other, weight[rows]))

    def _both(self, x: Sample, t: Time, context: Context, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The model's output for all, and that of the other for some rows."""
        some = None if context is None else context[rows]
        if self.weaker is not None:
            return self.model.net(x, t, context), self.weaker.net(x[rows], t[rows], some)
        if some is None or self.nothing is None:
            return self.model.net(x, t, context), self.model.net(x[rows], t[rows], None)
        assert context is not None
        without = self.nothing.to(context).expand_as(some)
        both = self.model.net(torch.cat([x, x[rows]]), torch.cat([t, t[rows]]), torch.cat([context, without]))
        return both[: len(x)], both[len(x) :]

    def _apart(self, given: Tensor, other: Tensor, weight: Tensor) -> Tensor:
        """given + weight (given - other), its spread brought back where that is asked."""
        far = given + per_sample(weight, given) * (given - other)
        if not self.rescale:
            return far
        ratio = given.flatten(1).std(1) / far.flatten(1).std(1)
        return far * per_sample(1 + self.rescale * (ratio - 1), far)


class _Classified(nn.Module, Opaque):
    """The network's output with a classifier's gradient added to the score; the context is the classifier's."""

    def __init__(self, model: Diffusion, classifier: Classifier, scale: float, conditional: bool) -> None:
        super().__init__()
        self.model, self.classifier, self.scale, self.conditional = model, classifier, scale, conditional
        self.latest = latest(model.path)

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        m = self.model.net(x, t, context if self.conditional else None)
        if context is None:
            return m
        c, sooner = self.model.path.coefficients(t), t.clamp(max=self.latest)
        x_t = unscaled(x, c, self.model.prediction)
        slope = self._slope(x_t, sooner, context)
        ratio = self.scale * c.sigma**2 / self.model.path.coefficients(sooner).alpha
        return nudge(m, per_sample(ratio, x) * slope, c, self.model.prediction)

    def _slope(self, x: Sample, t: Time, context: Tensor) -> Sample:
        def total(x: Tensor) -> Tensor:
            return self.classifier(x, t, context).sum()

        return torch.func.grad(total)(x)


def _nothing(model: Diffusion) -> Tensor | None:
    """The class index that means "no class", if the network has classes."""
    counts = [int(getattr(part, "classes", 0)) for part in (model.net, *model.modules())]
    return next((torch.tensor(count) for count in counts if count), None)


def _times(model: Diffusion, interval: Interval | None, log_snr: Interval | None) -> Interval | None:
    """The interval in times, however it was given."""
    if interval is not None and log_snr is not None:
        fix = "The path turns one into the other; pass interval= or log_snr=."
        raise ConfigError(explain("one interval", "times and log-SNRs", fix))
    if log_snr is not None:
        ends = model.path.time_at_log_snr(torch.tensor(log_snr, dtype=torch.float64))
        interval = (ends[1].item(), ends[0].item())
    if interval is not None and not interval[0] < interval[1]:
        fix = "Give the first time, then the last; 0 is data, 1 is noise."
        raise ConfigError(explain("an interval with its first end below its last", f"{interval}", fix))
    return interval

"""Is a field the field of any density? How far a learned one is from the continuity equation.

Let s be the score and u the velocity of a model, both from the same network. If s is the gradient of log p_t for some
densities p_t and u carries them, then d/dt log p + div u + u . s = 0, and the gradient of that says it without log p:

    R = d/dt s + grad (div u + u . s) = 0      at every x and t.

On paths with alpha = 1, u = -sigma sigma' s, and this is the heat equation's

    d/dt s = sigma sigma' grad (div s + |s|**2).

Training does not enforce it: a network matches the score time by time. R is exact by `torch.func` in few dimensions.
In many, div u is replaced by v . (du/dx) v for random signs v, whose mean it is; then R costs two passes a probe, has
the right mean, and its norm is raised by the probes' noise, which falls as one over the root of their number.

References: Lai et al. 2022 (arXiv 2210.04296), whose score Fokker-Planck equation this is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConversionError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time
from pushforward.models.diffusion import Diffusion
from pushforward.paths import recast, score, velocity


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """What is left of the continuity equation.

    Args:
        vector: R, [batch, *event].
        norm: its length, [batch].
        relative: the length over the sum of those of its two terms, [batch]; 0 for a true field, at most 1.
    """

    vector: Sample
    norm: PerSample
    relative: PerSample


def residual(
    model: Diffusion, x: Sample, t: Time, context: Context = None, probes: int | None = None, seed: int = 0
) -> Residual:
    """R at (x, t), sample by sample. A model in training mode must have no dropout.

    Args:
        model: whose velocity and score are asked.
        x: where, [batch, *event]; samples of x_t, say.
        t: when, [batch]; sigma must be above 0 there.
        context: what the model is conditioned on.
        probes: random signs per sample for the divergence; None computes it, which costs a pass per dimension.
        seed: of the probes.

    Raises:
        ConversionError: a time at which the score is infinite.

    >>> from pushforward.models import ring
    >>> x, t = torch.zeros(1, 2, dtype=torch.float64) + 0.3, torch.tensor([0.4], dtype=torch.float64)
    >>> bool(residual(ring(), x, t).relative < 1e-9)
    True
    """
    if bool((model.path.coefficients(t).sigma <= 0).any()):
        fix = "Ask at later times."
        raise ConversionError(explain("times at which the score is finite", f"t={t.min().item():g}", fix))
    signs = None if probes is None else _signs(x, probes, seed)

    def one(x: Tensor, t: Tensor, context: Tensor | None, signs: Tensor | None) -> tuple[Tensor, Tensor]:
        rate = torch.func.jvp(lambda t: _both(model, x, t, context)[1], (t,), (torch.ones_like(t),))[1]
        return rate, torch.func.grad(lambda x: _outflow(model, x, t, context, signs))(x)

    axes = (0, 0, None if context is None else 0, None if signs is None else 0)
    rate, gradient = torch.func.vmap(one, axes)(x, t, context, signs)
    vector = rate + gradient
    norm, size = _length(vector), _length(rate) + _length(gradient)
    return Residual(vector, norm, norm / size.clamp(min=torch.finfo(size.dtype).tiny))


def _both(model: Diffusion, x: Tensor, t: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """The velocity and the score of one event."""
    x, t = x[None], t[None]
    m = model.raw(x, t, None if context is None else context[None])
    c = model.path.coefficients(t)
    return recast(m, x, c, model.prediction, velocity)[0], recast(m, x, c, model.prediction, score)[0]


def _outflow(model: Diffusion, x: Tensor, t: Tensor, context: Tensor | None, signs: Tensor | None) -> Tensor:
    """div u + u . s of one event, div u by probes [probes, *event] if there are any."""

    def along(direction: Tensor) -> Tensor:
        change = torch.func.jvp(lambda x: _both(model, x, t, context)[0], (x,), (direction,))[1]
        return (change * direction).sum()

    axes = torch.eye(x.numel(), dtype=x.dtype, device=x.device).reshape(-1, *x.shape)
    each = torch.func.vmap(along)(axes if signs is None else signs)
    u, s = _both(model, x, t, context)
    return (each.sum() if signs is None else each.mean()) + (u * s).sum()


def _signs(x: Sample, probes: int, seed: int) -> Tensor:
    """Random signs, [batch, probes, *event]."""
    draw = Draw(seed, "residual", device=str(x.device))
    return torch.stack([draw.at(k).signs(len(x), tuple(x.shape[1:]), x.dtype) for k in range(probes)], 1)


def _length(vector: Sample) -> PerSample:
    return vector.flatten(1).norm(dim=1)

"""Exact models: `Diffusion`s of data that are known, whose networks are oracles.

    gaussian     data are N(mean, std**2), or of any covariance
    mixture      a few normals
    ring         normals on a circle, the usual picture
    empirical    a training set and nothing else: the optimum that training error alone leads to

They are models like any other, without error but the solver's: what a solver, a likelihood, a conversion or a guidance
does to them can be compared with a formula. `model.net.log_prob(x, t)` is the exact density at any time.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Sample
from pushforward.models.diffusion import Diffusion
from pushforward.models.oracles import Empirical, Gaussian, Mixture
from pushforward.paths import Linear, Path, Prediction, v, x0

_AGREE: Final = "Give every part the same first axis."


def gaussian(
    mean: Tensor | float = 0.0,
    std: Tensor | float = 1.0,
    path: Path | None = None,
    prediction: Prediction = v,
    *,
    shape: tuple[int, ...] | None = None,
    covariance: Tensor | None = None,
) -> Diffusion:
    """The exact model of normal data.

    Args:
        mean, std: of the data, numbers or tensors that broadcast to an event.
        path: alpha and sigma; `Linear` if None.
        prediction: what the network outputs; the default is finite at both ends of every path.
        shape: the shape of one event; that of mean and std if None.
        covariance: of the flattened event in place of `std`, [size, size]; symmetric, no eigenvalue below 0.

    Raises:
        ShapeError: no shape is known, or the covariance is of another size.
        ConfigError: a std or covariance that is not positive.

    >>> model = gaussian(mean=0.3, std=0.5, shape=(2,))
    >>> model.denoiser(torch.zeros(1, 2), torch.ones(1))
    tensor([[0.3000, 0.3000]])
    """
    mean, spread = _wide(mean), _wide(std)
    event = tuple(torch.broadcast_shapes(mean.shape, spread.shape)) if shape is None else tuple(shape)
    if not event:
        raise ShapeError(explain("an event of known shape", "numbers alone", "Pass shape=(2,), say."))
    axes, size = None, math.prod(event)
    if covariance is not None:
        if tuple(covariance.shape) != (size, size):
            got = f"{tuple(covariance.shape)} for events {event}"
            raise ShapeError(explain(f"a covariance [{size}, {size}]", got, "Flatten the event's axes into one."))
        values, axes = torch.linalg.eigh(_wide(covariance))
        _positive(values + 1e-12 * values.abs().max())
        spread = values.clamp(min=0).sqrt().reshape(event)
    else:
        _positive(spread)
    net = Gaussian(event, _path(path), prediction, mean.expand(event), spread.expand(event), axes)
    return Diffusion(net, net.path, prediction)


def mixture(
    weights: Tensor | Sequence[float],
    means: Tensor | Sequence[Sequence[float]],
    stds: Tensor | Sequence[float] | float,
    path: Path | None = None,
    prediction: Prediction = v,
    *,
    labels: Tensor | Sequence[int] | None = None,
) -> Diffusion:
    """The exact model of a mixture of normals with independent coordinates.

    Args:
        weights: of the components, positive, in any unit, [components].
        means: [components, *event].
        stds: one number for all, one for each component, or one for each coordinate [components, *event].
        path, prediction: as for `gaussian`.
        labels: the class of each component, 0, 1, ...; a context [batch] of classes then picks components.

    Raises:
        ShapeError: parts that do not fit each other.
        ConfigError: a weight or std that is not positive.

    >>> model = mixture([0.5, 0.5], [[-1.0], [1.0]], 0.1, labels=[0, 1])
    >>> model.denoiser(torch.zeros(1, 1), torch.ones(1), torch.tensor([1]))
    tensor([[1.]])
    """
    logs, centres, spread = _positive(_wide(weights)).log(), _wide(means), _positive(_wide(stds))
    k, event = len(centres), tuple(centres.shape[1:])
    spread = spread.reshape(-1, *[1] * len(event)) if spread.ndim == 1 else spread
    classes = None if labels is None else torch.as_tensor(labels)
    fits = torch.broadcast_shapes(spread.shape, centres.shape) == centres.shape and logs.shape == (k,) and event
    if not fits or (classes is not None and classes.shape != (k,)):
        got = f"{tuple(logs.shape)}, {tuple(centres.shape)} and {tuple(spread.shape)}"
        raise ShapeError(explain("weights, means and stds (and labels) of one number of components", got, _AGREE))
    flat, wide = centres.reshape(k, -1), spread.expand(centres.shape).reshape(k, -1)
    net = Mixture(event, _path(path), prediction, logs.log_softmax(0), flat, wide, classes, _count(classes))
    return Diffusion(net, net.path, prediction)


def ring(
    modes: int = 8, radius: float = 1.0, std: float = 0.1, path: Path | None = None, prediction: Prediction = v
) -> Diffusion:
    """Equal round modes on a circle, mode k at angle 2 pi k / modes; its number is its class.

    >>> ring(modes=4).sample(3, context=torch.tensor([0, 1, 2]), seed=0).shape
    torch.Size([3, 2])
    """
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    return mixture(torch.ones(modes), means, std, path, prediction, labels=torch.arange(modes))


def empirical(
    data: Sample,
    path: Path | None = None,
    prediction: Prediction = x0,
    *,
    labels: Tensor | None = None,
    std: float = 0.0,
) -> Diffusion:
    """The optimal model of a finite training set: it says training events and nothing else.

    With `std` 0 the velocity has no limit where sigma is 0 (it points to the nearest event, ever faster), so the
    default prediction is x0, whose `span` stops short of that end; other rows answer there with eps = 0, the mean of
    noise that is independent of the data.

    Args:
        data: the events in the model's units, [n, *event].
        path: alpha and sigma; `Linear` if None.
        prediction: what the network outputs.
        labels: the class of each event, [n]; a context [batch] of classes then picks events.
        std: the width of a normal around each event, above 0 for a density and a velocity at sigma = 0. Dequantised
            values of spacing d have d / sqrt(12).

    Raises:
        ShapeError: no events, or labels of another length.
        ConfigError: a negative std.

    >>> model = empirical(torch.tensor([[0.0], [1.0]]))
    >>> model.denoiser(torch.tensor([[0.7]]), torch.tensor([0.01]))
    tensor([[1.]])
    """
    if not len(data) or data.ndim < 2 or (labels is not None and labels.shape != data.shape[:1]):
        got = f"data {tuple(data.shape)}" + ("" if labels is None else f" and labels {tuple(labels.shape)}")
        raise ShapeError(explain("events [n, *event] (and labels [n]), n of one or more", got, _AGREE))
    if std < 0:
        raise ConfigError(explain("a std of 0 or more", f"{std}", "Use 0 for the events alone."))
    events = _wide(data).flatten(1)
    centre = events.mean(0)
    event = tuple(data.shape[1:])
    net = Empirical(event, _path(path), prediction, centre, events - centre, std, labels, _count(labels))
    return Diffusion(net, net.path, prediction)


def _wide(value: Tensor | Sequence[Sequence[float]] | Sequence[float] | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).detach()


def _positive(value: Tensor) -> Tensor:
    if not bool((value > 0).all()):
        raise ConfigError(explain("positive numbers", f"a least of {value.min().item():g}", "Check std and weights."))
    return value


def _count(labels: Tensor | None) -> int:
    return 0 if labels is None else int(labels.max()) + 1


def _path(path: Path | None) -> Path:
    return Linear() if path is None else path

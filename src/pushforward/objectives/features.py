"""In which features a sample is compared with the one that was wanted, without a network trained for perception.

A student says y where x0 is wanted. `Distillation` and `FlowMapMatching` take the mean square of y - x0 by default; in

    Scales    (1/K) sum_k 4**k mean (P_k y - P_k x0)**2              P_k: means over squares of side 2**k
    Hidden    (1/L) sum_l |h_l(y_t) - h_l(x_t)|**2 / |h_l(x_t)|**2   y_t, x_t: y and x0 under the same noise

`Scales` is a quadratic form in which a shift of a whole region counts for what it is and not for its few pixels; its
minimum is the mean, as for the square. `Hidden` looks with the eyes of a trained diffusion model, whose blocks have
states h_l at a random time. It is not quadratic, so its minimum is the wanted sample only where that is certain: on a
teacher's pairs, or with a teacher. The model's weights get no gradients.

References:
    Bojanowski, Joulin, Lopez-Paz, Szlam 2018, arXiv 1707.05776 (differences of several scales).
    Lin and Yang 2024, arXiv 2401.00110 (a diffusion model's own states as perception).
"""

import abc
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, avg_pool2d

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.diffusion import Diffusion
from pushforward.paths import TimeDistribution, Uniform


class FeatureLoss(abc.ABC):
    """How far a sample is from another; a frozen dataclass."""

    @abc.abstractmethod
    def __call__(self, made: Sample, wanted: Sample, context: Context, draw: Draw) -> PerSample:
        """The error of each sample, [batch], with gradients for `made` alone; 0 where they are equal.

        Args:
            made, wanted: [batch, *event].
            context: what they are conditioned on, or None.
            draw: the address of whatever is random in it.
        """


def off(made: Sample, wanted: Sample, features: FeatureLoss | None, context: Context, draw: Draw) -> PerSample:
    """The error in these features, or the mean square, [batch]."""
    if features is None:
        return (made - wanted).square().flatten(1).mean(1)
    return features(made, wanted, context, draw.of("features"))


@dataclass(frozen=True, slots=True)
class Scales(FeatureLoss):
    """The mean square of the difference and of its means over larger and larger squares.

    Args:
        most: how many halvings of the sides, as far as both are even.

    >>> y, x = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    >>> Scales()(y, x, None, Draw(0))  # (1 + 4 + 16) / 3
    tensor([7.])
    """

    most: int = 3

    def __call__(self, made: Sample, wanted: Sample, context: Context, draw: Draw) -> PerSample:
        rest = made - wanted
        if rest.ndim not in (3, 4):
            got = f"{tuple(rest.shape[1:])}"
            raise ShapeError(explain("images (C, H, W) or sequences (tokens, features)", got, "Leave features out."))
        errors = [rest.square().flatten(1).mean(1)]
        while len(errors) <= self.most and all(side % 2 == 0 for side in _sides(rest)):
            rest = avg_pool2d(rest, 2) if rest.ndim == 4 else avg_pool1d(rest.mT, 2).mT
            errors.append(rest.square().flatten(1).mean(1) * (4 if rest.ndim == 4 else 2) ** len(errors))
        return torch.stack(errors).mean(0)


@dataclass(frozen=True, slots=True)
class Hidden(FeatureLoss):
    """The states of a trained model's blocks, when it sees both samples under the same noise.

    Args:
        model: whose network looks; as it is, without guidance.
        layers: names of its modules whose outputs are compared; all of its `blocks` if there are none.
        pixels: weight of the mean square of the difference itself, which no state sees whole.
        times: how noisy both are.
        ends: the first and the last of these times.

    Raises:
        ConfigError: no such modules, no `blocks`, or ends outside the model's span.
    """

    model: Diffusion = field(repr=False)
    layers: tuple[str, ...] = ()
    pixels: float = 1.0
    times: TimeDistribution = Uniform()
    ends: tuple[float, float] = (0.02, 0.98)

    def __post_init__(self) -> None:
        low, high = self.model.span
        if not low <= self.ends[0] < self.ends[1] <= high or self.pixels < 0:
            got = f"ends={self.ends}, pixels={self.pixels}"
            raise ConfigError(explain(f"ends within [{low:g}, {high:g}] and pixels of 0 or more", got, "Change it."))
        _watched(self.model.net, self.layers)

    def __call__(self, made: Sample, wanted: Sample, context: Context, draw: Draw) -> PerSample:
        t = self.times.sample(len(made), draw.of("time"), self.model.path, self.ends).to(made)
        eps = draw.of("eps").normal(len(made), self.model.shape, made.dtype)
        with torch.no_grad():
            true = self._states(wanted, eps, t, context)
        leaf = made.detach()
        learns = torch.is_grad_enabled() and made.requires_grad
        with torch.set_grad_enabled(learns):
            error = self._error(leaf.requires_grad_(learns), wanted, true, eps, t, context)
        if not learns:
            return error
        (pull,) = torch.autograd.grad(error.sum(), leaf)  # of the sample alone, and not of the model's weights
        return error.detach() + ((made - leaf.detach()) * pull).flatten(1).sum(1)

    def _error(
        self, made: Sample, wanted: Sample, true: list[Tensor], eps: Sample, t: Tensor, context: Context
    ) -> PerSample:
        error = self.pixels * (made - wanted).square().flatten(1).mean(1)
        for said, state in zip(self._states(made, eps, t, context), true, strict=True):
            size = state.square().flatten(1).mean(1).clamp(min=1e-12)
            error = error + (said - state).square().flatten(1).mean(1) / size / len(true)
        return error

    def _states(self, x: Sample, eps: Sample, t: Tensor, context: Context) -> list[Tensor]:
        with _seen(_watched(self.model.net, self.layers)) as states:
            self.model.raw(self.model.path.mix(x, eps, t), t, context)
        return states


def _sides(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape[2:]) if x.ndim == 4 else (x.shape[1],)


def _watched(net: Any, layers: tuple[str, ...]) -> list[nn.Module]:
    """The modules whose outputs are features."""
    known: dict[str, nn.Module] = dict(net.named_modules()) if isinstance(net, nn.Module) else {}
    missing = [name for name in layers if name not in known]
    blocks: list[nn.Module] = list(getattr(net, "blocks", ()))
    if missing or not (layers or blocks):
        got = f"{missing}" if missing else f"a {type(net).__name__} without `blocks`"
        fix = "Name some of net.named_modules() in `layers`."
        raise ConfigError(explain("modules of the model's network", got, fix))
    return [known[name] for name in layers] if layers else blocks


@contextmanager
def _seen(modules: list[nn.Module]) -> Generator[list[Tensor]]:
    """Within, the outputs of these modules in this thread are noted, in the order of the calls."""
    states, here = list[Tensor](), threading.get_ident()

    def note(module: nn.Module, given: Any, said: Any) -> None:
        if threading.get_ident() == here:
            states.append(said[0] if isinstance(said, tuple) else said)

    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()

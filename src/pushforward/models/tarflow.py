"""TarFlow: a normalizing flow whose transforms are causal Transformers over patches.

    z_t = x_t exp(s(x_<t)) + m(x_<t)      patch by patch, forwards in one transform and backwards in the next

Training is one parallel pass; sampling walks through the patches, each computed once (its keys and values are kept).
What makes its samples good is around the flow:

    noise       train on x + sigma eps (`objectives.Noisy`): a density that is no wider than its pixels is smoothed
    denoised    x <- x + sigma**2 grad log p(x)       Tweedie's formula with the flow's own score, after sampling
    guided      parameters u + w (c - u)              between those without a context and those with it

Guidance acts on the conditioner, so a guided flow is a flow: its samples have an exact density too.

References:
    Zhai et al. 2024, arXiv 2412.06329. Ho, Salimans 2022, arXiv 2207.12598 (guidance).
"""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.nets.causal import CausalTransformer
from pushforward.positions import Position
from pushforward.transforms import Affine, Autoregressive, Causal, Chain, Inverse, Transform


def tarflow(
    shape: tuple[int, ...],
    transforms: int = 4,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    patch: int | None = None,
    position: Position | None = None,
    *,
    classes: int = 0,
    context: int = 0,
    bound: float = 5.0,
) -> NormalizingFlow:
    """TarFlow. Width and layers are by default those of its authors' small example on MNIST.

    Args:
        shape: the event's shape, (channels, rows, columns) or (tokens, features).
        transforms: Transformers, in alternating directions.
        width, layers, heads: of each.
        patch: side of a patch; None takes the smallest above 1 that leaves at most 64.
        position: any position encoding; None takes `Axial` for images and `Rotary` for sequences.
        classes: number of classes; no context, or index `classes`, then means "no class".
        context: length of a context vector instead, 0 for none.
        bound: the largest log-scale of one transform.

    Raises:
        ConfigError: no transforms, or both classes and a context.

    >>> flow = tarflow((1, 4, 4), transforms=2, width=16, layers=1, heads=2, patch=2)
    >>> flow.sample(3, seed=0).shape
    torch.Size([3, 1, 4, 4])
    """
    if transforms < 1 or (classes and context):
        got = f"{transforms=}, {classes=}, {context=}"
        raise ConfigError(explain("a transform at least, and classes or a context", got, "Give one of the two."))
    monotone = Affine(bound)
    members = [
        Autoregressive(monotone, CausalTransformer(
            shape, monotone.size, position, width, layers, heads, patch,
            backwards=k % 2 == 1, classes=classes, context=context,
        ))
        for k in range(transforms)
    ]  # fmt: skip
    return NormalizingFlow(Chain(*members), Normal(tuple(shape)))


class Guided(nn.Module):
    """A causal conditioner between one without a context and the same with it, or beyond: u + scale (c - u).

    Args:
        conditioner: what was trained with and without a context.
        scale: 0 ignores the context, 1 is the conditioner itself, above 1 exaggerates what the context changes.
    """

    order: Tensor

    def __init__(self, conditioner: Causal, scale: float) -> None:
        super().__init__()
        self.conditioner, self.scale, self.sizes = conditioner, scale, conditioner.sizes
        self.register_buffer("order", conditioner.order, persistent=False)

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, k] of numbers [batch, n], both in `order`."""
        without = self.conditioner.placed(x)
        return without if context is None else self._between(without, self.conditioner.placed(x, context))

    def walk(self, n: int, context: Context = None) -> Generator[Tensor, Tensor, None]:
        """The parameters of each level in turn, from two walks side by side."""
        if context is None:
            yield from self.conditioner.walk(n)
            return
        walks = self.conditioner.walk(n), self.conditioner.walk(n, context)
        x = yield self._between(next(walks[0]), next(walks[1]))
        for _ in self.sizes[1:]:
            x = yield self._between(walks[0].send(x), walks[1].send(x))

    def _between(self, without: Tensor, given: Tensor) -> Tensor:
        return torch.lerp(without, given, self.scale)


def guided_flow(flow: NormalizingFlow, scale: float) -> NormalizingFlow:
    """A flow that shares the parameters of `flow`, with every autoregressive transform guided.

    Args:
        flow: trained with contexts and without (labels dropped from time to time).
        scale: as in `Guided`; 1 is the flow itself.
    """

    def wrapped(transform: Transform) -> Transform:
        match transform:
            case Autoregressive():
                conditioner = Guided(transform.conditioner, scale)
                return Autoregressive(transform.monotone, conditioner, transform.method, transform.tolerance)
            case Inverse():
                return Inverse(wrapped(transform.transform))
            case Chain():
                return Chain(*map(wrapped, transform))
            case _:
                return transform

    return NormalizingFlow(wrapped(flow.chain), flow.base)


def denoised(flow: NormalizingFlow, x: Sample, noise: float, context: Context = None) -> Sample:
    """x + noise**2 grad log p(x): the mean of the clean data behind samples of a flow trained on noisy ones.

    Args:
        flow: trained on data plus `noise` times normal noise.
        x: its samples, [batch, *event].
        noise: the standard deviation it was trained with, in the flow's units.
        context: what the samples were drawn with.
    """
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(flow.log_prob(at, context).sum(), at)
    return x + noise**2 * score

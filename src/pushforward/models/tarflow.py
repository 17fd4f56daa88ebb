"""TarFlow: a normalizing flow whose transforms are causal Transformers over patches.

    z_t = x_t exp(s(x_<t)) + m(x_<t)      patch by patch, forwards in one transform and backwards in the next

Training is one parallel pass; sampling walks through the patches, each computed once (its keys and values are kept).
What makes its samples good is around the flow:

    noise       train on x + sigma eps (`objectives.Noisy`): a density that is no wider than its pixels is smoothed
    denoised    x <- x + sigma**2 grad log p(x)       Tweedie's formula with the flow's own score, after sampling
    guided      parameters u + w (c - u)              between those without a context and those with it
                                                      (`guided_flow.py`)

Reference: Zhai et al. 2024, arXiv 2412.06329.
"""

import torch

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, Sample
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import numbers
from pushforward.nets.causal import CausalTransformer
from pushforward.positions import Position
from pushforward.transforms import Affine, Autoregressive, Chain


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
    numbers(shape)
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

"""Flows for images of several scales.

Glow

    level(c, h, w) = squeeze -> [ actnorm -> 1 x 1 convolution -> affine coupling ] x steps
                     -> prior of the second half given the first -> the next level on the first half -> unsqueeze

and no prior and no next level at the last. The event keeps the image's shape throughout: what the paper factors out
stays where it is, and its conditional prior is an affine coupling (see `transforms.multiscale`). So there is one latent
of the image's size, and decoding draws nothing anew.

Data are in the model's own units. The paper's pixels lie in [-0.5, 0.5] and are dequantised by uniform noise.

References:
    Kingma, Dhariwal 2018, arXiv 1807.03039.
"""

from pushforward._errors import ConfigError, explain
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import ByClass, bounded, numbers
from pushforward.nets.conditioners import Convolutions
from pushforward.transforms import (
    ActNorm,
    AffineCoupling,
    Chain,
    Inverse,
    Part,
    Squeeze,
    Transform,
    channels,
    convolution,
)


def glow(
    shape: tuple[int, int, int],
    levels: int = 3,
    steps: int = 32,
    hidden: int = 512,
    *,
    context: int = 0,
    classes: int = 0,
    bound: float = 2.0,
    support: tuple[float, float] | None = None,
    alpha: float = 0.05,
) -> NormalizingFlow:
    """Glow with affine couplings. The defaults are the paper's for CIFAR-10.

    Args:
        shape: (channels, height, width); the sides are divided by 2 once per level.
        levels: scales.
        steps: steps of each level.
        hidden: channels inside each network.
        context: length of a context vector, 0 for none.
        classes: number of classes instead; no context, or index `classes`, then means "no class".
        bound: the largest log-scale of one coupling. (The paper's sigmoid scales reach 0, and samples infinity.)
        support: (low, high) of bounded data, mapped to the line by a logit first; None, as in the paper, for the line.
        alpha: how far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within,
            and gives data on an end itself no density.

    Returns:
        A flow with untrained weights. `prepare` starts its actnorms.

    Raises:
        ConfigError: sides that cannot be halved so often, no level or step, or both context and classes.

    >>> flow = glow((1, 8, 8), levels=2, steps=1, hidden=8)
    >>> flow.sample(3, seed=0).shape
    torch.Size([3, 1, 8, 8])
    """
    numbers(shape)
    if levels < 1 or steps < 1 or len(shape) != 3 or shape[1] % 2**levels or shape[2] % 2**levels:
        got = f"{shape=}, {levels=}, {steps=}"
        fix = "Pad the images or take fewer levels."
        raise ConfigError(explain("images [c, h, w] with sides divided by 2 once per level", got, fix))
    if context and classes:
        fix = "Append a one-hot vector of the class to the context yourself."
        raise ConfigError(explain("context or classes", f"{context=} and {classes=}", fix))

    def coupling(c: int, h: int, w: int) -> Transform:
        kept = c // 2
        net = Convolutions((kept, h, w), 2 * (c - kept), hidden, context or classes)
        return AffineCoupling((c, h, w), ByClass(net, classes) if classes else net, channels((c, h, w)), bound)

    def level(c: int, h: int, w: int, rest: int) -> Chain:
        c, h, w = 4 * c, h // 2, w // 2
        members: list[Transform] = [Squeeze()]
        for i in range(steps):
            members += [ActNorm(c), convolution(c, seed=100 * rest + i), coupling(c, h, w)]
        if rest > 1:
            members += [coupling(c, h, w), Part(c // 2, level(c // 2, h, w, rest - 1))]
        return Chain(*members, Inverse(Squeeze()))

    return NormalizingFlow(Chain(*bounded(support, alpha), *level(*shape, levels)), Normal(tuple(shape)))

"""Flows with a name whose transforms are bends, rotations with marginals, or the identity plus something, as functions.

Each is a row of the chain of `named_chain`:

    function             transform                                        default
    planar, radial       Planar, Radial                                   10
    sylvester            Sylvester                                        16, up to 16 directions
    gaussianization      Gaussianize                                      8, 8 components
    residual_flow        Residual(Contraction)                            10, 3 layers of 128

They need no order of the numbers. References are those of the transforms.
"""

import math
from typing import Literal, Unpack

from torch import nn

from pushforward._errors import ConfigError, explain
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named_chain import Common, chained, takes, told
from pushforward.nets import Contraction
from pushforward.transforms import Gaussianize, LogDet, Planar, Radial, Residual, Sylvester


@takes(Common)
def planar(
    shape: tuple[int, ...], transforms: int = 10, bend: Literal["tanh", "leaky_relu"] = "tanh", **common: Unpack[Common]
) -> NormalizingFlow:
    """Planar flow; its context, if any, adds linearly to the parameters."""
    return chained(
        shape, [Planar(shape, bend, _linear(common, 2 * math.prod(shape) + 1)) for _ in range(transforms)], common
    )


@takes(Common)
def radial(shape: tuple[int, ...], transforms: int = 10, **common: Unpack[Common]) -> NormalizingFlow:
    """Radial flow; its context, if any, adds linearly to the parameters."""
    return chained(shape, [Radial(shape, _linear(common, math.prod(shape) + 2)) for _ in range(transforms)], common)


@takes(Common)
def sylvester(
    shape: tuple[int, ...], transforms: int = 16, directions: int | None = None, **common: Unpack[Common]
) -> NormalizingFlow:
    """Sylvester flow, of as many directions as the event has numbers up to 16; its context adds linearly."""
    n = math.prod(shape)
    m = min(n, 16) if directions is None else directions
    size = m * n + m * (m + 1) + m
    return chained(shape, [Sylvester(shape, m, _linear(common, size)) for _ in range(transforms)], common)


@takes(Common)
def gaussianization(
    shape: tuple[int, ...], transforms: int = 8, components: int = 8, **common: Unpack[Common]
) -> NormalizingFlow:
    """Gaussianization flow: rotations, and mixtures of normals for each number. It reads no context and no classes.

    `models.gaussianize` starts one from data, layer by layer: its parameters are fitted to the marginals of all rows,
    and are no network's outputs, which alone could read a context.
    """
    if told(common):
        fix = "Its mixtures are fitted to the marginals of all rows and come from no network: take naf or sos."
        raise ConfigError(explain("no context and no classes", "one of them", fix))
    return chained(shape, [Gaussianize(shape, components) for _ in range(transforms)], common)


@takes(Common)
def residual_flow(
    shape: tuple[int, ...], transforms: int = 10, hidden: int = 128, layers: int = 3, lipschitz: float = 0.9,
    log_det: LogDet | None = None, **common: Unpack[Common],
) -> NormalizingFlow:  # fmt: skip
    """Residual flow: x + g(x) with g of Lipschitz constant `lipschitz`.

    `log_det` is exact by default; for events of more than a few dozen numbers give a `Roulette`, and train it with
    `objectives.Redrawn(objectives.Likelihood())`, which moves its address on from step to step.
    """
    nets = [Contraction(math.prod(shape), hidden, layers, told(common), lipschitz) for _ in range(transforms)]
    return chained(shape, [Residual(net, log_det) for net in nets], common)


def _linear(common: Common, size: int) -> nn.Linear | None:
    """What a context adds to so many parameters."""
    return nn.Linear(told(common), size) if told(common) else None

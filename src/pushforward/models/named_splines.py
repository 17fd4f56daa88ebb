"""Flows of couplings with bent maps: neural spline flows, flows on the circle, mixtures of logistics.

Neural spline flow

    shift -> scale -> [ shuffle -> LU -> rational-quadratic coupling ] x couplings -> LU -> normal base

A flow on circles (a torus, if the event has several numbers)

    [ shuffle -> circular spline coupling ] x couplings -> one circular spline each -> uniform base

Angles reach the networks as (cos, sin), so nothing jumps where the circle is cut open.

Flow++, its coupling with plain networks

    [ actnorm -> LU -> mixture-of-logistics coupling ] x couplings -> normal base

References:
    Durkan, Bekasov, Murray, Papamakarios 2019, arXiv 1906.04032 (neural spline flows).
    Rezende et al. 2020, arXiv 2002.02428 (circles).
    Ho, Chen, Srinivas, Duan, Abbeel 2019, arXiv 1902.00275 (Flow++).
"""

import math

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.models.base import Normal, Uniform
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import ByClass, bounded, dimensions
from pushforward.nets.conditioners import ResidualDense
from pushforward.transforms import (
    LU,
    ActNorm,
    Chain,
    DiagonalScale,
    Elementwise,
    Inverse,
    LogisticMixture,
    Monotone,
    MonotoneCoupling,
    RationalQuadratic,
    Shift,
    Transform,
    flatten,
    halves,
    shuffle,
)


def nsf(
    shape: tuple[int, ...],
    couplings: int = 10,
    hidden: int = 256,
    blocks: int = 2,
    *,
    bins: int = 8,
    reach: float = 3.0,
    context: int = 0,
    classes: int = 0,
    dropout: float = 0.0,
    support: tuple[float, float] | None = None,
    alpha: float = 0.05,
) -> NormalizingFlow:
    """A neural spline flow of couplings, RQ-NSF (C). The defaults are the authors' for tables.

    Args:
        shape: the event's shape, of two numbers or more.
        couplings: how many; at least two.
        hidden, blocks: width and number of the residual blocks of each network.
        bins: pieces of each spline.
        reach: splines bend on (-reach, reach) and are the identity beyond; `prepare` puts data there.
        context: length of a context vector, 0 for none.
        classes: number of classes instead; no context, or index `classes`, then means "no class".
        dropout: within the blocks, in training; up to 0.25 in the authors' scripts, by data set.
        support: (low, high) of bounded data, mapped to the line by a logit first; None for the line.
        alpha: how far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within,
            and gives data on an end itself no density.

    Returns:
        A flow that is the identity but for the order of numbers. `prepare` standardises its data.

    Raises:
        ConfigError: an event of one number, fewer than two couplings, or impossible settings of the parts.

    >>> flow = nsf((3,), couplings=2, hidden=16)
    >>> flow.log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """
    n = dimensions(shape, couplings)
    g = RationalQuadratic(bins, -reach, reach)
    members: list[Transform] = [*bounded(support, alpha), Shift(shape), DiagonalScale(shape)]
    inner: list[Transform] = []
    for i in range(couplings):
        inner += [shuffle(n, seed=i), LU(n), _coupling(n, g, hidden, blocks, context, classes, dropout)]
    return NormalizingFlow(Chain(*members, *_flat(shape, [*inner, LU(n)])), Normal(tuple(shape)))


def circular(
    shape: tuple[int, ...],
    couplings: int = 6,
    hidden: int = 128,
    blocks: int = 2,
    *,
    bins: int = 8,
    context: int = 0,
    classes: int = 0,
    dropout: float = 0.0,
) -> NormalizingFlow:
    """A flow on circles: every number is an angle, data in [-pi, pi).

    Args:
        shape: the event's shape, of two angles or more.
        couplings, hidden, blocks, bins, context, classes, dropout: as in `nsf`.

    Returns:
        A flow that starts uniform.

    Raises:
        ConfigError: as `nsf`.

    >>> flow = circular((2,), couplings=2, hidden=16)
    >>> bool(flow.sample(100, seed=0).abs().max() <= math.pi)
    True
    """
    n = dimensions(shape, couplings)
    g = RationalQuadratic(bins, -math.pi, math.pi, tails="circular")
    inner: list[Transform] = []
    for i in range(couplings):
        inner += [shuffle(n, seed=i), _coupling(n, g, hidden, blocks, context, classes, dropout, angles=True)]
    base = Uniform(tuple(shape), -math.pi, math.pi)
    return NormalizingFlow(Chain(*_flat(shape, [*inner, Elementwise((n,), g)])), base)


def flowpp(
    shape: tuple[int, ...],
    couplings: int = 6,
    hidden: int = 256,
    blocks: int = 2,
    *,
    components: int = 32,
    context: int = 0,
    classes: int = 0,
    dropout: float = 0.2,
    support: tuple[float, float] | None = None,
    alpha: float = 0.05,
) -> NormalizingFlow:
    """Flow++'s couplings, mixtures of logistics, with plain networks.

    The published model has convolutions with attention, and several scales; this one is for points and tables.

    Args:
        shape: the event's shape, of two numbers or more.
        components: logistics in each mixture.
        couplings, hidden, blocks, context, classes, dropout, support, alpha: as in `nsf`.

    Returns:
        A flow with untrained weights. `prepare` starts its actnorms.

    Raises:
        ConfigError: as `nsf`.
    """
    n = dimensions(shape, couplings)
    g = LogisticMixture(components)
    inner: list[Transform] = []
    for i in range(couplings):
        inner += [ActNorm(n), LU(n, seed=i), _coupling(n, g, hidden, blocks, context, classes, dropout)]
    return NormalizingFlow(Chain(*bounded(support, alpha), *_flat(shape, [*inner, ActNorm(n)])), Normal(tuple(shape)))


class Angles(nn.Module):
    """A conditioner that sees angles as (cos, sin).

    Args:
        net: called as net([batch, 2 n]) or net([batch, 2 n], context).
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """The network's output for n angles."""
        around = torch.cat([x.cos(), x.sin()], 1)
        return self.net(around) if context is None else self.net(around, context)


def _coupling(
    n: int, g: Monotone, hidden: int, blocks: int, context: int, classes: int, dropout: float, angles: bool = False
) -> Transform:
    if context and classes:
        fix = "Append a one-hot vector of the class to the context yourself."
        raise ConfigError(explain("context or classes", f"{context=} and {classes=}", fix))
    kept = n // 2
    outputs = g.size * (n - kept)
    net: nn.Module = ResidualDense((1 + angles) * kept, outputs, hidden, blocks, context or classes, dropout)
    net = Angles(net) if angles else net
    return MonotoneCoupling((n,), ByClass(net, classes) if classes else net, g, halves((n,)))


def _flat(shape: tuple[int, ...], members: list[Transform]) -> list[Transform]:
    """The same for events of any shape: as vectors, and back."""
    return members if len(shape) == 1 else [flatten(shape), *members, Inverse(flatten(shape))]

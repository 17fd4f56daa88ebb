"""A flow fitted without gradients: turn, straighten the marginals, and again.

    x_{k+1} = Phi^-1( F_k(Q_k x_k) )      F_k fitted to the marginals of Q_k x_k

Each layer leaves marginals normal along its own axes; the negentropy of the data falls by what it removed, and a normal
is all that no turn can undo. The result is a flow like any other: score it, sample it, or train it further.

There is no conditional version: layers are fitted to the marginals of all rows, and those given a context are what a
network would have to learn, as those of `models.naf` do.

References:
    Chen, Gopinath 2000, "Gaussianization". Laparra, Camps-Valls, Malo 2011, arXiv 1602.00229.
"""

import torch

from pushforward._errors import ConfigError, DataError, explain
from pushforward._random import Draw
from pushforward._typing import Sample
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import numbers
from pushforward.transforms import Chain, DiagonalScale, Shift, Transform
from pushforward.transforms.gaussianization import Gaussianize


@torch.no_grad()
def gaussianize(x: Sample, transforms: int = 10, components: int = 8, seed: int = 0) -> NormalizingFlow:
    """A flow for `x`, fitted layer by layer.

    Args:
        x: data, [rows, *event], a few hundred rows at least.
        transforms: how many layers.
        components: normals in the mixture of each marginal.
        seed: of the rotations.

    Raises:
        ConfigError: rows of no numbers, fewer of them than components, or no layers.
        DataError: what is not a finite number, or a number that is the same in every row.

    >>> flow = gaussianize(torch.randn(200, 2).exp(), transforms=2)
    >>> flow.sample(3, seed=0).shape
    torch.Size([3, 2])
    """
    numbers(tuple(x.shape[1:]))
    if len(x) <= components or transforms < 1:
        got = f"{len(x)} rows for {components} components, {transforms} layers"
        raise ConfigError(explain("more rows than components, and a layer at least", got, "Give more data."))
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if not bool(x.isfinite().all()):
        got = f"{int((~x.isfinite()).sum())} others"
        raise DataError(explain("finite numbers", got, "Leave such rows out, or learn a table with FlowDensity."))
    if bool((alike := (x == x[:1]).all(0)).any()):
        got = f"the same at {alike.nonzero()[0].tolist()} of each"
        raise DataError(explain("numbers that differ between rows", got, "A constant has no density: leave it out."))
    shape = tuple(x.shape[1:])
    shift = Shift.from_data(x)
    scale = DiagonalScale.from_data(shift.encode(x)[0])
    members: list[Transform] = [shift, scale]
    x = scale.encode(shift.encode(x)[0])[0]
    for k in range(transforms):
        members.append(Gaussianize.from_data(x, components, Draw(seed, "gaussianize", k)))
        x = members[-1].encode(x)[0]
    return NormalizingFlow(Chain(*members), Normal(shape))

"""Flows with a name whose transforms are autoregressive, as functions.

Each is a row of the chain of `named_chain`:

    function             transform                                        default
    maf                  Autoregressive(Affine), orders alternating       5, 2 layers of 512
    iaf                  the same, turned round: samples in one pass      5, 2 layers of 512
    nsf_autoregressive   Autoregressive(RationalQuadratic)                10, 8 bins, 2 residual blocks of 256
    naf                  Autoregressive(Sigmoidal)                        5, 16 units
    umnn                 Autoregressive(Integral)                         5, networks of 4 x 50
    bnaf                 BlockAutoregressive                              5, 2 layers, 40 units a number
    sos                  Autoregressive(SumOfSquares, Asinh)              8, 5 polynomials of degree 4
    bernstein            Autoregressive(Bernstein)                        3, degree 16

The published NSF has a random order and an LU matrix before each spline: `seed=0, matrix=True`. Without them orders
alternate and there is no matrix. Any directed graph instead of an order: `adjacency=...`.

References are those of the transforms; MAF's networks: Papamakarios et al. 2017, arXiv 1705.07057; NSF's: Durkan et
al. 2019, arXiv 1906.04032.
"""

import math
from collections.abc import Callable
from typing import Unpack

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named_chain import Common, chained, takes, told
from pushforward.nets import MaskedDense
from pushforward.transforms import (
    LU,
    Affine,
    Asinh,
    Autoregressive,
    Bernstein,
    BlockAutoregressive,
    Chain,
    Composed,
    Integral,
    Inverse,
    Monotone,
    RationalQuadratic,
    Sigmoidal,
    SumOfSquares,
    Transform,
    flatten,
    reverse,
)


class Network(Common, total=False):
    """What functions with a masked network take besides.

    seed: orders drawn from this seed; without one they alternate between first to last and last to first.
    passes: levels that become known at once; the size of the event by default, 2 makes couplings.
    residual: residual blocks of two layers instead of layers.
    dropout: probability of dropping a hidden unit in training.
    matrix: an LU matrix before each transform, and one at the end.
    adjacency: A[i, j] says that number i may depend on number j, [numbers, numbers] without cycles: one graph for all
        transforms, instead of orders (`seed`), `passes` and a `matrix`, which would contradict it. The Jacobian of the
        formula's direction is 0 where A is, but on the diagonal. Transforms in a row hand on what they were told, so
        more than one ask for a graph whose numbers depend on all their ancestors; any other takes `transforms=1`.
    """

    seed: int | None
    passes: int | None
    residual: bool
    dropout: float
    matrix: bool
    adjacency: Tensor | None


@takes(Network)
def maf(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, bound: float = 5.0,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Masked autoregressive flow: z_i = x_i exp(s_i(x_<i)) + m_i(x_<i). Likelihoods in one pass.

    Args:
        shape: the event's shape.
        transforms: how many, at least one.
        hidden, layers: of each masked network.
        bound: the largest log-scale of one transform.
        options: `Network` and `Common`.

    Raises:
        ConfigError: no transforms, both context and classes, or an impossible option.

    >>> flow = maf((3,), transforms=2, hidden=16)
    >>> flow.sample(4, seed=0).shape
    torch.Size([4, 3])
    """
    return _autoregressive(shape, transforms, lambda: Affine(bound), hidden, layers, options)


@takes(Network)
def iaf(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, bound: float = 5.0,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Inverse autoregressive flow: MAF turned round. Samples, and the density of samples, in one pass."""
    return maf(shape, transforms, hidden, layers, bound, **{"formula": "decode", **options})  # pyright: ignore[reportArgumentType]


@takes(Network)
def nsf_autoregressive(
    shape: tuple[int, ...], transforms: int = 10, hidden: int = 256, layers: int = 2, bins: int = 8, bound: float = 3.0,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Neural spline flow, autoregressive: rational-quadratic splines on [-bound, bound]**2, the identity beyond.

    Args:
        shape, transforms, options: as in `maf`; the networks are residual unless `residual=False`.
        hidden, layers: width and number of residual blocks.
        bins: pieces of each spline.
        bound: where the splines end. Data standardised by `prepare` lie within 3 but for their tails.
    """
    given: Network = {"residual": True, **options}
    return _autoregressive(shape, transforms, lambda: RationalQuadratic(bins, -bound, bound), hidden, layers, given)


@takes(Network)
def naf(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, units: int = 16, depth: int = 1,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Neural autoregressive flow: sums of `units` sigmoids, `depth` times over."""
    return _autoregressive(shape, transforms, lambda: Sigmoidal(units, depth), hidden, layers, options)


@takes(Network)
def umnn(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, embedding: int = 30,
    units: int = 50, depth: int = 4, points: int = 32, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Unconstrained monotonic networks: integrals of a network with `depth` layers of `units`."""
    return _autoregressive(
        shape, transforms, lambda: Integral(embedding, units, depth, points), hidden, layers, options
    )


@takes(Network)
def sos(
    shape: tuple[int, ...], transforms: int = 8, hidden: int = 200, layers: int = 2, degree: int = 4,
    polynomials: int = 5, bound: float = 2.5, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Sums of squares of polynomials, integrated.

    Of degree 2 degree + 1 each, so that numbers far out would leave every range within three transforms: of every
    sum z it takes bound asinh(z / bound), which is onto all numbers and so loses none, and which undoes what the sums
    of zero parameters do, to within a hundredth for numbers up to three times the bound.
    """
    sums = Composed(SumOfSquares(degree, polynomials, bound), Asinh(bound))
    return _autoregressive(shape, transforms, lambda: sums, hidden, layers, options)


@takes(Network)
def bernstein(
    shape: tuple[int, ...], transforms: int = 3, hidden: int = 200, layers: int = 2, degree: int = 16,
    bound: float = 2.0, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Bernstein polynomials on [-bound, bound], straight lines beyond."""
    return _autoregressive(shape, transforms, lambda: Bernstein(degree, bound), hidden, layers, options)


@takes(Common)
def bnaf(
    shape: tuple[int, ...], transforms: int = 5, width: int = 40, layers: int = 2, **common: Unpack[Common]
) -> NormalizingFlow:
    """Block neural autoregressive flow: each transform one network, `width` units a number in each layer.

    Orders alternate between first to last and last to first.
    """
    n = math.prod(shape)
    made = [BlockAutoregressive(shape, width, layers, told(common)) for _ in range(transforms)]
    turned = [Chain(reverse(n), each, reverse(n)) if k % 2 else each for k, each in enumerate(made)]
    return chained(shape, turned, common)


def _autoregressive(
    shape: tuple[int, ...], transforms: int, monotone: Callable[[], Monotone], hidden: int, layers: int, given: Network,
) -> NormalizingFlow:  # fmt: skip
    n, made, graph = math.prod(shape), list[Transform](), _graph(transforms, given)
    for k in range(transforms):
        each, seed = monotone(), given.get("seed")
        backwards = torch.arange(n).flip(0) if k % 2 else torch.arange(n)
        order = backwards if seed is None else Draw(seed, "models/order", k).permutation(n)
        net = MaskedDense(
            n, each.size, hidden, layers, order=order if graph is None else None, passes=given.get("passes"),
            adjacency=graph, context=told(given),
            residual=given.get("residual", False), dropout=given.get("dropout", 0.0),
        )  # fmt: skip
        layer, matrix = Autoregressive(each, net), _matrix(shape, given)
        last = _matrix(shape, given) if k == transforms - 1 else []
        made.append(Chain(*matrix, layer, *last) if matrix else layer)
    return chained(shape, made, given)


def _graph(transforms: int, given: Network) -> Tensor | None:
    """The adjacency asked for, if nothing else that was asked for contradicts it."""
    if (adjacency := given.get("adjacency")) is None:
        return None
    against = [word for word in ("passes", "seed") if given.get(word) is not None]
    against += ["matrix"] if given.get("matrix") else []
    if against:
        fix = "The graph says who depends on whom: leave the rest out."
        raise ConfigError(explain("an adjacency alone", f"{' and '.join(against)} besides", fix))
    graph = torch.as_tensor(adjacency).bool()
    told = graph.float()
    missing = (told @ told > 0) & ~graph & ~torch.eye(len(graph), dtype=torch.bool) if graph.ndim == 2 else graph[:0]
    if transforms > 1 and bool(missing.any()):
        got = f"{transforms} transforms of a graph that lacks {int(missing.sum())} ways over one other number"
        fix = "Take transforms=1, or let numbers depend on all their ancestors."
        raise ConfigError(explain("one transform, or a graph of all ancestors", got, fix))
    return graph


def _matrix(shape: tuple[int, ...], given: Network) -> list[Transform]:
    """LU over all numbers of an event, where it is asked for."""
    if not given.get("matrix"):
        return []
    matrix = LU(math.prod(shape))
    return [matrix] if len(shape) == 1 else [Chain(flatten(shape), matrix, Inverse(flatten(shape)))]

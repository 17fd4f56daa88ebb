"""Flows with a name whose transforms are autoregressive, free-form, or the identity plus something, as functions.

Each is a row of the same chain,

    [ shift -> scale -> transform ] x transforms -> shift -> scale -> normal base

with shift and scale where the papers normalise by the batch (`models.prepare` starts them from data):

    function             transform                                        default
    maf                  Autoregressive(Affine), orders alternating       5, 2 layers of 512
    iaf                  the same, turned round: samples in one pass      5, 2 layers of 512
    nsf_autoregressive   Autoregressive(RationalQuadratic)                10, 8 bins, 2 residual blocks of 256
    naf                  Autoregressive(Sigmoidal)                        5, 16 units
    umnn                 Autoregressive(Integral)                         5, networks of 4 x 50
    bnaf                 BlockAutoregressive                              5, 2 layers, 40 units a number
    sos                  Autoregressive(SumOfSquares, Asinh)              8, 5 polynomials of degree 4
    bernstein            Autoregressive(Bernstein)                        3, degree 16
    planar, radial       Planar, Radial                                   10
    sylvester            Sylvester                                        16, up to 16 directions
    gaussianization      Gaussianize                                      8, 8 components
    residual_flow        Residual(Contraction)                            10, 3 layers of 128

The published NSF has a random order and an LU matrix before each spline: `seed=0, matrix=True`. Without them orders
alternate and there is no matrix. Any directed graph instead of an order: `adjacency=...`.

The transform's formula runs from data to noise, so that likelihoods are one pass and training never searches for an
inverse; `formula="decode"` turns it round, for inference, where samples must be quick.

References are those of the transforms; MAF's networks: Papamakarios et al. 2017, arXiv 1705.07057; NSF's: Durkan et
al. 2019, arXiv 1906.04032.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Literal, ParamSpec, TypedDict, Unpack

import torch
from torch import Tensor

from pushforward._config import suggest
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.models.named import numbers
from pushforward.nets import Contraction, MaskedDense
from pushforward.transforms import (
    LU,
    Affine,
    Asinh,
    Autoregressive,
    Bernstein,
    BlockAutoregressive,
    Chain,
    Composed,
    DiagonalScale,
    Gaussianize,
    Integral,
    Inverse,
    LogDet,
    Logit,
    Monotone,
    Planar,
    Radial,
    RationalQuadratic,
    Residual,
    Shift,
    Sigmoidal,
    SumOfSquares,
    Sylvester,
    Transform,
    flatten,
    reverse,
)
from pushforward.transforms.labelled import Labelled

Formula = Literal["encode", "decode"]
P = ParamSpec("P")


class Common(TypedDict, total=False):
    """What every function here takes by name.

    context: length of a context vector, 0 for none.
    classes: number of classes instead; no context, or index `classes`, then means "no class".
    support: (low, high) of bounded data, mapped to the line by a logit first; None for the line.
    alpha: how far off the ends that logit stays.
    formula: the direction that needs no inverse, "encode" (likelihoods) by default, or "decode" (samples).
    """

    context: int
    classes: int
    support: tuple[float, float] | None
    alpha: float
    formula: Formula


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


def _takes(options: type) -> Callable[[Callable[P, NormalizingFlow]], Callable[P, NormalizingFlow]]:
    """What every function here refuses before it builds: an event of no numbers, and options that are not its own."""

    def checked(make: Callable[P, NormalizingFlow]) -> Callable[P, NormalizingFlow]:
        named = inspect.signature(make)
        known = {*list(named.parameters)[:-1], *options.__annotations__}

        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> NormalizingFlow:
            for word in kwargs:
                if word not in known:
                    raise ConfigError(explain(f"an option of {make.__name__}", repr(word), suggest(word, known)))
            numbers(named.bind(*args, **kwargs).arguments["shape"])
            return make(*args, **kwargs)

        return made

    return checked


@_takes(Network)
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


@_takes(Network)
def iaf(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, bound: float = 5.0,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Inverse autoregressive flow: MAF turned round. Samples, and the density of samples, in one pass."""
    return maf(shape, transforms, hidden, layers, bound, **{"formula": "decode", **options})  # pyright: ignore[reportArgumentType]


@_takes(Network)
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


@_takes(Network)
def naf(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, units: int = 16, depth: int = 1,
    **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Neural autoregressive flow: sums of `units` sigmoids, `depth` times over."""
    return _autoregressive(shape, transforms, lambda: Sigmoidal(units, depth), hidden, layers, options)


@_takes(Network)
def umnn(
    shape: tuple[int, ...], transforms: int = 5, hidden: int = 512, layers: int = 2, embedding: int = 30,
    units: int = 50, depth: int = 4, points: int = 32, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Unconstrained monotonic networks: integrals of a network with `depth` layers of `units`."""
    return _autoregressive(
        shape, transforms, lambda: Integral(embedding, units, depth, points), hidden, layers, options
    )


@_takes(Network)
def sos(
    shape: tuple[int, ...], transforms: int = 8, hidden: int = 200, layers: int = 2, degree: int = 4,
    polynomials: int = 5, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Sums of squares of polynomials, integrated.

    Of degree 2 degree + 1 each, so that numbers far out would leave every range within three transforms: of every
    sum its asinh is taken, which is onto all numbers and so loses none, and which undoes what the sums of zero
    parameters do, to within a hundredth for numbers up to 10.
    """
    sums = Composed(SumOfSquares(degree, polynomials), Asinh(5.0))
    return _autoregressive(shape, transforms, lambda: sums, hidden, layers, options)


@_takes(Network)
def bernstein(
    shape: tuple[int, ...], transforms: int = 3, hidden: int = 200, layers: int = 2, degree: int = 16,
    bound: float = 5.0, **options: Unpack[Network],
) -> NormalizingFlow:  # fmt: skip
    """Bernstein polynomials on [-bound, bound], straight lines beyond."""
    return _autoregressive(shape, transforms, lambda: Bernstein(degree, bound), hidden, layers, options)


@_takes(Common)
def bnaf(
    shape: tuple[int, ...], transforms: int = 5, width: int = 40, layers: int = 2, **common: Unpack[Common]
) -> NormalizingFlow:
    """Block neural autoregressive flow: each transform one network, `width` units a number in each layer.

    Orders alternate between first to last and last to first.
    """
    told, n = common.get("context", 0) or common.get("classes", 0), math.prod(shape)
    made = [BlockAutoregressive(shape, width, layers, told) for _ in range(transforms)]
    turned = [Chain(reverse(n), each, reverse(n)) if k % 2 else each for k, each in enumerate(made)]
    return _flow(shape, turned, common)


@_takes(Common)
def planar(
    shape: tuple[int, ...], transforms: int = 10, bend: Literal["tanh", "leaky_relu"] = "tanh", **common: Unpack[Common]
) -> NormalizingFlow:
    """Planar flow; its context, if any, adds linearly to the parameters."""
    return _flow(
        shape, [Planar(shape, bend, _linear(common, 2 * math.prod(shape) + 1)) for _ in range(transforms)], common
    )


@_takes(Common)
def radial(shape: tuple[int, ...], transforms: int = 10, **common: Unpack[Common]) -> NormalizingFlow:
    """Radial flow; its context, if any, adds linearly to the parameters."""
    return _flow(shape, [Radial(shape, _linear(common, math.prod(shape) + 2)) for _ in range(transforms)], common)


@_takes(Common)
def sylvester(
    shape: tuple[int, ...], transforms: int = 16, directions: int | None = None, **common: Unpack[Common]
) -> NormalizingFlow:
    """Sylvester flow, of as many directions as the event has numbers up to 16; its context adds linearly."""
    n = math.prod(shape)
    m = min(n, 16) if directions is None else directions
    size = m * n + m * (m + 1) + m
    return _flow(shape, [Sylvester(shape, m, _linear(common, size)) for _ in range(transforms)], common)


@_takes(Common)
def gaussianization(
    shape: tuple[int, ...], transforms: int = 8, components: int = 8, **common: Unpack[Common]
) -> NormalizingFlow:
    """Gaussianization flow: rotations, and mixtures of normals for each number. It reads no context and no classes.

    `models.gaussianize` starts one from data, layer by layer: its parameters are fitted to the marginals of all rows,
    and are no network's outputs, which alone could read a context.
    """
    if common.get("context", 0) or common.get("classes", 0):
        fix = "Its mixtures are fitted to the marginals of all rows and come from no network: take naf or sos."
        raise ConfigError(explain("no context and no classes", "one of them", fix))
    return _flow(shape, [Gaussianize(shape, components) for _ in range(transforms)], common)


@_takes(Common)
def residual_flow(
    shape: tuple[int, ...], transforms: int = 10, hidden: int = 128, layers: int = 3, lipschitz: float = 0.9,
    log_det: LogDet | None = None, **common: Unpack[Common],
) -> NormalizingFlow:  # fmt: skip
    """Residual flow: x + g(x) with g of Lipschitz constant `lipschitz`.

    `log_det` is exact by default; for events of more than a few dozen numbers give a `Roulette`, and train it with
    `objectives.Redrawn(objectives.Likelihood())`, which moves its address on from step to step.
    """
    told = common.get("context", 0) or common.get("classes", 0)
    nets = [Contraction(math.prod(shape), hidden, layers, told, lipschitz) for _ in range(transforms)]
    return _flow(shape, [Residual(net, log_det) for net in nets], common)


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
            adjacency=graph, context=given.get("context", 0) or given.get("classes", 0),
            residual=given.get("residual", False), dropout=given.get("dropout", 0.0),
        )  # fmt: skip
        layer, matrix = Autoregressive(each, net), _matrix(shape, given)
        last = _matrix(shape, given) if k == transforms - 1 else []
        made.append(Chain(*matrix, layer, *last) if matrix else layer)
    return _flow(shape, made, given)


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


def _flow(shape: tuple[int, ...], made: Sequence[Transform], common: Common) -> NormalizingFlow:
    """The chain around transforms that are told a context or a class."""
    classes, formula = common.get("classes", 0), common.get("formula", "encode")
    if common.get("context", 0) and classes:
        fix = "Append a one-hot vector of the class to the context yourself."
        raise ConfigError(explain("context or classes", "both", fix))
    if not made or formula not in ("encode", "decode"):
        got = f"{len(made)} transforms, formula {formula!r}"
        raise ConfigError(
            explain("a transform at least, and a formula 'encode' or 'decode'", got, "Name one of the two.")
        )
    support = common.get("support")
    members: list[Transform] = [] if support is None else [Logit(common.get("alpha", 0.05), *support)]
    for transform in made:
        told = Labelled(transform, classes) if classes else transform
        members += [Shift(shape), DiagonalScale(shape), told if formula == "encode" else Inverse(told)]
    return NormalizingFlow(Chain(*members, Shift(shape), DiagonalScale(shape)), Normal(tuple(shape)))


def _linear(common: Common, size: int) -> torch.nn.Linear | None:
    told = common.get("context", 0) or common.get("classes", 0)
    return torch.nn.Linear(told, size) if told else None

"""Flows of nflows: what `interop.adopt_flow` knows of them.

    CompositeTransform, InverseTransform, IdentityTransform        Chain, Inverse, nothing
    MaskedAffineAutoregressiveTransform                            Autoregressive of Scaled "softplus", scale first
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform        Autoregressive of Bins "softmax"
    AffineCouplingTransform, AdditiveCouplingTransform             couplings of Scaled "sigmoid", Additive
    PiecewiseRationalQuadraticCouplingTransform                    a coupling of Bins; what its own
                                                                   `unconditional_transform` does to the rest follows
    LULinear, QRLinear, SVDLinear, NaiveLinear, HouseholderSequence, OneByOneConvolution        LU, and a shift
    Permutation and its kin, BatchNorm, ActNorm, PointwiseAffineTransform

Their `BatchNorm` counts the batch's spread otherwise than ours while training; in `eval()` both are one map. An
embedding of the context comes along.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from pushforward.interop.from_zuko import unknown
from pushforward.interop.peer_maps import Bins, Scaled
from pushforward.interop.peer_networks import (
    Constant,
    Embedded,
    Kept,
    OfContext,
    Ordered,
    channel_order,
    filled,
    matrix,
)
from pushforward.models import FromTorch, LearnedNormal, Normal, NormalizingFlow
from pushforward.models.base import Base
from pushforward.transforms import (
    ActNorm,
    AdditiveCoupling,
    Autoregressive,
    BatchNorm,
    Chain,
    DiagonalScale,
    Inverse,
    MonotoneCoupling,
    Shift,
    Transform,
)

LINEAR: Final = ("LULinear", "QRLinear", "SVDLinear", "NaiveLinear")
"""Matrices with a shift."""


def nflows_flow(flow: Any) -> NormalizingFlow:
    """An `nflows.flows.Flow`."""
    base, last = _base(flow._distribution)
    chain = Chain(_transform(flow._transform, base.shape, "_transform"), *last)
    embedding: nn.Module = flow._embedding_net
    return NormalizingFlow(chain if isinstance(embedding, nn.Identity) else Embedded(chain, embedding), base)


def _transform(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    name = type(theirs).__name__
    match name:
        case "CompositeTransform":
            return Chain(*(_transform(each, shape, f"{where}.{i}") for i, each in enumerate(theirs._transforms)))
        case "InverseTransform":
            return Inverse(_transform(theirs._transform, shape, where))
        case "IdentityTransform":
            return Chain()
        case "MaskedAffineAutoregressiveTransform":
            return autoregressive(theirs, Scaled("softplus", scale_first=True, least=theirs._epsilon), shape)
        case "MaskedPiecewiseRationalQuadraticAutoregressiveTransform":
            return autoregressive(theirs, spline(theirs, theirs.autoregressive_net, where), shape)
        case "AffineCouplingTransform" | "AdditiveCouplingTransform":
            return _affine_coupling(theirs, shape, where)
        case "PiecewiseRationalQuadraticCouplingTransform":
            return spline_coupling(theirs, shape, where)
        case "Permutation" | "RandomPermutation" | "ReversePermutation" if theirs._dim == 1:
            return channel_order(theirs._permutation, shape)
        case "HouseholderSequence":
            return matrix(theirs(torch.eye(shape[0]).to(theirs.q_vectors))[0].T)
        case "OneByOneConvolution":
            return Chain(channel_order(theirs.permutation._permutation, shape), matrix(theirs.weight(), theirs.bias))
        case _ if name in LINEAR:
            return matrix(theirs.weight(), theirs.bias)
        case _:
            return _normalisation(theirs, shape, where)


def _normalisation(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    match type(theirs).__name__:
        case "BatchNorm":
            log_std = 0.5 * (theirs.running_var + theirs.eps).log()
            learned = {"log_scale": theirs.weight.log(), "shift": theirs.bias}
            return filled(
                BatchNorm(shape[0], 1 - theirs.momentum), mean=theirs.running_mean, log_std=log_std, **learned
            )
        case "ActNorm":
            before = theirs.shift * (-theirs.log_scale).exp()
            return filled(ActNorm(shape[0]), log_scale=theirs.log_scale, shift=before)
        case "PointwiseAffineTransform" | "AffineTransform":
            scale = filled(DiagonalScale(shape), log_scale=theirs._scale.log().expand(shape))
            return Chain(scale, filled(Shift(shape), shift=theirs._shift.expand(shape))).requires_grad_(False)
        case name:
            raise unknown(f"nflows' {name!r}", where)


def autoregressive(theirs: Any, g: Any, shape: tuple[int, ...]) -> Autoregressive:
    """A layer around a MADE, of nflows and normflows alike."""
    net = Ordered(theirs.autoregressive_net, "beside", shape[0], shape[0])
    return Autoregressive(g, net, method="jacobi")


def spline(theirs: Any, net: Any, where: str) -> Bins:
    """The rational-quadratic spline of a layer or of a CDF, of nflows and normflows alike."""
    if theirs.tails not in ("linear", None):
        raise unknown(f"a spline with tails {theirs.tails!r}", where)
    width = getattr(net, "hidden_features", getattr(net, "hidden_channels", None))
    bound = float(theirs.tail_bound)
    low, high = (-bound, bound) if theirs.tails else (0.0, 1.0)
    bins = getattr(theirs, "num_bins", None) or theirs.unnormalized_widths.shape[-1]
    least = (theirs.min_bin_width, theirs.min_bin_height, theirs.min_derivative)
    shrink = 1 / math.sqrt(width) if width else 1.0
    return Bins("softmax", bins, low, high, least, shrink, "one" if theirs.tails else "free")


def spline_coupling(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    """A coupling by splines, with what its layer does to the numbers kept, of nflows and normflows alike."""
    kept, mask = _kept(theirs, shape)
    g = spline(theirs, theirs.transform_net, where)
    layer = MonotoneCoupling(shape, Kept(theirs.transform_net, "beside", kept, g.size), g, mask)
    alone = theirs.unconditional_transform
    if alone is None:
        return layer
    if type(alone).__name__ != "PiecewiseRationalQuadraticCDF":
        raise unknown(f"an unconditional {type(alone).__name__!r}", where)
    parts = (alone.unnormalized_widths, alone.unnormalized_heights, alone.unnormalized_derivatives)
    params = torch.cat([part.flatten(0, -2) for part in parts], 1)
    return Chain(layer, MonotoneCoupling(shape, Constant(params), spline(alone, None, where), ~mask))


def _affine_coupling(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    if theirs.unconditional_transform is not None:
        raise unknown("an unconditional transform beside an affine coupling", where)
    kept, mask = _kept(theirs, shape)
    net = Kept(theirs.transform_net, "beside", kept)
    if type(theirs).__name__ == "AdditiveCouplingTransform":
        return AdditiveCoupling(shape, net, mask)
    return MonotoneCoupling(shape, net, Scaled("sigmoid", scale_first=False, least=1e-3), mask)


def _kept(theirs: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Tensor]:
    """The shape of what is kept, and which that is, boolean, of the event's shape."""
    channels = torch.zeros(shape[0], dtype=torch.bool).index_fill(0, theirs.identity_features.cpu(), True)
    mask = channels.reshape(-1, *(1 for _ in shape[1:])).expand(shape)
    return (int(channels.sum()), *shape[1:]), mask


def _base(theirs: Any) -> tuple[Base, list[Transform]]:
    """The base, and a transform before it where theirs depends on the context."""
    if isinstance(theirs, torch.distributions.Distribution):
        return FromTorch(theirs), []
    match type(theirs).__name__:
        case "StandardNormal":
            return Normal(tuple(theirs._shape)), []
        case "DiagonalNormal":
            return filled(LearnedNormal(tuple(theirs._shape)), mean=theirs.mean_, log_std=theirs.log_std_), []
        case "ConditionalDiagonalNormal" if len(theirs._shape) == 1:
            return Normal(tuple(theirs._shape)), [Inverse(OfContext(Scaled("exp", False), theirs._context_encoder))]
        case name:
            raise unknown(f"nflows' {name!r}", "_distribution")

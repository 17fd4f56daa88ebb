"""Flows of normflows: what `interop.adopt_flow` knows of them.

Their layers go from noise to data, in the order in which noise meets them: ours are their inverses in the other order.

    AffineCouplingBlock                       a coupling of Scaled "exp", "divided" or "sigmoid", or additive
    MaskedAffineFlow                          the same with two networks that see zeros in place of what is changed
    MaskedAffineAutoregressive                Autoregressive of Scaled "sigmoid", fast from noise to data: turned round
    CoupledRationalQuadraticSpline            a coupling of Bins, and one Bins each for the rest
    AutoregressiveRationalQuadraticSpline     Autoregressive of Bins
    LULinearPermute, InvertibleAffine, Invertible1x1Conv, Permute      LU, orders
    AffineConstFlow, ActNorm, GlowBlock

Not known are layers without both directions (Planar, Radial), those whose map is the batch's (BatchNorm), several
scales, and splines some of whose numbers are circular.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward.interop.from_nflows import autoregressive, spline, spline_coupling
from pushforward.interop.from_zuko import unknown
from pushforward.interop.peer_maps import Scale, Scaled
from pushforward.interop.peer_networks import Kept, Pair, channel_order, filled, matrix
from pushforward.models import LearnedNormal, Mixture, Normal, NormalizingFlow, Uniform
from pushforward.models.base import Base
from pushforward.transforms import (
    ActNorm,
    AdditiveCoupling,
    Chain,
    DiagonalScale,
    Inverse,
    MonotoneCoupling,
    Shift,
    Transform,
    checkerboard,
)

SCALES: Final[Mapping[str, Scale]] = {"exp": "exp", "sigmoid": "divided", "sigmoid_inv": "sigmoid"}
"""Their words for the scale of a coupling from noise to data, and ours."""


def normflows_flow(flow: Any) -> NormalizingFlow:
    """A `normflows.NormalizingFlow` or `ConditionalNormalizingFlow`."""
    if not hasattr(flow, "q0") or isinstance(flow.q0, nn.ModuleList):
        raise unknown(f"normflows' {type(flow).__name__!r} of several scales or classes", "the flow")
    base = _base(flow.q0)
    return NormalizingFlow(_chain(flow.flows, base.shape, "flows"), base)


def _chain(flows: Any, shape: tuple[int, ...], where: str) -> Chain:
    members = [_transform(each, shape, f"{where}.{i}") for i, each in enumerate(flows)]
    return Chain(*reversed(members))


def _transform(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    match type(theirs).__name__:
        case "GlowBlock":
            return _chain(theirs.flows, shape, f"{where}.flows")
        case "AffineCouplingBlock":
            return _coupling(theirs, shape, where)
        case "MaskedAffineFlow":
            mask = theirs.b[0].bool()
            s, t = (each if isinstance(each, nn.Module) else None for each in (theirs.s, theirs.t))
            return Inverse(MonotoneCoupling(shape, Pair(s, t, mask), Scaled("exp", scale_first=True), mask))
        case "MaskedAffineAutoregressive":
            return Inverse(autoregressive(theirs, Scaled("sigmoid", scale_first=True, least=1e-3), shape))
        case "AutoregressiveRationalQuadraticSpline":
            inner = theirs.mprqat
            return autoregressive(inner, spline(inner, inner.autoregressive_net, where), shape)
        case "CoupledRationalQuadraticSpline":
            return spline_coupling(theirs.prqct, shape, where)
        case "AffineConstFlow" | "ActNorm":
            return _constant(theirs, shape, where)
        case _:
            return _linear(theirs, shape, where)


def _linear(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    match type(theirs).__name__:
        case "LULinearPermute":
            order = channel_order(theirs.permutation._permutation, shape)
            return Chain(order, matrix(theirs.linear.weight(), theirs.linear.bias))
        case "InvertibleAffine":
            return matrix((theirs._assemble_W() if theirs.use_lu else theirs.W).T)
        case "Invertible1x1Conv":
            return matrix(theirs._assemble_W() if theirs.use_lu else theirs.W)
        case "Permute":
            half = (theirs.num_channels + 1) // 2
            places = torch.arange(theirs.num_channels)
            order = theirs.inv_perm if theirs.mode == "shuffle" else torch.cat([places[half:], places[:half]])
            return channel_order(order, shape)
        case name:
            raise unknown(f"normflows' {name!r}", where)


def _coupling(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    split, inner, _ = theirs.flows
    mask = _mask(split.mode, shape)
    kept = (
        (*shape[:-1], shape[-1] // 2) if "checkerboard" in split.mode else (int(mask.sum()) // _rest(shape), *shape[1:])
    )
    if not inner.scale:
        return Inverse(AdditiveCoupling(shape, Kept(inner.param_map, "without", kept), mask))
    if inner.scale_map not in SCALES:
        raise unknown(f"a coupling with scale_map {inner.scale_map!r}", where)
    net = Kept(inner.param_map, "without", kept, size=2)
    return Inverse(MonotoneCoupling(shape, net, Scaled(SCALES[inner.scale_map], scale_first=False), mask))


def _mask(mode: str, shape: tuple[int, ...]) -> Tensor:
    """What a split keeps, boolean, of the event's shape."""
    if "checkerboard" in mode:
        even = checkerboard(shape)
        return even if "inv" in mode else ~even
    first = torch.arange(shape[0]) < (shape[0] + 1) // 2
    kept = ~first if "inv" in mode else first
    return kept.reshape(-1, *(1 for _ in shape[1:])).expand(shape)


def _rest(shape: tuple[int, ...]) -> int:
    return torch.Size(shape[1:]).numel()


def _constant(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    """z = (x - t) exp(-s) of constants, for each number or each channel."""
    if hasattr(theirs, "data_dep_init_done") and not bool(theirs.data_dep_init_done):
        fix = "Let it see a batch first: its first call sets its weights."
        raise ConfigError(explain("an ActNorm that has seen data", f"one at {where} that has not", fix))
    s, t = theirs.s[0], theirs.t[0]
    if tuple(s.shape) == shape:
        return Chain(filled(Shift(shape), shift=-t), filled(DiagonalScale(shape), log_scale=-s))
    if tuple(s.shape) == (shape[0], *(1 for _ in shape[1:])):
        return filled(ActNorm(shape[0]), shift=-t, log_scale=-s)
    raise unknown(f"constants of shape {tuple(s.shape)} for events of shape {shape}", where)


def _base(theirs: Any) -> Base:
    name = type(theirs).__name__
    match name:
        case "DiagGaussian" if theirs.temperature is None:
            shape = tuple(theirs.shape)
            if not isinstance(theirs.loc, nn.Parameter):
                return Normal(shape, theirs.log_scale[0].exp(), theirs.loc[0])
            return filled(LearnedNormal(shape), mean=theirs.loc, log_std=theirs.log_scale)
        case "GaussianMixture":
            learned = {"mean": theirs.loc, "log_std": theirs.log_scale, "raw_weight": theirs.weight_scores}
            return filled(Mixture((theirs.dim,), theirs.n_modes), **learned)
        case "Uniform" if theirs.low.ndim == 0:
            return Uniform(tuple(theirs.shape), theirs.low.item(), theirs.high.item())
        case _:
            raise unknown(f"normflows' {name!r}", "q0")

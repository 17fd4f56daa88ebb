"""Flows of zuko: what `interop.adopt_flow` knows of them.

    MaskedAutoregressiveTransform     Autoregressive      (couplings of `passes=2` are two levels of it)
    GeneralCouplingTransform          MonotoneCoupling    mask 1 is kept
    ElementWiseTransform              Elementwise, or a map of each number given the context
    FFJTransform                      Integrated, a field of ours along the straight path (`zuko_field.py`)
    UnconditionalTransform of         SoftclipTransform, PermutationTransform, RotationTransform, LULinearTransform

    univariate                        map
    MonotonicAffineTransform          Scaled "softclip", shift first
    AdditiveTransform                 Additive
    MonotonicRQSTransform             Bins "softclip" on [-5, 5]; CircularRQSTransform, the same on the circle
    (Bounded)BernsteinTransform       Controls "pinned" (Bernstein polynomials), or "free"
    ShiftedSOSPTransform              Squares (sums of squared polynomials)
    GaussianizationTransform          Gaussianized (mixtures of normals)
    MNN                               Network (neural autoregression)
    UMNN                              Area (unconstrained neural autoregression)

Their context is appended to what a network sees. Their own `NICE` is affine, and so is what it becomes.
What a bounded map (Gaussianized, SoftClip) does not reach decodes to NaN here, to an end of a bracket there.
"""

import inspect
import math
from typing import Any

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward.interop.peer_maps import Bins, Network, Scaled, Wrapped
from pushforward.interop.peer_networks import Kept, OfContext, Ordered, channel_order, filled, matrix
from pushforward.interop.zuko_field import integrated
from pushforward.interop.zuko_maps import Area, Controls, Gaussianized, Squares
from pushforward.models import FromTorch, LearnedNormal, Mixture, Normal, NormalizingFlow, Uniform
from pushforward.models.base import Base
from pushforward.transforms import (
    Additive,
    Autoregressive,
    Chain,
    Elementwise,
    Inverse,
    Monotone,
    MonotoneCoupling,
    SoftClip,
    Transform,
)


def zuko_flow(flow: Any) -> NormalizingFlow:
    """A `zuko.lazy.Flow`, or a distribution without one."""
    if not hasattr(flow, "transform"):
        return NormalizingFlow(Chain(), _base(flow))
    base = _base(flow.base)
    return NormalizingFlow(_transform(flow.transform, base.shape, "transform"), base)


def _transform(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    n = shape[0]
    match type(theirs).__name__:
        case "LazyComposedTransform":
            return Chain(*(_transform(each, shape, f"{where}.{i}") for i, each in enumerate(theirs.transforms)))
        case "LazyInverse":
            return Inverse(_transform(theirs.transform, shape, where))
        case "MaskedAutoregressiveTransform":
            net = Ordered(theirs.hyper, "joined", n, theirs.hyper.in_features)
            return Autoregressive(_univariate(theirs, net.order, where), net, method="jacobi")
        case "GeneralCouplingTransform":
            g = _univariate(theirs, (~theirs.mask).nonzero().squeeze(1), where)
            net = Kept(theirs.hyper, "joined", (int(theirs.mask.sum()),), g.size)
            return MonotoneCoupling(shape, net, g, theirs.mask.bool())
        case "ElementWiseTransform":
            return _elementwise(theirs, shape, _univariate(theirs, torch.arange(n), where))
        case "FFJTransform":
            return integrated(theirs, shape)
        case "UnconditionalTransform":
            return _unconditional(theirs, shape, where)
        case name:
            raise unknown(f"zuko's {name!r}", where)


def _elementwise(theirs: Any, shape: tuple[int, ...], g: Monotone) -> Transform:
    if hasattr(theirs, "hyper"):
        return OfContext(g, theirs.hyper, g.size)
    layer = Elementwise(shape, g)
    if layer.params is not None:
        params = torch.cat([each.reshape(shape[0], -1) for each in theirs.phi], 1)
        layer.params = torch.nn.Parameter(params.T.flatten())
    return layer


def _unconditional(theirs: Any, shape: tuple[int, ...], where: str) -> Transform:
    made = theirs()
    match type(made).__name__:
        case "SoftclipTransform":
            return Elementwise(shape, SoftClip(float(made.bound)))
        case "PermutationTransform":
            return channel_order(made.order, shape)
        case "RotationTransform":
            return matrix(made.R)
        case "LULinearTransform":
            return matrix(made.L @ made.U)
        case name:
            raise unknown(f"zuko's {name!r}", where)


def _univariate(theirs: Any, order: Tensor, where: str) -> Monotone:
    """The map of one number; `order` says which numbers it is of."""
    maker = theirs.univariate
    given: dict[str, Any] = dict(getattr(maker, "keywords", {}))
    maker = getattr(maker, "func", maker)
    name, shapes = getattr(maker, "__name__", type(maker).__name__), theirs.shapes
    said = _defaults(maker) | given
    match name:
        case "MonotonicAffineTransform":
            return Scaled("softclip", scale_first=False, least=float(said["slope"]))
        case "AdditiveTransform":
            return Additive()
        case "MonotonicRQSTransform":
            return _bins(shapes, float(said["bound"]), float(said["slope"]))
        case "CircularRQSTransform":
            return Wrapped(_bins(shapes, math.pi, float(said["slope"])))
        case "BoundedBernsteinTransform" | "BernsteinTransform":
            ends = "pinned" if name.startswith("Bounded") else "free"
            return Controls(ends, int(shapes[0][0]), float(given.get("bound", 5.0)))
        case "ShiftedSOSPTransform":
            polynomials, points = shapes[0]
            return Squares(polynomials, points - 1, float(said["slope"]))
        case "GaussianizationTransform":
            return Gaussianized(int(shapes[0][0]))
        case "MNN":
            layers = [layer for layer in maker.network if hasattr(layer, "weight")]
            return Network(layers, order)
        case "UMNN":
            return Area(maker.integrand, int(shapes[0][0]), order)
        case _:
            raise unknown(f"zuko's univariate {name!r}", where)


def _bins(shapes: Any, bound: float, slope: float) -> Bins:
    return Bins("softclip", int(shapes[0][0]), -bound, bound, (slope, slope, slope))


def _defaults(maker: Any) -> dict[str, Any]:
    """Arguments of a constructor that have defaults."""
    if not (inspect.isclass(maker) or inspect.isfunction(maker)):
        return {}
    known = inspect.signature(maker).parameters
    return {name: each.default for name, each in known.items() if each.default is not inspect.Parameter.empty}


def _base(theirs: Any) -> Base:
    kind = type(theirs).__name__
    if kind == "GMM" and hasattr(theirs, "phi") and theirs.covariance_type != "full":
        return _mixture(theirs)
    if kind not in ("UnconditionalDistribution", "GMM") or hasattr(theirs, "hyper"):
        raise unknown(f"zuko's base {kind!r} of a context", "base")
    made, learned = theirs(), any(True for _ in theirs.parameters())
    inner: Any = getattr(made, "base_dist", None)
    if type(made).__name__ == "DiagNormal" and learned:
        return filled(LearnedNormal(tuple(made.event_shape)), mean=inner.loc, log_std=inner.scale.log())
    if type(made).__name__ == "DiagNormal":
        plain = bool((inner.scale == 1).all() and (inner.loc == 0).all())
        shape = tuple(made.event_shape)
        return Normal(shape) if plain else Normal(shape, inner.scale, inner.loc)
    if type(made).__name__ == "BoxUniform" and len(inner.low.unique()) == len(inner.high.unique()) == 1:
        return Uniform(tuple(made.event_shape), inner.low[0].item(), inner.high[0].item())
    return FromTorch(made)


def _mixture(theirs: Any) -> Base:
    weight, mean, diagonal = theirs.phi
    log_std = (diagonal.exp() + theirs.epsilon).log().expand_as(mean)
    return filled(Mixture((mean.shape[1],), len(mean)), raw_weight=weight, mean=mean, log_std=log_std)


def unknown(what: str, where: str) -> ConfigError:
    """A layer that no transform here is known to equal."""
    fix = "Replace that layer, or build the flow by hand from pushforward.transforms."
    return ConfigError(explain("layers that are known to `adopt_flow`", f"{what} at {where}", fix))

"""This library's flows."""

import math
from collections.abc import Callable

import torch

from flows_of import IMAGES, LONGER, Made
from flows_of.sizes import (
    AUTOREGRESSIVE,
    BINS,
    COMPONENTS,
    COUPLINGS,
    DEGREE,
    HIDDEN,
    LAYERS,
    LEVELS,
    PLANAR,
    REACH,
    RESIDUAL,
    ROTATIONS,
    SIGNAL,
    STEPS,
    masks,
)
from pushforward import models as m
from pushforward.data import Batch
from pushforward.interop.peer_maps import Bins, Scaled
from pushforward.nets import Dense
from pushforward.nets.conditioners import ResidualDense
from pushforward.transforms import LU, Chain, DiagonalScale, MonotoneCoupling, Shift, Transform, halves, shuffle


def made(name: str, n: int) -> Made | None:
    """The flow of this name."""
    if name in IMAGES:
        return _image(name, n)
    small, three = {"hidden": HIDDEN, "layers": LAYERS}, AUTOREGRESSIVE
    table: dict[str, Callable[[], m.NormalizingFlow | m.Diffusion]] = {
        "nice": lambda: m.nice((n,), COUPLINGS, **small, base="normal", spread=None),
        "real_nvp": lambda: m.real_nvp((n,), COUPLINGS, **small, zero_output=False),
        "real_nvp_sigmoid": lambda: _shrinking(n),
        "maf": lambda: m.maf((n,), three, **small),
        "iaf": lambda: m.iaf((n,), three, **small),
        "nsf": lambda: m.nsf((n,), COUPLINGS, HIDDEN, 1, bins=BINS, reach=REACH),
        "nsf_tempered": lambda: _tempered(n),
        "nsf_autoregressive": lambda: m.nsf_autoregressive(
            (n,), three, **small, bins=BINS, bound=REACH, residual=False
        ),
        "sos": lambda: m.sos((n,), three, **small, degree=4, polynomials=3),
        "bernstein": lambda: m.bernstein((n,), three, **small, degree=DEGREE),
        "naf": lambda: m.naf((n,), three, **small),
        "umnn": lambda: m.umnn((n,), three, **small, embedding=SIGNAL, units=HIDDEN, depth=2),
        "bnaf": lambda: m.bnaf((n,), three, width=8),
        "flowpp": lambda: m.flowpp((n,), COUPLINGS, HIDDEN, 1, components=COMPONENTS, dropout=0.0),
        "gaussianization": lambda: m.gaussianization((n,), ROTATIONS, COMPONENTS),
        "planar": lambda: m.planar((n,), PLANAR),
        "radial": lambda: m.radial((n,), PLANAR),
        "sylvester": lambda: m.sylvester((n,)),
        "residual_flow": lambda: m.residual_flow((n,), RESIDUAL, **small),
        "ffjord": lambda: m.ffjord((n,), **small),
        LONGER: lambda: m.nsf((n,), 6, 128, 2, bins=BINS, reach=REACH),
    }
    flow = table[name]()
    return flow, flow.log_prob


def _shrinking(n: int) -> m.NormalizingFlow:
    """`real_nvp` with the log-scale that nflows's couplings have, log(sigmoid(r + 2) + 0.001)."""
    members: list[Transform] = []
    for mask in masks("real_nvp", n):
        kept = int(mask.sum())
        net = Dense(kept, 2 * (n - kept), HIDDEN, LAYERS, zero_output=False)
        scale = Scaled("sigmoid", scale_first=False, least=1e-3)
        members += [Shift((n,)), DiagonalScale((n,)), MonotoneCoupling((n,), net, scale, mask)]
    return m.NormalizingFlow(Chain(*members, Shift((n,)), DiagonalScale((n,))), m.Normal((n,)))


def _tempered(n: int) -> m.NormalizingFlow:
    """`nsf` with the bins that nflows's couplings have, softmax(r / sqrt(hidden)) wide and high."""
    bins = Bins("softmax", BINS, -REACH, REACH, least=(1e-3, 1e-3, 1e-3), shrink=HIDDEN**-0.5)
    kept = n // 2
    members: list[Transform] = [Shift((n,)), DiagonalScale((n,))]
    for i in range(COUPLINGS):
        net = ResidualDense(kept, bins.size * (n - kept), HIDDEN, 1)
        members += [shuffle(n, seed=i), LU(n), MonotoneCoupling((n,), net, bins, halves((n,)))]
    return m.NormalizingFlow(Chain(*members, LU(n)), m.Normal((n,)))


def _image(name: str, n: int) -> Made | None:
    side = math.isqrt(n)
    if side * side != n or side % 2**LEVELS:
        return None
    shape = (1, side, side)
    flow = m.glow(shape, LEVELS, STEPS, HIDDEN) if name == "glow" else m.tarflow(shape, 4, HIDDEN, 2, patch=2)
    return flow, lambda x: flow.log_prob(x.unflatten(1, shape))


def prepared(found: Made, x: torch.Tensor) -> Made:
    """Shifts and scales, where there are any, started from data [rows, n]."""
    flow, _ = found
    if not isinstance(flow, m.NormalizingFlow):
        return found
    ready = m.prepare(flow, Batch(x.unflatten(1, flow.shape)))
    return ready, lambda x: ready.log_prob(x.unflatten(1, flow.shape))

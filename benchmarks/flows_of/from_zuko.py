"""zuko's flows; additive and spline couplings are put together from its parts."""

from functools import partial
from typing import Any

import torch
import zuko as z
from torch import nn
from zuko.flows.coupling import GeneralCouplingTransform as Coupling
from zuko.lazy import UnconditionalTransform as Fixed

from flows_of import Made
from flows_of.sizes import (
    AUTOREGRESSIVE,
    BINS,
    COMPONENTS,
    COUPLINGS,
    DEGREE,
    HIDDEN,
    LAYERS,
    REACH,
    ROTATIONS,
    SIGNAL,
    masks,
)
from pushforward.transforms import halves


def made(name: str, n: int) -> Made | None:
    """The flow of this name."""
    wide = {"hidden_features": [HIDDEN] * LAYERS}
    three: dict[str, Any] = {"transforms": AUTOREGRESSIVE, **wide}
    match name:
        case "nice" | "real_nvp":
            plain = {"univariate": z.transforms.AdditiveTransform, "shapes": [()]} if name == "nice" else {}
            flow = _around(n, [Coupling(n, mask=mask, **plain, **wide) for mask in masks(name, n)])
        case "nsf":
            flow = _splines(n)
        case "maf":
            flow = z.flows.MAF(n, **three)
        case "iaf":
            maf = z.flows.MAF(n, **three)
            flow = z.lazy.Flow([each.inv for each in maf.transform.transforms], maf.base)
        case "nsf_autoregressive":
            flow = z.flows.NSF(n, bins=BINS, **three)
        case "sos":
            flow = z.flows.SOSPF(n, degree=4, polynomials=3, **three)
        case "bernstein":
            flow = z.flows.BPF(n, degree=DEGREE, **three)
        case "naf":
            flow = z.flows.NAF(n, **three)
        case "umnn":
            flow = z.flows.UNAF(n, signal=SIGNAL, network=wide, **three)
        case "gaussianization":
            flow = z.flows.GF(n, transforms=ROTATIONS, components=COMPONENTS)
        case "ffjord":
            flow = z.flows.CNF(n, **wide)
        case _:
            return None
    return flow, lambda x: flow().log_prob(x)


def _around(n: int, members: list[nn.Module]) -> nn.Module:
    """Members, one scale and a normal base."""
    scale = Fixed(z.transforms.MonotonicAffineTransform, torch.zeros(n), torch.zeros(n))
    base = z.lazy.UnconditionalDistribution(z.distributions.DiagNormal, torch.zeros(n), torch.ones(n), buffer=True)
    return z.lazy.Flow([*members, scale], base)


def _splines(n: int) -> nn.Module:
    """Couplings with an LU matrix before each; zuko has no residual networks, so these have one layer more."""
    spline = partial(z.transforms.MonotonicRQSTransform, bound=REACH)
    kept = {"mask": halves((n,)), "univariate": spline, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
    members: list[nn.Module] = []
    for _ in range(COUPLINGS):
        members += [Fixed(z.transforms.PermutationTransform, torch.randperm(n), buffer=True)]
        members += [Fixed(z.transforms.LULinearTransform, torch.eye(n))]
        members += [Coupling(n, **kept, hidden_features=[HIDDEN] * 3)]
    return _around(n, [*members, Fixed(z.transforms.LULinearTransform, torch.eye(n))])

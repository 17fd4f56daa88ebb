"""nflows's flows."""

from functools import partial

import nflows.transforms as nt
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.nn.nets import ResidualNet
from torch import nn

import pushforward as pf
from flows_of import Made
from flows_of.sizes import AUTOREGRESSIVE, BINS, COUPLINGS, HIDDEN, LAYERS, REACH, masks
from flows_of.told import Told
from pushforward.transforms import halves


def made(name: str, n: int) -> Made | None:
    """The flow of this name."""
    members: list[nn.Module] = []
    match name:
        case "nice" | "real_nvp" | "real_nvp_sigmoid":
            coupling = nt.AdditiveCouplingTransform if name == "nice" else nt.AffineCouplingTransform
            members = [*(coupling((~mask).int(), _net) for mask in masks(name, n)), nt.ActNorm(n)]
        case "nsf" | "nsf_tempered":
            members = _splines(n)
        case "maf" | "iaf" | "nsf_autoregressive":
            options = {"features": n, "hidden_features": HIDDEN, "num_blocks": LAYERS - 1, "use_residual_blocks": False}
            spline = partial(nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform, **_ENDS)
            each = spline if name == "nsf_autoregressive" else nt.MaskedAffineAutoregressiveTransform
            for _ in range(AUTOREGRESSIVE):
                one = each(**options)
                members += [nt.InverseTransform(one) if name == "iaf" else one, nt.ReversePermutation(n)]
        case _:
            return None
    flow = Flow(nt.CompositeTransform(members), StandardNormal([n]))
    return flow, flow.log_prob


_ENDS = {"num_bins": BINS, "tails": "linear", "tail_bound": REACH}


def _net(inputs: int, outputs: int) -> nn.Module:
    return Told(pf.nets.Dense(inputs, outputs, HIDDEN, LAYERS, zero_output=False))


def _splines(n: int) -> list[nn.Module]:
    """Couplings with an LU matrix before each."""
    kept = ((~halves((n,))).int(), lambda i, o: ResidualNet(i, o, HIDDEN, num_blocks=1))
    members: list[nn.Module] = []
    for _ in range(COUPLINGS):
        spline = nt.PiecewiseRationalQuadraticCouplingTransform(*kept, **_ENDS)
        members += [nt.RandomPermutation(n), nt.LULinear(n), spline]
    return [*members, nt.LULinear(n)]

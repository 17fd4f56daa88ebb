"""normflows's flows, of the names that zuko and nflows lack. Its residual ones ask for a training loop of their own."""

import math

import normflows as nf

from flows_of import Made
from flows_of.sizes import HIDDEN, LEVELS, PLANAR, STEPS


def made(name: str, n: int) -> Made | None:
    """The flow of this name."""
    match name:
        case "planar" | "radial":
            each = nf.flows.Planar if name == "planar" else nf.flows.Radial
            # its own direction is that of samples, where tanh has no inverse
            members = [nf.flows.Reverse(each((n,))) for _ in range(PLANAR)]
        case "glow":
            return _glow(n)
        case _:
            return None
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(n), members)
    return flow, flow.log_prob


def _glow(n: int) -> Made | None:
    """Of images; its levels are counted from the last."""
    side = math.isqrt(n)
    if side * side != n or side % 2**LEVELS:
        return None
    bases, levels, merges = [], [], []
    for i in range(LEVELS):
        last = i == 0
        channels, part = 2 ** (LEVELS + 1 - i), side // 2 ** (LEVELS - i)
        blocks = [nf.flows.GlowBlock(channels, HIDDEN, split_mode="channel", scale=True) for _ in range(STEPS)]
        levels.append([*blocks, nf.flows.Squeeze()])
        merges += [] if last else [nf.flows.Merge()]
        bases.append(nf.distributions.DiagGaussian((channels if last else channels // 2, part, part)))
    flow = nf.MultiscaleFlow(bases, levels, merges, class_cond=False)
    return flow, lambda x: flow.log_prob(x.unflatten(1, (1, side, side)), None)

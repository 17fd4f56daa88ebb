"""Does a density have mass 1? The integral of exp(log_prob).

one number or two    added up on a grid where samples lie; what lies beyond is counted from other samples
more                 importance sampling, E_q[p / q], with q the flow itself decoding slightly wider noise: so that
                     it sees what decoding reaches, with the densities that encoding says
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pushforward._typing import Context, Sample

if TYPE_CHECKING:
    from pushforward.models.flow import NormalizingFlow


def mass(flow: "NormalizingFlow", x: Sample, context: Context, seed: int) -> tuple[float, float, str]:
    """How far the total is from 1, how far it may be, and that in words, for a flow in float64."""
    if x[0].numel() <= 2:
        off, words = _on_grid(flow, x, context, seed)
        return off, 0.02, words
    off, error = _by_sampling(flow, context, seed)
    words = f"away from 1, ± {error:.1g}" if math.isfinite(off) else "is not finite: decoding or encoding overflows"
    return off, 0.02 + 5 * error, words


def _on_grid(flow: "NormalizingFlow", x: Sample, context: Context, seed: int) -> tuple[float, str]:
    """The midpoint rule where samples lie; what lies beyond is counted from other samples."""
    n, one = x[0].numel(), None if context is None else context[:1]

    def repeated(count: int) -> Context:
        return None if one is None else one.expand(count, *one.shape[1:])

    samples = _to_line(flow.sample(8000, repeated(8000), seed=seed).flatten(1), *flow.bounds)
    samples, fresh = samples[:4000], samples[4000:]
    samples = samples[samples.isfinite().all(1)]
    if len(samples) < 2000:
        return math.inf, "cannot be added up: more than half of the samples are not finite"
    quantile = torch.tensor([0.001, 0.25, 0.5, 0.75, 0.999], dtype=samples.dtype)
    low, left, middle, right, high = samples.quantile(quantile, 0)
    low, high = low - 0.1 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6
    scale = 0.5 * (right - left) + 1e-6
    # y = middle + scale sinh(t): equal steps of t are fine in the middle and reach far, for tails of any weight
    side = 20_000 if n == 1 else 300
    first, last = ((low - middle) / scale).asinh(), ((high - middle) / scale).asinh()
    t = first + (last - first) * (torch.arange(side).to(low)[:, None] + 0.5) / side
    points, slope = _from_line(middle + scale * t.sinh(), *flow.bounds)
    widths = slope * scale * t.cosh() * (last - first) / side
    grid = torch.cartesian_prod(*points.unbind(1)).reshape(-1, *flow.shape)
    areas = torch.cartesian_prod(*widths.unbind(1)).reshape(-1, n).prod(1)
    inside = (flow.log_prob(grid, repeated(len(grid))).exp().nan_to_num(0.0) * areas).sum()
    beyond = ((fresh < low) | (fresh > high)).any(1).double().mean()
    return abs(inside + beyond - 1).item(), "away from 1, added up on a grid"


def _to_line(x: Tensor, low: float, high: float) -> Tensor:
    """Numbers of a bounded support on the line, where a density with poles at its ends is smooth."""
    if math.isfinite(low) and math.isfinite(high):
        return torch.logit((x - low) / (high - low), eps=1e-12)
    return (x - low).clamp_min(1e-300).log() if math.isfinite(low) else x


def _from_line(y: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The number for a place on the line, and its slope there."""
    if math.isfinite(low) and math.isfinite(high):
        p = y.sigmoid()
        return low + (high - low) * p, (high - low) * p * (1 - p)
    return (low + y.exp(), y.exp()) if math.isfinite(low) else (y, torch.ones_like(y))


def _by_sampling(flow: "NormalizingFlow", context: Context, seed: int, n: int = 2000) -> tuple[float, float]:
    """E_q[p / q] - 1 and its standard error, q being the flow with noise wider by half of 1 / sqrt(d)."""
    if context is not None:
        context = context[torch.arange(n, device=context.device) % len(context)]
    bounded = math.isfinite(flow.base.low) or math.isfinite(flow.base.high)
    d = math.prod(flow.shape)
    scale = 1.0 if bounded else 1 + 0.5 / math.sqrt(d)
    z = flow.noise(n, seed, context=context).double()
    x, ladj = flow.decode_and_ladj(z * scale, context)
    log_q = flow.base.log_prob(z, context) - d * math.log(scale) - ladj
    weight = (flow.log_prob(x, context) - log_q).exp()
    return abs(weight.mean().item() - 1), weight.std().item() / math.sqrt(n)

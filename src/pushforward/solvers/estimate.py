"""Where a sample will end, told from its velocity.

On a path, x_t = alpha x0 + sigma eps and x_t' = alpha' x0 + sigma' eps determine x0. Without a path the straight
line is followed: x0 = x - t x_t', which is the same thing on the linear path.
"""

from torch import Tensor

from pushforward._typing import Sample, Time, per_sample
from pushforward.paths import solve, velocity
from pushforward.paths.path import Path


def estimate_x0(x: Sample, slope: Tensor, t: Time, path: Path | None) -> Sample:
    """The end at t = 0 that velocity `slope` at (`x`, `t`) points to, [batch, *event]."""
    if path is None:
        return x - per_sample(t, x) * slope
    return solve(slope, x, path.coefficients(t), velocity)[0]

"""From a bounded interval to the whole line, and back.

    p = alpha + (1 - 2 alpha) (x - low) / (high - low),      z = log p - log(1 - p)
    ladj = sum  log((1 - 2 alpha) / (high - low)) - log p - log(1 - p)

alpha > 0 keeps p off 0 and 1, where z is infinite; images are mapped so before affine couplings. alpha is
shaved off *both* ends, as in the papers (not alpha + (1 - alpha) x, which still reaches 1).

References:
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803.
    Papamakarios, Pavlakou, Murray 2017, arXiv 1705.07057.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.transform import Transform


class Logit(Transform):
    """The logit of a number between `low` and `high`, off the ends by `alpha`.

    Numbers outside, where the density is 0, get the nearest end's z and ladj = -inf. (With alpha > 0
    "outside" begins a little beyond the ends, at p <= 0 and p >= 1, as decoding can reach there.)

    Args:
        alpha: share of the interval kept free at each end, in [0, 0.5).
        low, high: the interval.

    Raises:
        ConfigError: alpha or the interval is impossible.

    >>> z, ladj = Logit(0.05).encode(torch.tensor([[0.5]]))
    >>> z.item(), round(ladj.item(), 4) == round(math.log(0.9 * 4), 4)
    (0.0, True)
    """

    def __init__(self, alpha: float = 0.05, low: float = 0.0, high: float = 1.0):
        super().__init__()
        if not (0 <= alpha < 0.5 and -math.inf < low < high < math.inf):
            fix = "alpha = 0.05 suits images; 1e-6 digits in black and white."
            raise ConfigError(explain("0 <= alpha < 0.5 and low < high", f"{alpha=}, {low=}, {high=}", fix))
        self.alpha, self.low, self.high = alpha, low, high

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        p = self._share(x)
        outside = ((p <= 0) | (p >= 1)).flatten(1).any(1)
        tiny = torch.finfo(p.dtype).eps
        z = torch.logit(p.clamp(tiny, 1 - tiny))
        return z, self._ladj(z).masked_fill(outside, -math.inf)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return (torch.sigmoid(z) - self.alpha) / self._slope + self.low, -self._ladj(z)

    def within(self, x: Sample) -> tuple[Sample, PerSample]:
        """`encode` where x is noise, as inside an `Inverse`: what lies outside by more than rounding becomes NaN."""
        p, (z, ladj) = self._share(x), self.encode(x)
        rounding = 8 * torch.finfo(p.dtype).eps * (1 + self._slope * max(abs(self.low), abs(self.high)))
        return z.masked_fill((p < -rounding) | (p > 1 + rounding), math.nan), ladj

    @property
    def bounds(self) -> tuple[float, float]:
        """Where decoding ends up: a little beyond `low` and `high` if alpha > 0."""
        beyond = self.alpha / self._slope
        return self.low - beyond, self.high + beyond

    def _share(self, x: Tensor) -> Tensor:
        return self.alpha + self._slope * (x - self.low)

    @property
    def _slope(self) -> float:
        return (1 - 2 * self.alpha) / (self.high - self.low)

    def _ladj(self, z: Tensor) -> PerSample:
        return (math.log(self._slope) - logsigmoid(z) - logsigmoid(-z)).flatten(1).sum(1)

"""An invertible map with its log-determinant: the contract of every transform.

A transform T maps data to noise, z = T(x), and back. Both directions also return

    ladj = log |det d(output) / d(input)|      one number per sample, of THAT call,

so `encode(x)` and `decode(encode(x))` have opposite `ladj`. The verbs are `encode` (data to noise) and
`decode` (noise to data); there is no "forward", because libraries disagree about its direction.

A transform onto a part of the space has noise that no data give, or data that no noise gives. The first decode to NaN;
the second have density 0, so their ladj is -inf, and their z is finite and means nothing (`settled`).
"""

import abc

from torch import Tensor, nn

from pushforward._typing import Context, PerSample, Sample


def settled(z: Sample, ladj: PerSample) -> Sample:
    """z with 0 for what does not exist, in samples whose density is 0 anyway: no NaN runs through what follows."""
    nowhere = ladj.isneginf().reshape(-1, *[1] * (z.ndim - 1))
    return z.masked_fill(z.isnan() & nowhere, 0.0)


class Transform(nn.Module, abc.ABC):
    """An invertible map of events. Implement the two verbs; to tweak a transform, wrap it."""

    @abc.abstractmethod
    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        """Data to noise: (z [batch, *event], ladj [batch])."""

    @abc.abstractmethod
    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        """Noise to data: (x [batch, *event], ladj [batch] of this direction)."""

    def forward(self, *_: Tensor) -> Tensor:
        """Not defined: libraries disagree about the direction. Call `encode` or `decode`."""
        raise NotImplementedError("A transform has two directions: call encode(x) or decode(z).")

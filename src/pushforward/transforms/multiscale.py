"""Several scales in one event: squeezing, and a transform of a part of the event.

    Squeeze     [c, h, w] -> [f f c, h / f, w / f]      each f x f patch becomes channels; ladj = 0
    Part        the first n channels go through a transform, the others pass as they are

A published multi-scale flow "factors out" half of its channels at each level: they go to the prior and take no part in
deeper levels. Here they pass, and the event keeps one size:

    level = Chain(Squeeze(), steps..., coupling, Part(n / 2, next level), Inverse(Squeeze()))

so one latent of the data's shape holds all scales: nothing is drawn anew when decoding, `decode(encode(x))` is x
without a flag, and the base is one distribution. A prior of the factored half that is conditioned on the other half,
N(mu(h), sigma(h)), is a standard normal after the affine coupling z = (x - mu(h)) / sigma(h): the `coupling` above.

References:
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803 (squeezing, factoring out).
    Kingma, Dhariwal 2018, arXiv 1807.03039 (Glow).
"""

import torch

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.start import Starts, begin
from pushforward.transforms.transform import Transform


class Squeeze(Transform):
    """Patches of an image as channels; `Inverse(Squeeze())` puts them back.

    Args:
        factor: side of a patch, 2 or more; divides the image's sides.

    Raises:
        ConfigError: a factor below 2.

    >>> Squeeze().encode(torch.arange(4.0).reshape(1, 1, 2, 2))[0].flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, factor: int = 2):
        super().__init__()
        if factor < 2:
            raise ConfigError(explain("a factor of 2 or more", f"{factor}", "2 is usual."))
        self.factor = factor

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        if x.ndim != 4 or x.shape[2] % self.factor or x.shape[3] % self.factor:
            fix = "Pad the images, or squeeze less often."
            got = f"{tuple(x.shape[1:])}"
            raise ShapeError(explain(f"images [c, h, w] with h and w divided by {self.factor}", got, fix))
        b, c, f = *x.shape[:2], self.factor
        patches = x.unflatten(3, (-1, f)).unflatten(2, (-1, f)).permute(0, 1, 3, 5, 2, 4)
        return patches.reshape(b, c * f * f, *patches.shape[4:]), x.new_zeros(len(x))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        (b, c, h, w), f = z.shape, self.factor
        pixels = z.unflatten(1, (-1, f, f)).permute(0, 1, 4, 2, 5, 3)
        return pixels.reshape(b, c // (f * f), h * f, w * f), z.new_zeros(len(z))


class Part(Transform, Starts):
    """The first channels of an event go through a transform; the others pass.

    Args:
        n: how many channels (numbers, if the event is a vector) of the leading axis.
        transform: what they go through; it keeps their shape.

    >>> from pushforward.transforms import reverse
    >>> Part(2, reverse(2)).encode(torch.tensor([[1.0, 2.0, 3.0]]))[0]
    tensor([[2., 1., 3.]])
    """

    def __init__(self, n: int, transform: Transform):
        super().__init__()
        self.n, self.transform = n, transform

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.transform.encode(x[:, : self.n], context)
        return self._joined(z, x), ladj

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        x, ladj = self.transform.decode(z[:, : self.n], context)
        return self._joined(x, z), ladj

    def start(self, x: Sample, context: Context, std: float, inverse: bool = False) -> Sample:
        return self._joined(begin(self.transform, x[:, : self.n], context, std, inverse), x)

    def _joined(self, new: Sample, old: Sample) -> Sample:
        return torch.cat([new, old[:, self.n :]], 1)

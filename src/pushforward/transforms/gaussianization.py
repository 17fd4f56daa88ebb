"""Gaussianization: turn the event, and each number of what comes out to a standard normal one (`normal_mixture.py`).

    z = Phi^-1( F(Q x) )

Turned at random and fitted to its marginals one layer after the other, it approaches a normal without any gradient
(`Gaussianize.from_data`, and `models.gaussianize` for the whole flow), which is where training may start.

References:
    Chen, Gopinath 2000, "Gaussianization". Laparra, Camps-Valls, Malo 2011, arXiv 1602.00229 (random rotations).
    Meng, Song, Song, Ermon 2020, arXiv 2003.01941 (as a flow).
"""

import math

import torch
from torch import Tensor, nn

from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms.normal_mixture import LEAST, ONE, GaussianMixture
from pushforward.transforms.reflections import orthonormal
from pushforward.transforms.transform import Transform


class Gaussianize(Transform):
    """A rotation, and each number of what comes out to a standard normal one.

    Args:
        shape: the event's shape.
        components: normals in the mixture of each number.
    """

    def __init__(self, shape: tuple[int, ...], components: int = 8):
        super().__init__()
        self.n, self.mixture = math.prod(shape), GaussianMixture(components)
        self.reflections = nn.Parameter(torch.randn(self.n * self.n))  # flat, so that weight decay leaves them alone
        self.params = nn.Parameter(torch.zeros(self.n * self.mixture.size))

    @classmethod
    def from_data(cls, x: Sample, components: int = 8, draw: Draw | None = None) -> "Gaussianize":
        """A random rotation, with mixtures fitted to the marginals of `x` [batch, *event] behind it.

        Args:
            x: data as they arrive at this transform.
            components: normals in each mixture.
            draw: the address of the rotation.
        """
        made, draw = cls(tuple(x.shape[1:]), components).to(x), draw or Draw(0, "gaussianize")
        with torch.no_grad():
            made.reflections.copy_(draw.normal(made.n, (made.n,)).flatten())
            weight, mean, width = fitted(x.detach().flatten(1) @ made._rotation().T, components)
            raw = [weight.log(), mean - made.mixture.centres(mean), _unsoft(width - LEAST) - ONE]
            made.params.copy_(torch.cat(raw, 1).flatten())
        return made

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.mixture.encode(x.flatten(1) @ self._rotation().T, self._params())
        return z.reshape(x.shape), ladj.sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        y, ladj = self.mixture.decode(z.flatten(1), self._params())
        return (y @ self._rotation()).reshape(z.shape), ladj.sum(1)

    def _rotation(self) -> Tensor:
        return orthonormal(self.reflections.unflatten(0, (self.n, self.n)), self.n)

    def _params(self) -> Tensor:
        return self.params.unflatten(0, (self.n, self.mixture.size))


def fitted(y: Tensor, components: int, rounds: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Mixtures of normals fitted to each column of `y` [rows, n] by expectation and maximisation.

    Returns:
        Weights, means and widths, each [n, components].
    """
    at = (torch.arange(components, dtype=y.dtype, device=y.device) + 0.5) / components
    mean = torch.quantile(y[:100_000], at, dim=0).T
    spread = y.std(0, correction=0).clamp_min(1e-6)[:, None]
    least, width = 0.02 * spread, (2 * spread / components).expand_as(mean)
    weight = torch.full_like(mean, 1 / components)
    for _ in range(rounds):
        u = (y[..., None] - mean) / width
        share = (weight.log() - 0.5 * u.square() - width.log()).softmax(-1)
        total = share.sum(0) + 1e-6
        mean = (share * y[..., None]).sum(0) / total
        width = ((share * (y[..., None] - mean).square()).sum(0) / total).sqrt().clamp_min(least) + 2e-3
        weight = total / total.sum(1, keepdim=True)
    return weight, mean, width


def _unsoft(s: Tensor) -> Tensor:
    """The inverse of softplus."""
    return s + torch.log(-torch.expm1(-s))

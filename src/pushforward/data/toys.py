"""Points in the plane to learn from in seconds, with exact log-densities: the best test a density can have.

    eight_gaussians   8 blobs on a circle of radius 4, std 0.5
    gaussian_mixture  blobs wherever you like
    rings             4 circles of radius 0.75, 1.5, 2.25, 3, blur 0.08
    moons             2 half circles, blur 0.1
    swiss_roll        (s cos s, s sin s), s from 1.5 pi to 4.5 pi, blur 1
    two_spirals       +-(-s cos s, s sin s), s up to 3 pi, s^2 uniform, blur 0.3
    pinwheel          5 blobs, each point turned by its radius
    checkerboard      8 squares of side 1/0.45: entropy log(8 / 0.45^2) = 3.6765 nats in raw units

Model units are centred and of about unit spread: x = (value - centre) / spread. `density` takes model units:
log p_model(x) = log p(value) + 2 log spread. Points are drawn once, by (seed, index), so a larger set begins
with a smaller one's points; n // 5 more are held out.

References:
    Johnson et al., "Composing graphical models with neural networks", 2016, arXiv 1603.06277 (theirs turns
    by the coordinate along the arm, which leaves no closed density).
    Grathwohl et al., "FFJORD", 2018, arXiv 1810.01367 (most of the others; theirs are not scored exactly).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, Sample
from pushforward.data.dataset import Dataset
from pushforward.data.planes import Blobs, Circles, Curves, Plane, Squares
from pushforward.data.scaling import Scaling


def eight_gaussians(n: int = 20_000, noise: float = 0.5, seed: int = 0) -> Dataset:
    """Eight normal blobs on a circle of radius 4.

    >>> eight_gaussians(n=1000)
    <Dataset eight_gaussians: 1,000 + 200 points, 2 dimensions, density known>
    """
    turns = [math.tau * k / 8 for k in range(8)]
    centres = tuple((4 * math.cos(a), 4 * math.sin(a)) for a in turns)
    return _points("eight_gaussians", Blobs(centres, (noise, noise)), 2.9, n, seed, noise)


def gaussian_mixture(
    centres: Sequence[tuple[float, float]] = ((-2.0, 0.0), (2.0, 0.0)),
    n: int = 20_000,
    noise: float = 0.5,
    seed: int = 0,
) -> Dataset:
    """Equally likely normal blobs of std `noise` at the given centres; model units are raw units."""
    blobs = Blobs(tuple((float(a), float(b)) for a, b in centres), (noise, noise))
    return _points("gaussian_mixture", blobs, 1.0, n, seed, noise)


def rings(n: int = 20_000, noise: float = 0.08, seed: int = 0) -> Dataset:
    """Four circles around one centre, blurred by `noise`."""
    return _points("rings", Circles((0.75, 1.5, 2.25, 3.0), noise), 1.45, n, seed, noise)


def moons(n: int = 20_000, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Two half circles that reach into each other, blurred by `noise`."""
    return _points("moons", Curves(_moons, noise, math.pi), 0.7, n, seed, noise, (0.5, 0.25))


def swiss_roll(n: int = 20_000, noise: float = 1.0, seed: int = 0) -> Dataset:
    """One and a half turns of a widening spiral, uniform in its angle, blurred by `noise`."""
    return _points("swiss_roll", Curves(_roll, noise, 3 * math.pi * 14.2), 7.0, n, seed, noise, (2.0, 0.0))


def two_spirals(n: int = 20_000, noise: float = 0.3, seed: int = 0) -> Dataset:
    """Two arms of one and a half turns, blurred by `noise`; the square of the angle is uniform."""
    return _points("two_spirals", Curves(_spirals, noise, 3 * math.pi * 9.5, power=2), 4.7, n, seed, noise)


def pinwheel(n: int = 20_000, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Five long blobs, each turned by an angle that grows with its radius; `noise` is their breadth."""
    centres = tuple((2 * math.cos(math.tau * k / 5), 2 * math.sin(math.tau * k / 5)) for k in range(5))
    return _points("pinwheel", Blobs(centres, (0.6, noise), twist=0.6), 1.5, n, seed, noise)


def checkerboard(n: int = 20_000, seed: int = 0) -> Dataset:
    """The dark squares of a 4 x 4 board of cells of side 1/0.45; a hard edge, so no smooth model is exact."""
    return _points("checkerboard", Squares(4, 1 / 0.45), 2.57, n, seed)


TOYS = {
    toy.__name__: toy
    for toy in (
        checkerboard, eight_gaussians, gaussian_mixture, moons, pinwheel, rings, swiss_roll, two_spirals
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelDensity:
    """The log-density of a plane's points in model units, [n]."""

    plane: Plane
    scaling: Scaling

    def __call__(self, x: Sample) -> PerSample:
        return self.plane.log_density(self.scaling.to_values(x)) - self.scaling.log_abs_det((2,))


def _points(
    name: str,
    plane: Plane,
    spread: float,
    n: int,
    seed: int,
    noise: float = 1.0,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Dataset:
    if n < 5 or not noise > 0:
        got = f"n={n}, noise={noise} for {name}"
        raise ConfigError(explain("n >= 5 and noise > 0", got, "Raise them."))
    scaling = Scaling(offset=-torch.tensor(centre) / spread, scale=1 / spread)
    return Dataset(
        name=name,
        kind="points",
        values=plane.sample(n, Draw(seed, f"{name}/train")),
        held_out=plane.sample(n // 5, Draw(seed, f"{name}/held_out")),
        scaling=scaling,
        source=f"Drawn from a known density with seed {seed}.",
        density=ModelDensity(plane, scaling),
    )


def _moons(q: Tensor) -> Tensor:
    cos, sin = (math.pi * q).cos(), (math.pi * q).sin()
    return torch.stack([torch.stack([cos, sin], 1), torch.stack([1 - cos, 0.5 - sin], 1)])


def _roll(q: Tensor) -> Tensor:
    s = math.pi * (1.5 + 3 * q)
    return torch.stack([s * s.cos(), s * s.sin()], 1)[None]


def _spirals(q: Tensor) -> Tensor:
    s = 3 * math.pi * q
    arm = torch.stack([-s * s.cos(), s * s.sin()], 1)
    return torch.stack([arm, -arm])

"""Sampling nearer to the mode, or farther from it.

Temperature T asks for p(x)**(1/T) in place of p(x). `tempered` starts from noise whose standard deviation is sqrt(T)
times the model's and follows the model's own velocity:

    x_t = alpha x0 + sqrt(T) sigma eps,      E[x0 | x_t] as the model says,      score = score of the model / T.

One change seen three ways: louder noise with the same denoiser, the same ODE from a scaled start, the score divided
by T. For data N(m, S) on a path that ends in noise, alpha(1) = 0, it is exact: samples are N(m, T S), or p**(1/T).
Otherwise it is an approximation: modes get narrower, by less than sqrt(T) where there are several, move towards each
other and keep the weights they have, where p**(1/T) would favour the highest. (Two modes far apart on a line, T = 1/4:
0.74 of their width and not 0.5.) `log_prob` is the density of what is sampled, in every case.

(Dividing the score by T in the ODE and leaving the noise alone is something else, and not exact for normal data: on a
path with alpha = 1, a start of variance V ends with V (v_0 / v_1)**(1/T), v_t being the variance of the marginal.)

`truncated` starts from noise within `bound` standard deviations along each axis, which keeps samples from rare noise.

References: Kingma and Dhariwal 2018 (arXiv 1807.03039) for temperature in flows, Brock et al. 2018 (arXiv 1809.11096)
for truncation, Dhariwal and Nichol 2021 (arXiv 2105.05233), appendix G, for what temperature does to diffusion.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.models.around import around, unscaled
from pushforward.models.base import Base, Normal, like
from pushforward.models.diffusion import Diffusion
from pushforward.paths import Coefficients, Path, solve


@dataclass(frozen=True, slots=True)
class Louder(Path):
    """A path with its noise multiplied: alpha of `path`, `factor` times its sigma."""

    path: Path
    factor: float

    def coefficients(self, t: Time) -> Coefficients:
        c = self.path.coefficients(t)
        return Coefficients(c.alpha, self.factor * c.sigma, c.alpha_dot, self.factor * c.sigma_dot)

    def time_at(self, alpha: torch.Tensor, sigma: torch.Tensor) -> Time:
        return self.path.time_at(alpha, sigma / self.factor)


@dataclass(frozen=True, eq=False)
class Truncated(Base):
    """Independent normals, each kept within `bound` standard deviations of its mean.

    Args:
        shape: of one event.
        std, mean: of the normals before they are truncated, numbers or tensors that broadcast over the event.
        bound: in standard deviations.

    Raises:
        ConfigError: a bound that is not positive.

    >>> Truncated((1,), bound=1.0).log_prob(torch.tensor([[0.0], [2.0]]))  # -log(sqrt(2 pi) 0.6827)
    tensor([-0.5372,    -inf])
    """

    shape: tuple[int, ...]
    std: float | Tensor = 1.0
    bound: float = 2.0
    mean: float | Tensor = 0.0
    cut = True

    def __post_init__(self) -> None:
        if self.bound <= 0:
            raise ConfigError(explain("a positive bound", f"{self.bound}", "2 keeps 95 % of each axis."))

    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        mass = math.erf(self.bound / math.sqrt(2))
        side = mass * (2 * draw.uniform(n, self.shape, torch.float64) - 1)  # erf of the value over sqrt(2)
        value = (math.sqrt(2) * torch.erfinv(side)).clamp(-self.bound, self.bound)
        return (value * like(self.std, value) + like(self.mean, value)).to(torch.get_default_dtype())

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        std, mass = like(self.std, z), math.sqrt(2 * math.pi) * math.erf(self.bound / math.sqrt(2))
        size = (z - like(self.mean, z)) / std
        each = -0.5 * size.square() - std.log() - math.log(mass)
        return torch.where(size.abs() <= self.bound * (1 + 1e-6), each, -torch.inf).flatten(1).sum(1)


def tempered(model: Diffusion, temperature: float) -> Diffusion:
    """The model at another temperature; 1 is the model itself, below 1 nearer to its modes.

    Args:
        model: of p.
        temperature: T of p**(1/T); exact for normal data, see the module.

    Raises:
        ConfigError: a temperature that is not positive, or a model that starts from something else than normal noise.

    >>> from pushforward.models import gaussian
    >>> cold = tempered(gaussian(std=2.0, shape=(1,)), 0.25)
    >>> round(cold.sample(10_000, seed=0).std().item(), 1)
    1.0
    """
    if temperature <= 0:
        raise ConfigError(explain("a positive temperature", f"{temperature}", "1 changes nothing, 0.8 cools."))
    _needs_normal(model)
    path = Louder(model.path, math.sqrt(temperature))
    net = _Tempered(model, path)
    hot = Diffusion(net, path, model.prediction, shape=model.shape, solver=model.solver, trace=model.trace)
    hot.training = model.training
    return hot


def truncated(model: Diffusion, bound: float) -> Diffusion:
    """The model started from noise within `bound` standard deviations along each axis.

    Args:
        model: whose network is shared.
        bound: in standard deviations of the noise, above 0.

    Raises:
        ConfigError: a bound that is not positive, or a model that starts from something else than normal noise.

    >>> from pushforward.models import gaussian
    >>> bool(truncated(gaussian(shape=(2,)), 1.0).sample(100, seed=0).abs().max() <= 1.001)
    True
    """
    _needs_normal(model)
    cut = around(model, model.net)
    cut.base = Truncated(model.shape, model.base.std, bound, getattr(model.base, "mean", 0.0))
    return cut


def _needs_normal(model: Diffusion) -> None:
    if not isinstance(model.base, Normal | Truncated):
        fix = "Both are statements about normal noise: sample the model as it is."
        raise ConfigError(explain("a model that starts from normal noise", f"a {type(model.base).__name__}", fix))


class _Tempered(nn.Module):
    """The network's output for the same x0, its noise counted in louder units."""

    def __init__(self, model: Diffusion, path: Louder) -> None:
        super().__init__()
        self.model, self.path = model, path

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        model, louder = self.model, self.path.coefficients(t)
        x = unscaled(x, louder, model.prediction)
        data, noise = solve(model.raw(x, t, context), x, model.path.coefficients(t), model.prediction)
        row = model.prediction.row(louder)
        return row.target(data, noise / self.path.factor) / per_sample(row.scale, x)

"""What a network may predict: one table, one solve.

Everything is linear in (x0, eps):  scale * m = p x0 + q eps.

    prediction   p            q                 scale
    x0           1            0                 1
    eps          0            1                 1
    v            -sigma       alpha             1
    velocity     alpha'       sigma'            1        (0 where sigma' is infinite; then p = 0, q = 1)
    score        0            -1                sigma
    edm          sigma / h    -d**2 alpha / h   d        h = sqrt(sigma**2 + d**2 alpha**2), d = sigma_data

Together with x_t = alpha x0 + sigma eps that is two equations for two unknowns:

    det = alpha q - sigma p,   x0 = (q x_t - sigma scale m) / det,   eps = (alpha scale m - p x_t) / det.

So any prediction becomes any other, exactly, wherever det is not 0; where it is, the network's output says
nothing about what is asked, and `convert` says so. `scale` keeps every row finite up to both ends of the path.

References: Salimans and Ho 2022 (arXiv 2202.00512) for v; Karras et al. 2022 (arXiv 2206.00364) for edm.
"""

import abc
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward._errors import ConversionError
from pushforward._typing import Sample, Time, per_sample
from pushforward.paths.path import Coefficients, Path


class Row(NamedTuple):
    """scale * m = p x0 + q eps, each [batch]."""

    p: Tensor
    q: Tensor
    scale: Tensor

    def target(self, x0: Sample, eps: Sample) -> Sample:
        """scale * m: what the network's output, times `scale`, should be."""
        return per_sample(self.p, x0) * x0 + per_sample(self.q, x0) * eps


class Prediction(abc.ABC):
    """One row of the table; a frozen dataclass."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The row's name in the table."""

    @abc.abstractmethod
    def row(self, c: Coefficients) -> Row:
        """The row at coefficients `c`."""

    def input_scale(self, c: Coefficients) -> Tensor:
        """What x_t is multiplied by before a network sees it, so that exploding noise arrives at unit size.

        1 on paths whose coefficients stay within 1; EDM's own c_in, 1 / h, for a prediction that knows the data's size.
        """
        sigma_data: float | None = getattr(self, "sigma_data", None)
        if sigma_data is None:
            return 1 / torch.maximum(c.alpha, c.sigma).clamp(min=1.0)
        return 1 / torch.hypot(c.sigma, sigma_data * c.alpha)


@dataclass(frozen=True, slots=True)
class _X0(Prediction):
    @property
    def name(self) -> str:
        return "x0"

    def row(self, c: Coefficients) -> Row:
        one = torch.ones_like(c.alpha)
        return Row(one, torch.zeros_like(one), one)


@dataclass(frozen=True, slots=True)
class _Eps(Prediction):
    @property
    def name(self) -> str:
        return "eps"

    def row(self, c: Coefficients) -> Row:
        one = torch.ones_like(c.alpha)
        return Row(torch.zeros_like(one), one, one)


@dataclass(frozen=True, slots=True)
class _V(Prediction):
    @property
    def name(self) -> str:
        return "v"

    def row(self, c: Coefficients) -> Row:
        return Row(-c.sigma, c.alpha, torch.ones_like(c.alpha))


@dataclass(frozen=True, slots=True)
class _Velocity(Prediction):
    @property
    def name(self) -> str:
        return "velocity"

    def row(self, c: Coefficients) -> Row:
        one, infinite = torch.ones_like(c.alpha), c.sigma_dot.isinf()
        return Row(
            c.alpha_dot.masked_fill(infinite, 0.0),
            torch.where(infinite, one, c.sigma_dot),
            one.masked_fill(infinite, 0.0),
        )


@dataclass(frozen=True, slots=True)
class _Score(Prediction):
    @property
    def name(self) -> str:
        return "score"

    def row(self, c: Coefficients) -> Row:
        return Row(torch.zeros_like(c.alpha), -torch.ones_like(c.alpha), c.sigma)


@dataclass(frozen=True, slots=True)
class _EDM(Prediction):
    sigma_data: float = 0.5

    @property
    def name(self) -> str:
        return "edm"

    def row(self, c: Coefficients) -> Row:
        d = self.sigma_data
        h = torch.hypot(c.sigma, d * c.alpha)
        return Row(c.sigma / h, -d * d * c.alpha / h, torch.full_like(h, d))


x0: Prediction = _X0()
"""The data itself (the denoiser's output)."""
eps: Prediction = _Eps()
"""The noise (DDPM)."""
v: Prediction = _V()
"""alpha eps - sigma x0 (Salimans and Ho 2022)."""
velocity: Prediction = _Velocity()
"""dx_t/dt = alpha' x0 + sigma' eps (flow matching); the right-hand side of the ODE."""
score: Prediction = _Score()
"""grad log p(x_t) = -eps / sigma."""


def edm(sigma_data: float = 0.5) -> Prediction:
    """The raw output F of an EDM-preconditioned network for data of standard deviation `sigma_data`."""
    return _EDM(sigma_data)


def named(name: str) -> Prediction:
    """The prediction of this name: x0, eps, v, velocity, score or edm.

    >>> named("eps") is eps
    True
    """
    table = {"x0": x0, "eps": eps, "v": v, "velocity": velocity, "score": score, "edm": edm()}
    if name not in table:
        raise ConversionError(f"Expected a prediction of {', '.join(table)}; got {name!r}. Choose one of them.")
    return table[name]


def solve(m: Sample, x_t: Sample, c: Coefficients, prediction: Prediction) -> tuple[Sample, Sample]:
    """(x0, eps) from a network's output `m` at `x_t`. Not finite where the determinant vanishes; see `convert`."""
    row = prediction.row(c)
    det = c.alpha * row.q - c.sigma * row.p

    def times(factor: Tensor) -> Tensor:
        return per_sample(factor / det, x_t)

    data = times(row.q) * x_t - times(c.sigma * row.scale) * m
    noise = times(c.alpha * row.scale) * m - times(row.p) * x_t
    return data, noise


def recast(m: Sample, x_t: Sample, c: Coefficients, source: Prediction, target: Prediction) -> Sample:
    """`convert` without its check, for inner loops whose times are known to be regular."""
    if source == target:
        return m
    row = target.row(c)
    return row.target(*solve(m, x_t, c, source)) / per_sample(row.scale, x_t)


def convert(m: Sample, x_t: Sample, t: Time, path: Path, source: Prediction, target: Prediction) -> Sample:
    """The prediction `target` from a network's output `m` of kind `source`.

    Args:
        m: the network's output, [batch, *event].
        x_t: the network's input, [batch, *event].
        t: its times, [batch].

    Raises:
        ConversionError: where the answer is not determined (the determinant is 0) or not finite.
    """
    c = path.coefficients(t)
    obstacle = obstacle_between(c, source, target)
    if obstacle is not None:
        where = t[obstacle][0].item()
        a, s = c.alpha[obstacle][0].item(), c.sigma[obstacle][0].item()
        raise ConversionError(
            f"{source.name!r} cannot be converted to {target.name!r} at t={where:g}: alpha is {a:g} and sigma is {s:g} "
            f"there, so the output does not determine it. Keep away from that end, or train with 'velocity'."
        )
    return recast(m, x_t, c, source, target)


def obstacle_between(c: Coefficients, source: Prediction, target: Prediction) -> Tensor | None:
    """Which samples cannot be converted, [batch] of booleans, or None where all can."""
    if source == target:
        return None
    row, out = source.row(c), target.row(c)
    bad = (c.alpha * row.q - c.sigma * row.p == 0) | (out.scale == 0)
    return bad if bool(bad.any()) else None

"""What a network may predict: one table, one solve.

Everything is linear in (x0, eps):  scale * m = p x0 + q eps.

    prediction   p            q                 scale
    x0           1            0                 1
    eps          0            1                 1
    v            -sigma       alpha             1
    velocity     alpha'       sigma'            1        (0 where sigma' is infinite; then p = 0, q = 1)
    score        0            -1                sigma
    edm          sigma / h    -d**2 alpha / h   d        h = sqrt(sigma**2 + d**2 alpha**2), d = sigma_data

Together with x_t = alpha x0 + sigma eps that is two equations for two unknowns. A target S m' = P x0 + Q eps is then a
combination of the two things that are known, `bridge`:

    m' = a x_t + b m,     a = (P q - Q p) / (det S),  b = scale (alpha Q - sigma P) / (det S),  det = alpha q - sigma p.

Where det is 0, or scale is 0 and m says nothing, the two equations are one, and the target is determined if and only if
its row is a multiple of it. Then the limit is exact: m' = b m with (P, Q) S**-1 scale**-1 along (p, q), so eps becomes
score at alpha = 0 although det = 0 there; or m' = a x_t, so x0 is x_t / alpha at sigma = 0 whatever the network said.
Where it is not, `bridge` and `convert` say so. `scale` keeps every row finite up to both ends of the path.

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


class _Bridge(NamedTuple):
    """m' = a x_t + b m, where that is `known`, each [batch]."""

    a: Tensor
    b: Tensor
    known: Tensor


def _between(c: Coefficients, source: Prediction, target: Prediction) -> _Bridge:
    """The bridge by rank; a and b are NaN where the target is not determined. No step depends on a value."""
    zero = torch.zeros_like(c.alpha)
    if source == target:
        return _Bridge(zero, zero + 1, zero == 0)
    (p, q, scale), (P, Q, S) = source.row(c), target.row(c)
    det, across = c.alpha * q - c.sigma * p, c.alpha * Q - c.sigma * P
    here, said, rounding = c.alpha**2 + c.sigma**2, p**2 + q**2, torch.finfo(c.alpha.dtype).eps
    apart = (det**2 > rounding**2 * here * said) & (scale != 0)
    along = across**2 <= rounding**2 * here * (P**2 + Q**2)
    speaks = (scale != 0) & (said != 0)
    known = (apart | along) & (S != 0)
    det, said = torch.where(apart, det, zero + 1), torch.where(speaks, said, zero + 1)
    a = torch.where(apart, (P * q - Q * p) / det, torch.where(speaks, zero, (P * c.alpha + Q * c.sigma) / here))
    b = torch.where(apart, across / det, torch.where(speaks, (P * p + Q * q) / said, zero)) * scale
    out = torch.where(known, S, torch.nan)
    return _Bridge(a / out, b / out, known)


def bridge(c: Coefficients, source: Prediction, target: Prediction) -> tuple[Tensor, Tensor]:
    """(a, b), each [batch], with target = a x_t + b m for a network's output m of kind `source`.

    Exact up to both ends of the path, and continuous: where the determinant vanishes it is the limit, if there is one.

    Args:
        c: the path's coefficients, each [batch].

    Raises:
        ConversionError: where the output and x_t do not determine the target, or it is infinite.

    >>> from pushforward.paths import Linear
    >>> bridge(Linear().coefficients(torch.tensor([0.5, 1.0])), velocity, x0)  # x0 = x_t - t m
    (tensor([1., 1.]), tensor([-0.5000, -1.0000]))
    """
    a, b, known = _between(c, source, target)
    if not bool(known.all()):
        raise _undetermined(c, ~known, source, target)
    return a, b


def recast(m: Sample, x_t: Sample, c: Coefficients, source: Prediction, target: Prediction) -> Sample:
    """`convert` without its check, for inner loops whose times are known to be regular; elsewhere it is NaN."""
    if source == target:
        return m
    a, b, _ = _between(c, source, target)
    return per_sample(a, x_t) * x_t + per_sample(b, x_t) * m


def solve(m: Sample, x_t: Sample, c: Coefficients, prediction: Prediction) -> tuple[Sample, Sample]:
    """(x0, eps) from a network's output `m` at `x_t`; NaN where it is not determined (see `convert`)."""
    return recast(m, x_t, c, prediction, x0), recast(m, x_t, c, prediction, eps)


def convert(m: Sample, x_t: Sample, t: Time, path: Path, source: Prediction, target: Prediction) -> Sample:
    """The prediction `target` from a network's output `m` of kind `source`.

    Of what `m` and `x_t` say no more is lost than rounding: at most 32 units in the last place of |a x_t| + |b m|.

    Args:
        m: the network's output, [batch, *event].
        x_t: the network's input, [batch, *event].
        t: its times, [batch].

    Raises:
        ConversionError: where the output and x_t do not determine the answer, or it is infinite.
    """
    c = path.coefficients(t)
    _, b, known = _between(c, source, target)
    if not bool(known.all()):
        raise _undetermined(c, ~known, source, target, t)
    return recast(m.masked_fill(per_sample(b == 0, m), 0.0), x_t, c, source, target)  # what is ignored may be infinite


def _undetermined(
    c: Coefficients, where: Tensor, source: Prediction, target: Prediction, t: Time | None = None
) -> ConversionError:
    """What is missing at the first of the samples `where` nothing is known."""
    place = "" if t is None else f" at t={t[where][0].item():g}"
    infinite = target.row(c).scale[where][0].item() == 0
    reason = f"{target.name!r} is infinite" if infinite else "the output does not determine it"
    alpha, sigma = c.alpha[where][0].item(), c.sigma[where][0].item()
    return ConversionError(
        f"{source.name!r} cannot be converted to {target.name!r}{place}: alpha is {alpha:g} and sigma is {sigma:g} "
        f"there, so {reason}. Keep away from that end, or train with 'velocity'."
    )

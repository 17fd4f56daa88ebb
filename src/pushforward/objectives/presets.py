"""The formulations of the papers: for each, one line that says which path, prediction, clock, times and weights it is.

    preset                  path        prediction   told       times             weighting
    ddpm                    Discrete    eps          t          Stops             1 on eps
    score_vp                VP, SubVP   eps          t          Uniform           1 on eps, or ELBO
    score_ve                VE          eps          ve         Uniform           1 on eps
    edm                     EDM         edm          edm        LogNormal         1 on F
    flow_matching           Linear      velocity     t          Uniform           1 on velocity
    rectified_flow          Linear      velocity     t          Uniform           1 on velocity
    stochastic_interpolant  Linear,     velocity     t          Uniform           1 on velocity
                            Cosine

Score matching's weights sigma**2 on the score are 1 on eps. The papers of ddpm and score_vp scale t by 999 for nets
that expect whole steps; such a net is told so by `preconditioning("vp")`. Every entry is an ordinary value: take it
apart, replace what you like, or write the line yourself. Interpolants with a source of any law and latent noise are
`models.Interpolant`, trained by `Interpolation`.

References: Ho et al. 2020 (arXiv 2006.11239), Song et al. 2021 (arXiv 2011.13456), Karras et al. 2022 (arXiv
2206.00364), Lipman et al. 2022 (arXiv 2210.02747), Liu et al. 2022 (arXiv 2209.03003), Ma et al. 2024 (arXiv
2401.08740).
"""

from typing import NamedTuple

from torch import nn

from pushforward.models.diffusion import Diffusion
from pushforward.objectives import weighting as weightings
from pushforward.objectives.regression import Regression
from pushforward.paths import (
    EDM,
    VE,
    VP,
    Discrete,
    Linear,
    LogNormal,
    Path,
    Preconditioning,
    Prediction,
    Stops,
    eps,
    preconditioning,
    velocity,
)
from pushforward.paths import edm as edm_output
from pushforward.solvers import Ancestral, Euler, EulerMaruyama, Heun, Karras, PredictorCorrector, Solver


class Formulation(NamedTuple):
    """A model, and the objective that trains it as its paper does.

    >>> from pushforward.nets import MLP
    >>> model, objective = flow_matching(MLP((2,), hidden=8, layers=1))
    >>> model.path, objective.times
    (Linear(sigma_min=0.0), Uniform())
    """

    model: Diffusion
    objective: Regression


_AS_IT_IS = preconditioning("none")


def ddpm(net: nn.Module, steps: int = 1000, schedule: str = "linear", told: Preconditioning = _AS_IT_IS) -> Formulation:
    """Denoising diffusion (Ho et al. 2020): eps on a chain of betas, its whole steps alike, the simple loss."""
    path = Discrete.scheduled(schedule, steps=steps)
    return Formulation(_model(net, path, eps, told, Ancestral(steps=steps)), Regression(times=Stops(steps)))


def score_vp(
    net: nn.Module, path: Path | None = None, likelihood: bool = False, told: Preconditioning = _AS_IT_IS
) -> Formulation:
    """Score matching on the variance-preserving SDE, or with `path=SubVP()` below it (Song et al. 2021).

    Args:
        likelihood: weigh by g**2, the bound on the likelihood, instead of by sigma**2.
    """
    weighting = weightings.ELBO() if likelihood else None
    return Formulation(_model(net, path or VP(), eps, told, EulerMaruyama(steps=1000)), Regression(weighting=weighting))


def score_ve(net: nn.Module, sigma_min: float = 0.01, sigma_max: float = 50.0) -> Formulation:
    """Score matching on the variance-exploding SDE (Song et al. 2021); the network's sign is free, and it says eps."""
    path = VE(sigma_min, sigma_max)
    return Formulation(_model(net, path, eps, preconditioning("ve"), PredictorCorrector(steps=1000)), Regression())


def edm(
    net: nn.Module, sigma_data: float = 0.5, path: Path | None = None, mean: float = -1.2, std: float = 1.2
) -> Formulation:
    """The design of Karras et al. 2022: preconditioned, log-normal noise, every level's loss 1 at the start.

    Args:
        sigma_data: the data's standard deviation.
        mean, std: P_mean and P_std, of the log of sigma / alpha.
    """
    told, weighting = preconditioning("edm", sigma_data), weightings.EDM(sigma_data)
    model = _model(net, path or EDM(), edm_output(sigma_data), told, Karras(steps=18))
    return Formulation(model, Regression(LogNormal(mean, std), weighting=weighting))


def flow_matching(net: nn.Module, sigma_min: float = 0.0, told: Preconditioning = _AS_IT_IS) -> Formulation:
    """Flow matching on straight conditional paths (Lipman et al. 2022), whose noise may end at sigma_min."""
    return Formulation(_model(net, Linear(sigma_min), velocity, told, Heun(steps=20)), Regression())


def rectified_flow(net: nn.Module, told: Preconditioning = _AS_IT_IS) -> Formulation:
    """Rectified flow (Liu et al. 2022): the same regression, Euler's method; straighten it on `pairs` of its own."""
    return Formulation(_model(net, Linear(), velocity, told, Euler(steps=100)), Regression())


def stochastic_interpolant(net: nn.Module, path: Path | None = None, told: Preconditioning = _AS_IT_IS) -> Formulation:
    """SiT's one-sided interpolant (Ma et al. 2024): velocity on Linear, or Cosine for its GVP; sampled with noise."""
    return Formulation(_model(net, path or Linear(), velocity, told, EulerMaruyama(250, form="sigma")), Regression())


def _model(net: nn.Module, path: Path, prediction: Prediction, told: Preconditioning, solver: Solver) -> Diffusion:
    return Diffusion(net, path, prediction, precondition=told, solver=solver)

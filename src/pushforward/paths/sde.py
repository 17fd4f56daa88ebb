"""The way back from noise to data, with any amount of fresh noise.

For every eta >= 0 the backward process

    dx = [u - eta**2 g**2 / 2 score] dt + eta g dw        (t falling, dw its noise)

has the path's own marginals at every t: eta = 0 is the probability-flow ODE, eta = 1 the reverse of the forward SDE
(Anderson 1982), whose drift is f x - g**2 score. Larger eta forget errors sooner and need smaller steps. As
score = -eps / sigma and g**2 / (2 sigma) = sigma' - f sigma, the drift is one more row of the table of predictions,

    p = alpha',    q = (1 + eta**2) sigma' - eta**2 f sigma,    scale = 1,

finite at the data's end, where g**2 score is not. So `bridge(c, source, reverse(eta))` is what a solver needs:
drift = a x_t + b m, and `Reverse.diffusion` is the variance of the noise it adds. The size may also be chosen freely,
w = eta**2 g**2 with any w(c) >= 0 that is finite where g is not, as w = sigma is on the linear path:

    q = sigma' + w / (2 sigma).

References: Anderson 1982; Song et al. 2021 (arXiv 2011.13456); Karras et al. 2022 (arXiv 2206.00364, equation 6);
Ma et al. 2024 (arXiv 2401.08740) for free w.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time
from pushforward.paths.path import Coefficients, Path
from pushforward.paths.prediction import Prediction, Row


@dataclass(frozen=True, slots=True)
class Reverse(Prediction):
    """The drift of the reverse SDE as a prediction; `reverse` makes it."""

    noise: float | Callable[[Coefficients], Tensor] = 1.0

    def __post_init__(self) -> None:
        if not callable(self.noise) and not 0 <= self.noise < float("inf"):
            raise ConfigError(explain("an amount of noise of 0 or more", repr(self.noise), "0 is the ODE, 1 the SDE."))

    @property
    def name(self) -> str:
        return "reverse drift"

    def row(self, c: Coefficients) -> Row:
        one, zero = torch.ones_like(c.alpha), torch.zeros_like(c.alpha)
        if callable(self.noise):
            infinite = c.sigma_dot.isinf() | (c.sigma == 0)
            more = self.noise(c) / (2 * c.sigma)
        else:
            infinite = c.sigma_dot.isinf() | ((c.alpha == 0) if self.noise else (zero != 0))
            decay = c.alpha_dot / c.alpha if self.noise else zero
            more = self.noise**2 * (c.sigma_dot - decay * c.sigma)
        return Row(
            c.alpha_dot.masked_fill(infinite, 0.0),
            torch.where(infinite, one, c.sigma_dot + more),
            one.masked_fill(infinite, 0.0),
        )

    def diffusion(self, path: Path, t: Time) -> Tensor:
        """The variance that the noise adds per unit of t, eta**2 g**2 or w, [batch].

        Raises:
            ConversionError: where g is infinite and eta is not 0.
        """
        if callable(self.noise):
            return self.noise(path.coefficients(t))
        return self.noise**2 * path.diffusion(t) if self.noise else torch.zeros_like(t)


def reverse(noise: float | Callable[[Coefficients], Tensor] = 1.0) -> Reverse:
    """The drift of the reverse SDE with this much noise.

    Args:
        noise: eta, a number (0: the ODE, 1: the forward SDE reversed); or w, a function of the path's coefficients.

    >>> from pushforward.paths import Linear, bridge, velocity
    >>> bridge(Linear().coefficients(torch.tensor([0.5])), velocity, reverse(1.0))  # a x_t + b m
    (tensor([2.]), tensor([2.]))
    """
    return Reverse(noise)

"""Two data sets and noise between them: a stochastic interpolant with two sides.

    x_t = alpha x0 + sigma x1 + gamma z,        x0 ~ data,  x1 ~ source (any law),  z ~ N(0, 1)
    b(x, t) = E[alpha' x0 + sigma' x1 + gamma' z | x_t = x],        eta(x, t) = E[z | x_t = x]

Two networks are learned: the velocity b, whose ODE carries the source to the data, and eta, which is the score,
grad log p(x_t) = -eta / gamma. With both, every SDE with noise w(t) has the same marginals; from t = 1 down, in h > 0,

    x <- x - h ( b + w / (2 gamma) eta ) + sqrt(w h) noise,        w = eta_s**2 gamma,

with eta_s the solver's `eta`: no step divides by gamma. A `Diffusion` is the case of one side, where x1 is the noise.

Reference: Albergo, Boffi, Vanden-Eijnden 2023 (arXiv 2303.08797), section 2.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ConversionError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.models.base import Base
from pushforward.models.diffusion import Diffusion
from pushforward.models.model import Model
from pushforward.paths import Latent, Path, SineSquared, velocity
from pushforward.solvers import EulerMaruyama, Solver, State, Trajectory
from pushforward.solvers.checks import check_output, check_state
from pushforward.solvers.noise import address
from pushforward.transforms import Steps


class Interpolant(Model):
    """Data from a source of any law by the learned ODE, or by an SDE where `solver` is an `EulerMaruyama`.

    Its log-density is the ODE's, and needs that of the source.

    Args:
        net: the velocity b, (x [batch, *event], t [batch], context) -> [batch, *event].
        noise_net: eta, of the same form.
        base: the source; whatever it is, `decode(events)` goes from events of one's own.
        path: alpha and sigma; `Linear()` if None.
        latent: gamma.
        solver: how to integrate where a call names no other.

    >>> from pushforward.models import Normal
    >>> still = Interpolant(lambda x, t, c: 0 * x, lambda x, t, c: 0 * x, Normal((2,)))
    >>> still.sample(3, seed=0, solver=EulerMaruyama(steps=4, form="sigma")).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Tensor],
        noise_net: nn.Module | Callable[..., Tensor],
        base: Base,
        path: Path | None = None,
        latent: Latent | None = None,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        self.flow = Diffusion(net, path, velocity, shape=base.shape, base=base, solver=solver)
        self.noise_net, self.base = noise_net, base
        self.latent = SineSquared() if latent is None else latent
        first, last, margin = *self.flow.span, self.latent.margin
        self.flow.span = self.flow.reach = self.span = (max(first, margin), min(last, 1 - margin))

    @property
    def path(self) -> Path:
        """alpha and sigma."""
        return self.flow.path

    def velocity(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """b, the right-hand side of the ODE, [batch, *event]."""
        return self.flow.velocity(x, t, context)

    def score(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """grad log p(x_t), [batch, *event].

        Raises:
            ConversionError: at an end, where there is no latent noise and the score is not learned.
        """
        gamma = self.latent.width(t)[0]
        if bool((gamma <= 0).any()):
            got, fix = f"t={t[gamma <= 0][0].item():g}", "Ask strictly between 0 and 1."
            raise ConversionError(explain("a time with latent noise, for a score", got, fix))
        return -self.noise_net(x, t, context) / per_sample(gamma, x)

    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        solver, context = self.flow.solver if solver is None else solver, self._given(z, context)
        if isinstance(solver, EulerMaruyama) and solver.eta:
            return self._sde(z, context, solver, address(draw))
        return self.flow.decoding(z, context, solver, draw)

    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        return self.flow.encode(x, context, solver)

    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self.flow.encode_and_ladj(x, context, solver)

    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self.flow.decode_and_ladj(z, context, solver)

    def encode_steps(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) along the ODE; see `Diffusion.encode_steps`."""
        return self.flow.encode_steps(x, context, solver)

    def decode_steps(self, z: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) along the ODE; see `Diffusion.decode_steps`."""
        return self.flow.decode_steps(z, context, solver)

    def _sde(self, x: Sample, context: Context, solver: EulerMaruyama, draw: Draw) -> Trajectory:
        if solver.form != "sigma":
            fix = "Use EulerMaruyama(form='sigma'): its noise is eta**2 gamma."
            raise ConfigError(explain("noise that the latent measures", f"form {solver.form!r}", fix))
        check_state(x)
        times = solver.grid.times(solver.steps, self.span[1], self.span[0], self.path)
        for i, (now, later) in enumerate(pairwise(times)):
            h, t = now - later, x.new_full((len(x),), now)
            b, eta = self.flow.velocity(x, t, context), self.noise_net(x, t, context)
            if i == 0:
                check_output(b, x)
            gamma = self.latent.width(torch.tensor(now, dtype=torch.float64))[0].item()
            end = x - now * b
            x = x - h * (b + solver.eta**2 / 2 * eta)
            if later > self.span[0]:
                x = x.add_(solver.noise.between(draw, x, now, later), alpha=solver.eta * math.sqrt(gamma * h))
            edited = yield State(x, x.new_full((len(x),), later), end, i + 1)
            if edited is not None:
                check_state(edited)
                x = edited
        return x

"""A model that follows a learned velocity field: diffusion and flow matching in one.

A network m(x_t, t) trained to predict any row of the table on any path is turned into the velocity

    dx/dt = alpha' x0 + sigma' eps,      (x0, eps) solved from m and x_t,

and everything else follows: samples integrate it from t = 1 to t = 0, `encode` integrates it back, and the
log-density adds the integral of its divergence (the probability-flow ODE of Song et al. 2021, arXiv 2011.13456).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward._errors import ConversionError, ShapeError
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.models.base import Base, Normal
from pushforward.models.model import Model
from pushforward.paths import Linear, Path, Prediction, eps, recast, score, solve, velocity, x0
from pushforward.solvers import Exact, Field, Heun, Solver, Trace, Trajectory, augmented, drain


class Diffusion(Model):
    """A network, the path it was trained on, and what it predicts.

    Args:
        net: (x [batch, *event], t [batch], context) -> [batch, *event].
        path: alpha and sigma.
        prediction: the row of the table that `net` outputs.
        shape: the shape of one event; taken from `net.shape` if None.
        solver: how to integrate where a call names no other.
        trace: how likelihoods get the divergence.

    `span` is the stretch of times over which the velocity is defined: all of [0, 1] for velocity and v on every
    path and for each prediction where its determinant does not vanish; otherwise it stops 0.001 short of the end
    where the network's output says nothing, and samples start or stop there.

    >>> model = Diffusion(lambda x, t, context: -x, shape=(2,))
    >>> model.sample(3, seed=0).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Tensor],
        path: Path | None = None,
        prediction: Prediction = velocity,
        *,
        shape: tuple[int, ...] | None = None,
        solver: Solver | None = None,
        trace: Trace | None = None,
    ) -> None:
        super().__init__()
        shape = shape if shape is not None else getattr(net, "shape", None)
        if shape is None:
            raise ShapeError("Expected a network with a `shape`, or shape=; got neither. Pass shape=data.shape.")
        self.net = net
        self.path = Linear() if path is None else path
        self.prediction = prediction
        self.solver = Heun(steps=20) if solver is None else solver
        self.trace = Exact() if trace is None else trace
        self.span = _span(self.path, prediction)
        end = self.path.coefficients(torch.tensor([self.span[1]], dtype=torch.float64))
        self.base: Base = Normal(tuple(shape), std=end.sigma.item())

    def raw(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """The network's own output at (x, t), [batch, *event]: what training compares with its target."""
        scale = self.prediction.input_scale(self.path.coefficients(t))
        return self.net(x * per_sample(scale, x), t, context)

    def predict(self, what: Prediction, x: Sample, t: Time, context: Context = None) -> Sample:
        """Any row of the table at (x, t), whatever the network was trained on, [batch, *event].

        Times must lie in `span`; `pushforward.paths.convert` is the checked form.
        """
        self._check(x)
        return recast(self.raw(x, t, context), x, self.path.coefficients(t), self.prediction, what)

    def velocity(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """dx/dt, the right-hand side of the ODE, [batch, *event]."""
        return self.predict(velocity, x, t, context)

    def denoiser(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """E[x0 | x_t = x], [batch, *event]."""
        return self.predict(x0, x, t, context)

    def noise_estimate(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """E[eps | x_t = x], [batch, *event]."""
        return self.predict(eps, x, t, context)

    def score(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """grad log p(x_t), [batch, *event]."""
        return self.predict(score, x, t, context)

    def on(self, path: Path, prediction: Prediction | None = None) -> "Diffusion":
        """The same model on another path, as another prediction, without retraining; it shares the network.

        The solution of the ODE is unchanged: it is followed at another speed and scale.
        """
        target = self.prediction if prediction is None else prediction
        moved = _Moved(self, path, target)
        return Diffusion(moved, path, target, shape=self.shape, solver=self.solver, trace=self.trace)

    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        """Solvers that never call the network at the end go all the way there, whatever `span` says."""
        self._check(z)
        chosen = self.solver if solver is None else solver
        first, last = self.span
        end = 0.0 if chosen.open_end else first
        return chosen.trajectory(self.field(context), z, last, end, self.path, self.prediction, draw)

    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        self._check(x)
        chosen = self.solver if solver is None else solver
        return drain(chosen.trajectory(self.field(context), x, *self.span, self.path, self.prediction))

    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self._with_ladj(x, *self.span, context, solver)

    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        first, last = self.span
        return self._with_ladj(z, last, first, context, solver)

    def _with_ladj(
        self, x: Sample, start: float, end: float, context: Context, solver: Solver | None
    ) -> tuple[Sample, PerSample]:
        self._check(x)
        chosen = self.solver if solver is None else solver
        field = augmented(self.trace.of(self._field(context), x), self.shape)
        state = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
        state = drain(chosen.trajectory(field, state, start, end))
        return state[:, :-1].unflatten(1, self.shape), state[:, -1]

    def field(self, context: Context = None) -> Field:
        """What the network says given this context, (x, t) -> [batch, *event]: for solvers, with `path` and
        `prediction`."""
        return lambda x, t: self.raw(x, t, context)

    def _field(self, context: Context) -> Field:
        """The velocity given this context."""
        return lambda x, t: self.velocity(x, t, context)

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            raise ShapeError(
                f"Expected events of shape {self.shape} in a batch; got a tensor {tuple(x.shape)}. "
                f"Reshape it to [batch, {', '.join(map(str, self.shape))}]."
            )


class _Moved(nn.Module):
    """A network that answers on another path: the same (x0, eps), seen at another scale and time."""

    def __init__(self, model: Diffusion, path: Path, prediction: Prediction) -> None:
        super().__init__()
        self.model, self.path, self.prediction = model, path, prediction

    def forward(self, x: Sample, t: Time, context: Context = None) -> Sample:
        here = self.path.coefficients(t)
        x = x / per_sample(self.prediction.input_scale(here), x)
        low, high = self.model.span
        t_there = self.model.path.time_at(here.alpha, here.sigma).clamp(low, high)
        there = self.model.path.coefficients(t_there)
        ratio = torch.hypot(there.alpha, there.sigma) / torch.hypot(here.alpha, here.sigma)
        x_there = x * per_sample(ratio, x)
        data, noise = solve(self.model.raw(x_there, t_there, context), x_there, there, self.model.prediction)
        row = self.prediction.row(here)
        return row.target(data, noise) / per_sample(row.scale, x)


def _span(path: Path, prediction: Prediction) -> tuple[float, float]:
    """The times over which `prediction` determines a finite velocity on `path`."""
    margin = 1e-3

    def regular(t: float) -> bool:
        c = path.coefficients(torch.tensor([t], dtype=torch.float64))
        row = prediction.row(c)
        det = c.alpha * row.q - c.sigma * row.p
        finite = bool(torch.stack([*c, *row]).isfinite().all())
        return finite and abs(det.item()) > 1e-12 and row.scale.item() > 0

    span = (0.0 if regular(0.0) else margin, 1.0 if regular(1.0) else 1.0 - margin)
    if not (regular(span[0]) and regular(span[1])):
        raise ConversionError(
            f"Expected a prediction that determines the velocity on {path}; got {prediction.name!r}, which does not "
            f"even at t={span}. Check the path's alpha and sigma."
        )
    return span

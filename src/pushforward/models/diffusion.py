"""A model that follows a learned velocity field: diffusion and flow matching in one.

A network m(x_t, t) trained to predict any row of the table on any path is turned into the velocity

    dx/dt = alpha' x0 + sigma' eps,      (x0, eps) solved from m and x_t,

and everything else follows: samples integrate it from t = 1 to t = 0, `encode` integrates it back, and the
log-density adds the integral of its divergence (the probability-flow ODE of Song et al. 2021, arXiv 2011.13456), on
the straight path whatever the model's own (`straight.py`).
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ConversionError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.models.audit import Audit
from pushforward.models.base import Base, Normal
from pushforward.models.carried import carried, ode_alone, same
from pushforward.models.flow import NormalizingFlow
from pushforward.models.integrated import Integrated
from pushforward.models.model import Model
from pushforward.models.straight import close, push, push_steps, reach, walk
from pushforward.paths import Linear, Path, Preconditioning, Prediction, eps, recast, score, solve, velocity, x0
from pushforward.solvers import ByDimension, Field, Solver, Trace, Trajectory, drain
from pushforward.transforms import Chain, Steps


class Diffusion(Model):
    """A network, the path it was trained on, and what it predicts.

    Args:
        net: (x [batch, *event], t [batch], context) -> [batch, *event].
        path: alpha and sigma.
        prediction: the row of the table that `net` outputs.
        shape: the shape of one event; taken from `net.shape` if None.
        solver: how to integrate where a call names no other; 20 steps of Heun's method if None, or of the midpoint's
            where the prediction says nothing at an end of the path (x0 of data, eps of noise; `straight.walk`).
        trace: how likelihoods get the divergence; `ByDimension()` if None.
        precondition: at what scale the network sees x and on which clock t (`paths.preconditioning`); by default the
            prediction's own scale, and t.
        uncertainty: u(t) of a learned weighting (`objectives.Uncertainty`), trained with the network; None for none.
        base: where noise comes from; with another source than noise, for data to data. N(0, sigma**2) if None.
        data_mean, data_var: the data's mean and variance, numbers or tensors that broadcast over the event. With
            them noise starts at N(alpha mean, alpha**2 var + sigma**2), the data's own moments at the last time,
            where a path keeps some of the data there; without, at N(0, sigma**2).

    `span` is the stretch of times over which the velocity is defined: all of [0, 1] for velocity and v on every
    path and for each prediction where its determinant does not vanish; otherwise it stops 0.001 short of the end
    where the network's output says nothing, and samples start or stop there. `reach` is the same for likelihoods,
    which need no finite velocity (`straight.py`): it starts at 0 unless the output says nothing of eps there. Their
    density is that of x_t at the first time of `reach`: of the data where sigma is 0 there, else of
    alpha x0 + sigma eps.

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
        precondition: Preconditioning | None = None,
        uncertainty: nn.Module | None = None,
        base: Base | None = None,
        data_mean: float | Tensor = 0.0,
        data_var: float | Tensor = 0.0,
    ) -> None:
        super().__init__()
        shape = shape if shape is not None else getattr(net, "shape", None)
        if shape is None:
            raise ShapeError("Expected a network with a `shape`, or shape=; got neither. Pass shape=data.shape.")
        if base is not None and tuple(base.shape) != tuple(shape):
            fix = "Give the base the shape of one event."
            raise ShapeError(explain(f"a base of events {tuple(shape)}, as the network's", f"{tuple(base.shape)}", fix))
        self.net = net
        self.path = Linear() if path is None else path
        self.prediction = prediction
        self.solver = walk(self.path, prediction) if solver is None else solver
        self.trace = ByDimension() if trace is None else trace
        self.precondition, self.uncertainty = precondition, uncertainty
        self.span = _span(self.path, prediction, precondition)
        self.reach = reach(self.path, prediction, self.span)
        self.data_mean, self.data_var = data_mean, data_var
        self._left = _base(self.path, self.span[1], tuple(shape), data_mean, data_var)
        self.base: Base = self._left if base is None else base

    def raw(self, x: Sample, t: Time, context: Context = None, leap: Time | None = None) -> Sample:
        """The network's own output at (x, t), [batch, *event]: what training compares with its target.

        `leap` is for the network of a flow map, which is told how far to jump (`nets.two_times`).
        """
        c, told = self.path.coefficients(t), {} if leap is None else {"leap": leap}
        if self.precondition is None:
            return self.net(x * per_sample(self.prediction.input_scale(c), x), t, context, **told)
        clock = self.precondition.clock(t, c)
        return self.net(x * per_sample(self.precondition.input_scale(c), x), clock, context, **told)

    def predict(self, what: Prediction, x: Sample, t: Time, context: Context = None) -> Sample:
        """Any row of the table at (x, t), whatever the network was trained on, [batch, *event].

        Times must lie in `span`; `pushforward.paths.convert` is the checked form.
        """
        context = self._given(x, context)
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

        The solution of the ODE is unchanged: it is followed at another speed and scale. A base of one's own goes along.

        Raises:
            ConversionError: a base of one's own, and a path whose noise is elsewhere.
        """
        target = self.prediction if prediction is None else prediction
        moved = Diffusion(
            _Moved(self, path, target), path, target, shape=self.shape, solver=self.solver, trace=self.trace,
            data_mean=self.data_mean, data_var=self.data_var,
        )  # fmt: skip
        # nearer to the data or to noise than this model's own path goes, nothing is known
        c = self.path.coefficients(torch.tensor([self.reach[0], self.span[1]], dtype=torch.float64))
        first, last = path.time_at(c.alpha, c.sigma).nan_to_num(1.0).clamp(0, 1).tolist()
        last = last if last < moved.span[1] - 1e-9 else moved.span[1]
        moved._within((moved.span[0], last), (max(first, moved.reach[0]), last))
        if self.has_its_own_base():
            moved.base = carried(self.base, _end(self.path, self.span[1]), _end(path, last))
        return moved

    def matched(self, mean: float | Tensor, var: float | Tensor) -> "Diffusion":
        """The same model for data of this mean and variance (see `data_mean`); it shares the network.

        Raises:
            ConversionError: a base of one's own where the path keeps some of the data.
        """
        moved = Diffusion(
            self.net, self.path, self.prediction, shape=self.shape, solver=self.solver, trace=self.trace,
            precondition=self.precondition, uncertainty=self.uncertainty, data_mean=mean, data_var=var,
        )  # fmt: skip
        moved._within(self.span, self.reach)
        if self.has_its_own_base():
            alpha, sigma = _end(self.path, self.span[1])
            moved.base = carried(self.base, (alpha, sigma), (0.0, sigma))
        return moved

    def as_flow(self, solver: Solver | None = None, trace: Trace | None = None, pieces: int = 1) -> NormalizingFlow:
        """The same model as a normalizing flow, which shares its network and base.

        Its chain joins others: `Chain(coupling) + model.as_flow().chain`, or `model.as_flow().chain + flow.chain` over
        `flow.base`, a field whose noise is a flow.

        Args:
            solver: for each piece, Runge-Kutta or adaptive. If None, adaptive to 1e-6, which is close enough for a
                map that claims to be invertible (a field that swings takes hundreds of calls), or the model's own if
                that is adaptive or saves memory.
            trace: how the divergence is computed; the model's own if None.
            pieces: transforms in the chain, equal intervals of t: where `encode_steps` and `decode_steps` stop.

        Raises:
            ConfigError: less than one piece; when called, a solver that cannot carry the divergence.

        >>> from pushforward.models import gaussian
        >>> model, x = gaussian(shape=(2,)), torch.ones(1, 2, dtype=torch.float64)
        >>> flow = model.as_flow(pieces=3)
        >>> len(flow), bool((flow.log_prob(x) - model.log_prob(x)).abs() < 1e-3)
        (3, True)
        """
        if pieces < 1:
            raise ConfigError(explain("at least one piece", f"{pieces}", "1 is the whole way at once."))
        solver = close(self) if solver is None else solver
        ends = torch.linspace(*self.reach, pieces + 1, dtype=torch.float64).tolist()
        chain = Chain(*(Integrated(self, times, solver, trace) for times in pairwise(ends)))
        return NormalizingFlow(chain, self.base)

    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        """Solvers that never call the network at the end go all the way there, whatever `span` says.

        Raises:
            ConfigError: a solver that adds noise on the way, and a base that is something else than noise.
        """
        context = self._given(z, context)
        chosen = self.solver if solver is None else solver
        if self.has_its_own_base():
            ode_alone(self.base, chosen)
        first, last = self.span
        end = 0.0 if chosen.open_end else first
        return chosen.trajectory(self.field(context), z, last, end, self.path, self.prediction, draw)

    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        context = self._given(x, context)
        chosen = self.solver if solver is None else solver
        return drain(chosen.trajectory(self.field(context), x, *self.span, self.path, self.prediction))

    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self._with_ladj(x, *self.reach, context, solver)

    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        first, last = self.reach
        return self._with_ladj(z, last, first, context, solver)

    def encode_steps(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) after each step of the solver, from data to noise; the last is `encode_and_ladj`.

        `send(x)` replaces the value, and `ladj` counts anew from there, as in `Chain.encode_steps`.
        """
        return push_steps(self, x, self.reach, self._given(x, context), solver, self.trace)

    def decode_steps(self, z: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) after each step of the solver, from noise to data; `send` as in `encode_steps`."""
        first, last = self.reach
        return push_steps(self, z, (last, first), self._given(z, context), solver, self.trace)

    def audit(self, x: Sample, context: Context = None, seed: int = 0, solver: Solver | None = None) -> Audit:
        """Whether the model, as the flow that `as_flow(solver)` makes of it, is what it claims to be on these data."""
        return self.as_flow(solver).audit(x, context, seed)

    def _with_ladj(
        self, x: Sample, start: float, end: float, context: Context, solver: Solver | None
    ) -> tuple[Sample, PerSample]:
        context = self._given(x, context)
        x, columns, _ = push(self, x, (start, end), context, solver, self.trace)
        return x, columns.mean(1)

    def has_its_own_base(self) -> bool:
        """Whether noise is something else than what the path leaves of the data and its eps."""
        return self.base is not self._left and not same(self.base, self._left)

    def _within(self, span: tuple[float, float], reach: tuple[float, float]) -> None:
        """Give this new model other ends, and the noise that belongs there."""
        self.span, self.reach = span, reach
        self.base = self._left = _base(self.path, span[1], self.shape, self.data_mean, self.data_var)

    def field(self, context: Context = None) -> Field:
        """What the network says given this context, (x, t) -> [batch, *event]: for solvers, with `path` and
        `prediction`."""
        return lambda x, t: self.raw(x, t, context)

    def _field(self, context: Context) -> Field:
        """The velocity given this context."""
        return lambda x, t: self.velocity(x, t, context)


class _Moved(nn.Module):
    """A network that answers on another path: the same (x0, eps), seen at another scale and time."""

    def __init__(self, model: Diffusion, path: Path, prediction: Prediction) -> None:
        super().__init__()
        self.model, self.path, self.prediction = model, path, prediction

    def forward(self, x: Sample, t: Time, context: Context = None, leap: Time | None = None) -> Sample:
        here = self.path.coefficients(t)
        x = x / per_sample(self.prediction.input_scale(here), x)
        low, high = max(self.model.reach[0], 1e-12), self.model.reach[1]
        t_there = self.model.path.time_at(here.alpha, here.sigma).clamp(low, high)
        there = self.model.path.coefficients(t_there)
        ratio = torch.hypot(there.alpha, there.sigma) / torch.hypot(here.alpha, here.sigma)
        x_there = x * per_sample(ratio, x)
        data, noise = solve(self.model.raw(x_there, t_there, context, leap), x_there, there, self.model.prediction)
        row = self.prediction.row(here)
        return row.target(data, noise) / per_sample(row.scale, x)


def _end(path: Path, t: float) -> tuple[float, float]:
    """alpha and sigma at a time, in float64."""
    c = path.coefficients(torch.tensor([t], dtype=torch.float64))
    return c.alpha.item(), c.sigma.item()


def _base(path: Path, t: float, shape: tuple[int, ...], mean: float | Tensor, var: float | Tensor) -> Normal:
    """N(alpha mean, alpha**2 var + sigma**2) at the last time, in float64."""
    alpha, sigma = _end(path, t)
    if not isinstance(mean, Tensor) and not isinstance(var, Tensor):
        return Normal(shape, math.sqrt(alpha**2 * var + sigma**2), alpha * mean)
    mean, var = (torch.as_tensor(number, dtype=torch.float64).expand(shape) for number in (mean, var))
    return Normal(shape, (alpha**2 * var + sigma**2).sqrt(), alpha * mean)


def _span(path: Path, prediction: Prediction, precondition: Preconditioning | None) -> tuple[float, float]:
    """The times over which `prediction` determines a finite velocity on `path` and the network's clock is finite."""
    margin = 1e-3

    def regular(t: float) -> bool:
        times = torch.tensor([t], dtype=torch.float64)
        c = path.coefficients(times)
        row = prediction.row(c)
        det = c.alpha * row.q - c.sigma * row.p
        told = times if precondition is None else precondition.clock(times, c)
        finite = bool(torch.stack([*c, *row, told]).isfinite().all())
        return finite and abs(det.item()) > 1e-12 and row.scale.item() > 0

    span = (0.0 if regular(0.0) else margin, 1.0 if regular(1.0) else 1.0 - margin)
    if not (regular(span[0]) and regular(span[1])):
        raise ConversionError(
            f"Expected a prediction that determines the velocity on {path}; got {prediction.name!r}, which does not "
            f"even at t={span}. Check the path's alpha and sigma."
        )
    return span

"""Flow maps: a network that jumps where a diffusion integrates.

The solution of dx/dt = v(x, t) through x at time t is at time s where the average velocity says,

    X(x, t, s) = x + (s - t) u(x, t, s),        u(x, t, t) = v(x, t),        X(X(x, t, m), m, s) = X(x, t, s).

So a flow map is a velocity field (s = t) and its own solver (s = 0) in one network, and everything a `Diffusion` can
be asked is asked of its diagonal: scores, encodings and likelihoods are those of v. All of it is on the straight path,
where x_t = (1 - t) x0 + t eps and u is an average of eps - x0.

A network trained on another path, or to predict something else, is a flow map as well. It names x0 and eps of the
straight line through x, and u = eps - x0: for a network that predicts x0 this is X = (s / t) x + (1 - s / t) D, the
parametrisation of consistency (trajectory) models; for v on the cosine path it is the one of TrigFlow. `of` does it.

References: Boffi et al. 2024 (arXiv 2406.07507); Geng et al. 2025 (arXiv 2505.13447); Kim et al. 2023 (arXiv
2310.02279); Lu and Song 2024 (arXiv 2410.11081).
"""

import copy
from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample, Time, per_sample
from pushforward.models.base import Base
from pushforward.models.carried import leaves_noise, ode_alone
from pushforward.models.diffusion import Diffusion
from pushforward.models.model import Model
from pushforward.nets.two_times import two_times
from pushforward.paths import Linear, velocity
from pushforward.solvers import FlowField, Heun, Jumps, Solver, Trace, Trajectory, drain
from pushforward.transforms import Steps

_STRAIGHT: Final = Linear()


class FlowMap(Model):
    """A network of two times that jumps from noise to data, in one call or a few.

    Args:
        net: (x [batch, *event], t [batch], context, leap=t - s) -> u(x, t, s), [batch, *event]; without `leap` it
            says u(x, t, t). `nets.two_times(net)` makes one of any field net.
        shape: the shape of one event; taken from `net.shape` if None.
        solver: how to sample where a call names no other. `Jumps` calls the map; any other follows the velocity.
        follow: the solver of the velocity, for `encode` and densities.
        trace: how likelihoods get the divergence; `ByDimension()` if None.
        base: where noise comes from; N(0, 1) if None.
        span: the first and the last time that the network knows.
        critic: a model of what this one samples, trained beside it (`objectives.DistributionMatching`); it changes
            no sample.

    >>> from pushforward.nets import MLP, two_times
    >>> model = FlowMap(two_times(MLP((2,), hidden=8, layers=1)))
    >>> model.sample(3, steps=2, seed=0).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Tensor],
        *,
        shape: tuple[int, ...] | None = None,
        solver: Solver | None = None,
        follow: Solver | None = None,
        trace: Trace | None = None,
        base: Base | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        critic: Diffusion | None = None,
    ) -> None:
        super().__init__()
        self.net, self.critic, self.span = net, critic, span
        self.solver = Jumps() if solver is None else solver
        self.follow = Heun(steps=20) if follow is None else follow
        self.path, self.prediction = _STRAIGHT, velocity
        field = Diffusion(net, shape=shape, trace=trace, base=base)
        self.trace, self.base = field.trace, field.base

    @classmethod
    def of(cls, teacher: "Diffusion | FlowMap", critic: bool = False, solver: Solver | None = None) -> "FlowMap":
        """The flow map that starts as a trained model: a copy of its network, told a second time, u(x, t, s) = v(x, t).

        Args:
            teacher: on any path, of any prediction, with or without a context. To learn what a guided model samples
                start from the model itself, and hand the guided one to the objective.
            critic: with a copy of the teacher, or of a flow map's velocity, as the critic too.
            solver: how to sample; one jump if None.
        """
        if isinstance(teacher, FlowMap):
            same = copy.deepcopy(teacher)
            same.solver = teacher.solver if solver is None else solver
            same.critic = copy.deepcopy(teacher.velocities) if critic else same.critic
            return same
        beside = copy.deepcopy(teacher) if critic else None
        told = copy.deepcopy(teacher)
        told.net, told.uncertainty = two_times(told.net, told.shape), None
        native = told.path == _STRAIGHT and told.prediction == velocity and told.precondition is None
        straight = told if native else told.on(_STRAIGHT, velocity)
        return cls(
            straight.net, shape=teacher.shape, solver=solver, follow=teacher.solver, trace=teacher.trace,
            base=straight.base, span=straight.span, critic=beside,
        )  # fmt: skip

    @property
    def velocities(self) -> Diffusion:
        """The diagonal u(x, t, t) as a `Diffusion`, which shares the network."""
        field = Diffusion(self.net, shape=self.shape, solver=self.follow, trace=self.trace, base=self.base)
        field.span = field.reach = self.span
        field.training = self.training  # and not `train`, which would change the network
        return field

    def average(self, x: Sample, t: Time, s: Time, context: Context = None) -> Sample:
        """u(x, t, s), the average velocity from t to s on the trajectory through x, [batch, *event]."""
        return self.net(x, t, context, leap=t - s)

    def jump(self, x: Sample, t: Time, s: Time, context: Context = None) -> Sample:
        """X(x, t, s) = x + (s - t) u(x, t, s): where the trajectory through x at t is at s, [batch, *event]."""
        context = self._given(x, context)
        return x + per_sample(s - t, x) * self.average(x, t, s, context)

    def velocity(self, x: Sample, t: Time, context: Context = None) -> Sample:
        """v(x, t) = u(x, t, t), [batch, *event]."""
        return self.net(x, t, self._given(x, context))

    def decoding(
        self, z: Sample, context: Context = None, solver: Solver | None = None, draw: Draw | None = None
    ) -> Trajectory:
        """Jumps end at t = 0 whatever `span` says.

        Raises:
            ConfigError: fresh noise on the way (`Jumps.renoise`, say) and a base that is something else than noise.
        """
        context, chosen = self._given(z, context), self.solver if solver is None else solver
        if self.has_its_own_base():
            ode_alone(self.base, chosen)
        end = 0.0 if isinstance(chosen, Jumps) or chosen.open_end else self.span[0]
        return chosen.trajectory(self.field(context), z, self.span[1], end, _STRAIGHT, velocity, draw)

    def encode(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Sample:
        """Data to noise along the velocity; or by `Jumps`, if the network was trained to jump that way as well."""
        context, chosen = self._given(x, context), self.follow if solver is None else solver
        return drain(chosen.trajectory(self.field(context), x, *self.span, _STRAIGHT, velocity))

    def encode_and_ladj(
        self, x: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        return self.velocities.encode_and_ladj(x, context, solver)

    def decode_and_ladj(
        self, z: Sample, context: Context = None, solver: Solver | None = None
    ) -> tuple[Sample, PerSample]:
        """Along the velocity: the sample is the one of `follow`, not of a jump."""
        return self.velocities.decode_and_ladj(z, context, solver)

    def encode_steps(self, x: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) along the velocity; see `Diffusion.encode_steps`."""
        return self.velocities.encode_steps(x, context, solver)

    def decode_steps(self, z: Sample, context: Context = None, solver: Solver | None = None) -> Steps:
        """(value, ladj so far) along the velocity; see `Diffusion.decode_steps`."""
        return self.velocities.decode_steps(z, context, solver)

    def has_its_own_base(self) -> bool:
        """Whether noise is something else than what the straight path leaves of data and N(0, 1)."""
        return not leaves_noise(self.base, (1 - self.span[1], self.span[1]))

    def field(self, context: Context = None) -> FlowField:
        """The map given this context, for solvers."""
        return _Field(self, context)


class _Field(FlowField):
    """A flow map given a context."""

    def __init__(self, model: FlowMap, context: Context) -> None:
        self.model, self.context = model, context

    def __call__(self, x: Sample, t: Time) -> Sample:
        return self.model.velocity(x, t, self.context)

    def average(self, x: Sample, t: Time, s: Time) -> Sample:
        return self.model.average(x, t, s, self.context)

"""A model that follows a velocity field, as a transform like any other.

    encode   x(s) -> x(t),  s < t, along dx/dt = f(x, t),        ladj = integral of div f over [s, t]
    decode   back, from t to s

Inverse and ladj are the solver's: as exact as its steps, and as the trace (`solvers.Exact`, or an unbiased estimate).
A chain may hold couplings before it, which see data, or behind it, whose noise is then the field's; several intervals
in a row are the whole way with places to look in between. `Diffusion.as_flow` makes such chains.
"""

from typing import TYPE_CHECKING

from pushforward._typing import Context, PerSample, Sample
from pushforward.models.straight import chosen_solver, push
from pushforward.solvers import Solver, Trace
from pushforward.transforms import Transform

if TYPE_CHECKING:
    from pushforward.models.diffusion import Diffusion


class Integrated(Transform):
    """The flow of a diffusion's velocity between two of its times.

    Args:
        model: whose velocity is followed; its network is shared, not copied.
        times: (s, t), data's side first; `model.reach`, the whole way, if None.
        solver: Runge-Kutta or adaptive; the model's own if it is one, else adaptive.
        trace: how the divergence is computed; the model's own if None.
    """

    def __init__(
        self,
        model: "Diffusion",
        times: tuple[float, float] | None = None,
        solver: Solver | None = None,
        trace: Trace | None = None,
    ):
        super().__init__()
        self.model, self.times = model, model.reach if times is None else times
        self.solver, self.trace = solver, model.trace if trace is None else trace

    @property
    def chosen(self) -> Solver:
        """The solver that is used."""
        return chosen_solver(self.model, self.solver)

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self._follow(x, self.times, context)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        first, last = self.times
        return self._follow(z, (last, first), context)

    def _follow(self, x: Sample, times: tuple[float, float], context: Context) -> tuple[Sample, PerSample]:
        x, columns, _ = push(self.model, x, times, context, self.solver, self.trace)
        return x, columns.mean(1)

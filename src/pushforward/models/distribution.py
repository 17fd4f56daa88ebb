"""A model as a `torch.distributions.Distribution`, for libraries that speak that language.

    d = model.distribution(context)      batch_shape: of the context's rows, () without one; event_shape: model.shape
    d.log_prob(x), d.sample((64,)), d.rsample((64,)), d.support

Shapes are torch's: sample + batch + event. Noise comes from torch's default generator, so `torch.manual_seed` governs
it, as that language expects; for draws with an address use the model itself.

Pyro asks for more than torch, a call that samples for one: `interop.to_pyro(d)` is the same in its dialect.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pushforward._errors import ShapeError, explain
from pushforward._typing import Context
from pushforward.models.conditioning import row_of

if TYPE_CHECKING:
    from pushforward.models.model import Model


class ModelDistribution(Distribution):
    """p(x | context) of a model, with one distribution for each row of the context.

    Args:
        model: the model.
        context: what it is conditioned on, [*batch, *row], or None.
        batch: the batch shape, with which the context begins; if None, what precedes a row (`conditioning.row_of`), or
            the first axis where a row's shape is not known.

    Raises:
        ShapeError: a context that does not begin with `batch`.
    """

    def __init__(self, model: "Model", context: Context = None, batch: tuple[int, ...] | None = None):
        self.model, self.context = model, context
        if batch is None:
            batch = () if context is None else _batch(model, context)
        elif context is not None and tuple(context.shape[: len(batch)]) != tuple(batch):
            fix = "Leave batch out, or give the leading axes of the context."
            raise ShapeError(explain(f"a context that begins with {tuple(batch)}", f"{tuple(context.shape)}", fix))
        super().__init__(torch.Size(batch), torch.Size(model.shape), validate_args=False)

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether draws have the derivatives of every weight: a question to the base."""
        return self.model.base.has_rsample

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """None: a model has weights instead of arguments."""
        return {}

    @property
    def support(self) -> constraints.Constraint:
        """Where the density is not 0, as far as it is known without asking: all numbers, or an interval for each."""
        low, high = self.model.bounds
        if low > -math.inf and high < math.inf:
            each = constraints.interval(low, high)
        elif low > -math.inf:
            each = constraints.greater_than_eq(low)
        else:
            each = constraints.less_than(high) if high < math.inf else constraints.real
        return constraints.independent(each, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ModelDistribution":
        """The same for more rows: axes of length 1, and new ones before them, repeated."""
        shape, context = torch.Size(batch_shape), self.context
        if context is not None:
            context = context.expand(*shape, *context.shape[len(self.batch_shape) :])
        return type(self)(self.model, context, tuple(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats, of the shape that value's sample and batch axes have together."""
        event = len(self.event_shape)
        outer = torch.broadcast_shapes(value.shape[: value.ndim - event], self.batch_shape)
        flat = value.expand(*outer, *self.event_shape).reshape(-1, *self.event_shape)
        return self.model.log_prob(flat, self._contexts(outer)).reshape(outer)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws with derivatives by the weights.

        Raises:
            ConfigError: not `has_rsample`, with gradients enabled.
        """
        return self.rsample_and_log_prob(sample_shape)[0]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without derivatives."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Draws with derivatives, and their density, in one pass."""
        outer = self._extended_shape(torch.Size(sample_shape))[: len(sample_shape) + len(self.batch_shape)]
        x, log_p = self.model.rsample_and_log_prob(math.prod(outer), self._contexts(outer))
        return x.reshape(*outer, *self.event_shape), log_p.reshape(outer)

    def _contexts(self, outer: torch.Size) -> Context:
        """One row for each event, the batch last among the outer axes."""
        if self.context is None:
            return None
        rest = self.context.shape[len(self.batch_shape) :]
        return self.context.expand(*outer, *rest).reshape(-1, *rest)


def _batch(model: "Model", context: Tensor) -> tuple[int, ...]:
    row = row_of(model)
    if row is None or tuple(context.shape[context.ndim - len(row.shape) :]) != row.shape:
        return tuple(context.shape[:1])
    return tuple(context.shape[: context.ndim - len(row.shape)])

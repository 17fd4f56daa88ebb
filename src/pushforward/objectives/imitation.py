"""A flow that learns where an ODE goes: one pass instead of many steps, and an exact likelihood of its own.

On pairs (eps, x0) of a teacher, whose two ends are one sample in noise and in data,

    loss = |encode(x0) - eps|**2 / D  +  |decode(eps) - x0|**2 / D  -  likelihood log p(x0) / D

The first term asks for the teacher's noise, the second for its sample; a flow is one map, so either alone has the
teacher's map as its minimum if the flow can be that map. Where it cannot, the first spreads noise (and the likelihood
suffers least), the second blurs samples least. The last is maximum likelihood on the data ends.

A teacher that starts with some of the data left (VE, EDM) has the noise z = alpha x0 + sigma eps, and z / sigma is what
the flow calls noise: pass `start=Ends.of(teacher)`.

Reference: van den Oord et al. 2017 (arXiv 1711.10433) for a flow that learns from a slower model.
"""

from dataclasses import dataclass

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.flow import NormalizingFlow
from pushforward.models.model import Model
from pushforward.objectives.ends import Ends
from pushforward.objectives.objective import Objective


@dataclass(frozen=True, slots=True)
class Imitation(Objective):
    """Train a `NormalizingFlow` on the ends of another model's trajectories.

    Args:
        encode, decode: how much the error of each direction counts; autoregressive flows are quick in one direction.
        likelihood: how much the log-density of the data ends counts, in nats per dimension.
        start: where the teacher's noise is, `Ends.of(teacher)`; None where it is eps, as on the straight path.

    Raises:
        ConfigError: nothing counts, or something counts less than nothing.
    """

    encode: float = 1.0
    decode: float = 0.0
    likelihood: float = 0.0
    start: Ends | None = None

    def __post_init__(self) -> None:
        weights = (self.encode, self.decode, self.likelihood)
        if min(weights) < 0 or max(weights) <= 0:
            raise ConfigError(explain("weights of 0 or more, one above", f"{weights}", "encode=1.0 is the default."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        if not isinstance(model, NormalizingFlow):
            fix = "Teach a Diffusion with objectives.Distillation() or a FlowMap."
            raise ConfigError(explain("a NormalizingFlow", f"a {type(model).__name__}", fix))
        if batch.eps is None:
            fix = "Train on objectives.pairs(teacher, n)."
            raise ShapeError(explain("batches with paired noise", "data alone", fix))
        noise = batch.eps if self.start is None else self.start.noise(batch.x, batch.eps) / self.start.sigma
        total = batch.x.new_zeros(len(batch))
        if self.encode or self.likelihood:
            z, ladj = model.encode_and_ladj(batch.x, batch.context)
            total = total + self.encode * (z - noise).square().flatten(1).mean(1)
            if self.likelihood:
                nats = model.base.log_prob(z, batch.context) + ladj
                total = total - self.likelihood * nats / batch.x[0].numel()
        if self.decode:
            x = model.decode(noise, batch.context)
            total = total + self.decode * (x - batch.x).square().flatten(1).mean(1)
        return total

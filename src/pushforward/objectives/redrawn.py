"""Another objective, of a flow whose estimates are drawn anew at every step.

A residual flow's log-determinant may be an unbiased estimate (`transforms.Roulette`). Its noise has an address, so that
the same call gives the same number; for training the address moves on with the step, or the flow would be fitted to one
draw of the noise.
"""

from dataclasses import dataclass

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.flow import NormalizingFlow
from pushforward.models.model import Model
from pushforward.objectives.objective import Objective
from pushforward.transforms import redrawn


@dataclass(frozen=True, slots=True)
class Redrawn(Objective):
    """The objective, of the flow (sharing its parameters) with every estimate at an address under the step's draw.

    Args:
        objective: what is asked of the flow.

    Raises:
        ConfigError: the model is no `NormalizingFlow`.
    """

    objective: Objective

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        if not isinstance(model, NormalizingFlow):
            fix = "Leave Redrawn out: only chains of transforms hold such estimates."
            raise ConfigError(explain("a NormalizingFlow", f"a {type(model).__name__}", fix))
        flow = NormalizingFlow(redrawn(model.chain, draw.of("estimates")), model.base)
        return self.objective(flow, batch, draw)

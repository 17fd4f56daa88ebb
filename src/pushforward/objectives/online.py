"""Pairs made as they are needed: another objective, on what a teacher carries noise to at this very step.

    z ~ base,     x0 = teacher.decode(z)          a share 1 - real of the batch
    x0 from data, z = teacher.encode(x0)          the rest, whose data ends are exact

and eps is z in the units of every other pair (`ends.py`).

Nothing is stored and no pair comes twice, for `solver`'s network calls at every step. Real pairs keep the quality of
the data from eroding over generations of reflow.

Reference: Liu et al. 2022 (arXiv 2209.03003).
"""

from dataclasses import dataclass

import torch

from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample
from pushforward.data.batch import Batch
from pushforward.models.model import Model
from pushforward.objectives.ends import Ends
from pushforward.objectives.objective import Objective
from pushforward.solvers import Solver


@dataclass(frozen=True, slots=True, eq=False)
class Online(Objective):
    """The objective, of pairs that a teacher makes for each batch.

    Args:
        objective: what is asked of the pairs; `Regression()` for reflow, `Distillation()` for jumps.
        teacher: what makes them; it is not trained.
        solver: how it goes; its own if None.
        real: the share of pairs that start from the batch's own events.

    Raises:
        ConfigError: a share outside 0..1.
    """

    objective: Objective
    teacher: Model
    solver: Solver | None = None
    real: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.real <= 1:
            raise ConfigError(explain("a share from 0 to 1 of real pairs", f"{self.real}", "0.5 takes half."))

    def __call__(self, model: Model, batch: Batch, draw: Draw) -> PerSample:
        return self.objective(model, self._paired(batch, draw), draw)

    @torch.no_grad()
    def _paired(self, batch: Batch, draw: Draw) -> Batch:
        """The batch with its own events kept, or replaced by what the teacher makes of noise."""
        kept = draw.of("real").uniform(len(batch)).to(batch.x.device) < self.real
        x, z = batch.x.clone(), self.teacher.base.sample(len(batch), draw.of("online"), batch.context).to(batch.x)
        for rows, there in ((kept, True), (~kept, False)):
            if not bool(rows.any()):
                continue
            context = None if batch.context is None else batch.context[rows]
            if there:
                z[rows] = self.teacher.encode(x[rows], context, self.solver)
            else:
                x[rows] = self.teacher.decode(z[rows], context, self.solver)
        return Batch(x, batch.context, Ends.of(self.teacher).eps(x, z))

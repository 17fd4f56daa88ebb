"""Objectives: pure losses, one number per sample.

`Likelihood` for whatever has a log-density, `Regression` for every diffusion and flow-matching formulation (reflow is
`Regression` on `pairs`), `Distillation` for few-step students, `Noisy` and `Redrawn` around any of them. May
import `models` and below.
"""

from pushforward.objectives.distillation import Distillation
from pushforward.objectives.likelihood import Likelihood
from pushforward.objectives.noisy import Noisy
from pushforward.objectives.objective import Objective
from pushforward.objectives.redrawn import Redrawn
from pushforward.objectives.reflow import Pairs, pairs, pairs_from
from pushforward.objectives.regression import Regression, Weighting

__all__ = [
    "Distillation",
    "Likelihood",
    "Noisy",
    "Objective",
    "Pairs",
    "Redrawn",
    "Regression",
    "Weighting",
    "pairs",
    "pairs_from",
]

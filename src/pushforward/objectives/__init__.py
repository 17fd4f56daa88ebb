"""Objectives: pure losses, one number per sample.

`Likelihood` for whatever has a log-density, `Regression` for every diffusion and flow-matching formulation (reflow is
`Regression` on `pairs`, optimal transport among many events on `matched` ones), `Interpolation` for two-sided
interpolants, `Distillation` for few-step students and `Imitation` for flows that learn from an ODE, `Dropped`, `Noisy`,
`Online` and `Redrawn` around any of them; `Ends` has the units of a pair's noise, `Scales` and `Hidden` are features in
which errors are seen. `weightings` are the table of weights over time, and `presets` the formulations of the papers.
`FlowMapMatching` trains flow maps by a `Rule` on `Intervals`, `DistributionMatching` by scores, and `few_steps` are the
recipes of the papers. `hide_words` and `hidden_loss` are masked language modelling as functions, `next_token` and
`next_token_loss` causal language modelling.
May import `models` and below.
"""

from pushforward.objectives import few_steps, presets
from pushforward.objectives import weighting as weightings
from pushforward.objectives.distillation import Distillation
from pushforward.objectives.distribution_matching import DistributionMatching
from pushforward.objectives.dropped import Dropped
from pushforward.objectives.ends import Ends
from pushforward.objectives.features import FeatureLoss, Hidden, Scales
from pushforward.objectives.flow_map_matching import FlowMapMatching
from pushforward.objectives.flow_map_rules import Composition, Eulerian, Lagrangian, Rule, Shrinking, Standing
from pushforward.objectives.imitation import Imitation
from pushforward.objectives.interpolation import Interpolation
from pushforward.objectives.intervals import Between, Halving, Interval, Intervals, Stops, ToData
from pushforward.objectives.likelihood import Likelihood
from pushforward.objectives.masked_words import hidden_loss, hide_words
from pushforward.objectives.next_token import next_token, next_token_loss
from pushforward.objectives.noisy import Noisy
from pushforward.objectives.objective import Objective
from pushforward.objectives.online import Online
from pushforward.objectives.presets import Formulation
from pushforward.objectives.redrawn import Redrawn
from pushforward.objectives.reflow import Pairs, matched, pairs, pairs_from
from pushforward.objectives.regression import Regression
from pushforward.objectives.uncertainty import Uncertainty
from pushforward.objectives.weighting import Weighting

__all__ = [
    "Between", "Composition", "Distillation", "DistributionMatching", "Dropped", "Ends", "Eulerian", "FeatureLoss",
    "FlowMapMatching", "Formulation", "Halving", "Hidden", "Imitation", "Interpolation", "Interval", "Intervals",
    "Lagrangian", "Likelihood", "Noisy", "Objective", "Online", "Pairs", "Redrawn", "Regression", "Rule", "Scales",
    "Shrinking", "Standing", "Stops", "ToData", "Uncertainty", "Weighting", "few_steps", "hidden_loss", "hide_words",
    "matched", "next_token", "next_token_loss", "pairs", "pairs_from", "presets", "weightings",
]  # fmt: skip

"""How data and noise are paired in training.

A coupling is a joint law of (x0, eps) with the data and the base as its marginals. Independent pairs cross;
pairs that follow a trained ODE (reflow) do not, which is what straightens the flow.

Reference: Liu et al. 2022 (arXiv 2209.03003).
"""

import abc
from dataclasses import dataclass

from pushforward._random import Draw
from pushforward._typing import Context, Sample


class Coupling(abc.ABC):
    """A rule that gives each event its noise; a frozen dataclass."""

    @abc.abstractmethod
    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        """Noise for each event, [batch, *event]."""


@dataclass(frozen=True, slots=True)
class Independent(Coupling):
    """Fresh standard normal noise for each event."""

    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        return draw.normal(len(x0), tuple(x0.shape[1:]), x0.dtype)

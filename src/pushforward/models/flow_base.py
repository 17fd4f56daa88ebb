"""A model as the base of another: what a flow has learned already is where the ODE begins.

    eps ~ flow,   x0 = decode(eps),      log p(x0) = log flow(eps) + log |det d eps / d x0|

A rectified flow from a rough but quick model of the data has little left to do, and its lines are short: pass
`base=ModelBase(flow)` to a `Diffusion` on the straight path; its training then draws from the flow too.

Reference: Liu et al. 2022 (arXiv 2209.03003) for flows between any two distributions.
"""

from typing import Self

import torch
from torch import nn

from pushforward._random import Draw
from pushforward._typing import Context, PerSample, Sample
from pushforward.models.base import Base
from pushforward.models.model import Model
from pushforward.paths import Source


class ModelBase(nn.Module, Base):
    """Samples and densities of a model, as a base.

    The model is kept as it is: its weights are not trained along, and its dropout stays off.

    Args:
        model: unconditional; what it samples is where the other begins.

    >>> from pushforward.models import Diffusion, nice
    >>> rough = nice((2,))
    >>> fine = Diffusion(lambda x, t, c: 0 * x, shape=(2,), base=ModelBase(rough))
    >>> torch.equal(fine.sample(3, seed=0), ModelBase(rough).sample(3, Draw(0, "sample")))
    True
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.shape, self.std = model, model.shape, 1.0
        self.model.requires_grad_(False).eval()

    @property
    def has_rsample(self) -> bool:
        """As long as the model is kept as it is."""
        return not any(weight.requires_grad for weight in self.parameters())

    @property
    def has_density(self) -> bool:
        """If the model's own base does."""
        return self.model.base.has_density

    def train(self, mode: bool = True) -> Self:
        """The same base, whose model is not in training whatever the one around it is."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def sample(self, n: int, draw: Draw, context: Context = None) -> Sample:
        start = self.model.base.sample(n, draw).to(next(self.model.parameters()))
        return self.model.decode(start, draw=draw.of("on the way"))

    def log_prob(self, z: Sample, context: Context = None) -> PerSample:
        return self.model.log_prob(z)

    def source(self) -> Source:
        """The coupling that pairs data with samples of the model."""
        return Source(lambda n, draw: self.sample(n, draw))

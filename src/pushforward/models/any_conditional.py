"""A flow of every conditional: p(x_A | x_B) for any two disjoint parts A and B of an event, from one network.

    log p(x_A | x_B) = sum over A of log N(z_i; 0, 1) + ladj,      z_A = flow(x_A; x_B, A, B)

A and B come with the context, and numbers outside A pass unseen and unchanged (`nets.Selective`). So each of the
conditionals is a density that integrates to 1, exactly; p(x) itself is A = everything, the marginal of what is not
missing A = that, and an imputation a sample of p(missing | the rest). What one network cannot promise is that they
agree with each other, p(a, b) = p(a) p(b | a): training makes that approximately so.

References: Li, Akbar, Oliva 2020, arXiv 1909.06319; Strauss, Oliva 2021, arXiv 2102.04426 (arbitrary conditionals).
"""

import math
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from pushforward._errors import ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample, Sample
from pushforward.models.base import Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.nets import MaskedDense, Selective
from pushforward.transforms import Affine, Autoregressive, Chain, Composed, Monotone, RationalQuadratic


class AnyConditional(nn.Module):
    """p(x_A | x_B) of vectors, for any A and B: autoregressive transforms whose orders alternate.

    Args:
        features: numbers in an event; best standardised.
        transforms: how many.
        hidden, layers: of each masked network.
        monotone: the map of each number, the identity at parameters 0; if None affine, then a spline
            of 8 bins on [-4, 4].
        dropout: probability of dropping a hidden unit in training.

    >>> model = AnyConditional(2, transforms=1, hidden=8)
    >>> first, second = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> round(model.log_prob(torch.zeros(1, 2), asked=first, known=second).item(), 4)
    -0.9189
    """

    def __init__(
        self,
        features: int,
        transforms: int = 3,
        hidden: int = 64,
        layers: int = 2,
        monotone: Monotone | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        each = monotone or Composed(Affine(5.0), RationalQuadratic(8, -4.0, 4.0))
        places = torch.arange(features)
        nets = [
            MaskedDense(features, each.size, hidden, layers, order=order, context=3 * features, dropout=dropout)
            for order in islice(cycle((places, places.flip(0))), transforms)
        ]
        chain = Chain(*(Autoregressive(each, Selective(net)) for net in nets))
        self.features, self.flow = features, NormalizingFlow(chain, Normal((features,)))

    @classmethod
    def around(cls, flow: NormalizingFlow) -> "AnyConditional":
        """The same with a flow that was one's, of a run folder say."""
        made = cls(*flow.shape, transforms=0)
        made.flow = flow
        return made

    def told(self, x: Sample, asked: Tensor, known: Tensor) -> tuple[Sample, Tensor]:
        """What `flow` is given: the asked numbers (0 elsewhere) and the context; for training by likelihood.

        Raises:
            ShapeError: x, asked and known of different shapes, or a number both asked and known.
        """
        if not (x.shape == asked.shape == known.shape and x.shape[1:] == (self.features,)) or bool(
            (asked & known).any()
        ):
            got = f"{list(x.shape)}, {list(asked.shape)} and {list(known.shape)}"
            fix = "Give x and two masks of its shape; no number may be both asked and known."
            raise ShapeError(explain(f"[batch, {self.features}] three times, disjoint masks", got, fix))
        nothing = torch.zeros_like(x)
        context = [torch.where(known, x, nothing), known.to(x), asked.to(x)]
        return torch.where(asked, x, nothing), torch.cat(context, 1)

    def log_prob(self, x: Sample, asked: Tensor, known: Tensor) -> PerSample:
        """log p(x_asked | x_known) in nats, [batch]; 0 where nothing is asked.

        Args:
            x: events [batch, features]; numbers neither asked nor known may be anything.
            asked, known: A and B, boolean [batch, features], disjoint.
        """
        part, context = self.told(x, asked, known)
        idle = (~asked).sum(1).to(x) * (0.5 * math.log(2 * math.pi))  # what the base says of zeros
        return self.flow.log_prob(part, context) + idle

    @torch.no_grad()
    def sample(self, x: Sample, asked: Tensor, known: Tensor, draw: Draw) -> Sample:
        """x with its asked numbers drawn from p(x_asked | x_known), row i by the draw's index i alone."""
        context = self.told(x, asked, known)[1]
        noise = draw.normal(len(x), (self.features,)).to(x)
        drawn = self.flow.decode(torch.where(asked, noise, torch.zeros_like(x)), context)
        return torch.where(asked, drawn, x)

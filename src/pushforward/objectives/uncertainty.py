"""A weighting that is learned: each noise level's loss divided by what it is expected to be.

    loss = L exp(-u(t)) + u(t)

is least for u = log E[L | t], where every time's share is 1: the objective is then the geometric mean of the losses
over t, and no level drowns another. u is trained beside the network and thrown away after: it changes no sample.

References: Karras et al. 2024 (arXiv 2312.02696, equations 14-16); Kendall and Gal 2018 (arXiv 1705.07115).
"""

from torch import Tensor, nn

from pushforward._typing import Time
from pushforward.nets.time import waves


class Uncertainty(nn.Module):
    """u(t), the expected log of the loss: one layer on waves of t, 0 at the start. Hand it over as `model.uncertainty`.

    Args:
        frequencies: how many waves.
        fastest: cycles of the fastest wave between t = 0 and t = 1.

    >>> import torch
    >>> Uncertainty()(torch.tensor([0.2, 0.7]))
    tensor([0., 0.], grad_fn=<SqueezeBackward1>)
    """

    def __init__(self, frequencies: int = 32, fastest: float = 16.0) -> None:
        super().__init__()
        self.frequencies, self.fastest = frequencies, fastest
        self.layer = nn.Linear(2 * frequencies, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, t: Time) -> Tensor:
        """u at each time, [batch]."""
        features = waves(t, self.frequencies, fastest=self.fastest).to(self.layer.weight.dtype)
        return self.layer(features).squeeze(1)

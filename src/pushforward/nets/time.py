"""How a network is told the time.

Time t in [0, 1] becomes waves of log-spaced frequencies f,

    (cos 2 pi f t, sin 2 pi f t),

and a small network mixes them. The slowest wave turns a quarter over the whole span, so it tells t apart
from every other t; the fastest resolves steps of about 1/(4 f_max). (Integer timesteps of other libraries are
their business: `interop` converts.)

Fast waves are for velocities. Their derivative in t is large, 2 pi f, and what learns from d/dt of the network
(MeanFlow, Eulerian and continuous consistency objectives) sees little else: for those 2 to 4 cycles are enough.

References: Vaswani et al. 2017, arXiv 1706.03762; Tancik et al. 2020, Fourier features, arXiv 2006.10739; Lu and Song
2024, arXiv 2410.11081, who warn of fast ones.
"""

import math

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Time

SLOWEST, FASTEST = 0.25, 64.0


def waves(t: Time, count: int, slowest: float = SLOWEST, fastest: float = FASTEST) -> Tensor:
    """Cosines and sines of `count` log-spaced frequencies in cycles per unit of time, [batch, 2 * count]."""
    t = t if t.dtype == torch.float64 else t.float()
    f = torch.logspace(math.log10(slowest), math.log10(fastest), count, dtype=t.dtype, device=t.device)
    angles = t.unsqueeze(-1) * (2 * math.pi * f)
    return torch.cat([angles.cos(), angles.sin()], -1)


class TimeEmbedding(nn.Module):
    """Time as a vector of a given width: Fourier features and two layers.

    Args:
        width: size of the vector.
        frequencies: how many waves.
        fastest: cycles of the fastest wave between t = 0 and t = 1.

    Raises:
        ConfigError: it is slower than the slowest, a quarter of a cycle.
    """

    def __init__(self, width: int, frequencies: int = 32, fastest: float = FASTEST) -> None:
        super().__init__()
        if not SLOWEST < fastest < math.inf:
            got, fix = f"fastest={fastest}", "64 is usual, 2 to 4 where its derivative is learned from."
            raise ConfigError(explain(f"a fastest wave of more than {SLOWEST} cycles", got, fix))
        self.frequencies = frequencies
        self.fastest = fastest
        self.first = nn.Linear(2 * frequencies, width)
        self.second = nn.Linear(width, width)

    def forward(self, t: Time) -> Tensor:
        features = waves(t, self.frequencies, fastest=self.fastest).to(self.first.weight.dtype)
        return self.second(nn.functional.silu(self.first(features)))

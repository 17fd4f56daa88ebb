"""Every base there is, over one number or two, for the laws.

`reach` holds all but a little of its mass; `thick` says how much it leaves out, where tails are powers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.distributions import Gamma, Gumbel, Independent, Laplace

from pushforward.models.base import Base, Logistic, Normal, StudentT, Uniform, VonMises
from pushforward.models.learned_base import ClassNormal, LearnedNormal, Mixture
from pushforward.models.torch_base import FromTorch


@dataclass(frozen=True)
class Kind:
    make: Callable[[], Base]
    reach: float = 12.0
    thick: float = 1e-3
    classes: int = 0

    def base(self) -> Base:
        """The base with weights off their start."""
        made = self.make()
        if isinstance(made, torch.nn.Module):
            made = made.double()
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for weight in made.parameters():
                    weight.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        return made

    def contexts(self, n: int) -> torch.Tensor | None:
        """Class 1 for all, if it reads classes."""
        return torch.ones(n, dtype=torch.int64) if self.classes else None


BASES: dict[str, Kind] = {
    "normal": Kind(lambda: Normal((1,))),
    "normal-wide": Kind(lambda: Normal((2,), std=1.5)),
    "logistic": Kind(lambda: Logistic((1,)), reach=30),
    "student": Kind(lambda: StudentT((1,)), reach=300),
    "student-light": Kind(lambda: StudentT((1,), freedom=8.0), reach=40),
    "cauchy": Kind(lambda: StudentT((1,), freedom=1.0), reach=2000, thick=4e-4),
    "uniform": Kind(lambda: Uniform((2,), -1.0, 2.0)),
    "von-mises": Kind(lambda: VonMises((1,)), reach=math.pi),
    "von-mises-sharp": Kind(lambda: VonMises((1,), concentration=200.0), reach=math.pi),
    "laplace": Kind(lambda: FromTorch(Independent(Laplace(torch.zeros(1), 1.0), 1)), reach=30),
    "gumbel": Kind(lambda: FromTorch(Independent(Gumbel(torch.zeros(1), torch.ones(1)), 1)), reach=30),
    "gamma": Kind(lambda: FromTorch(Independent(Gamma(torch.full((1,), 3.0), 1.0, validate_args=False), 1)), reach=30),
    "learned": Kind(lambda: LearnedNormal((2,))),
    "mixture": Kind(lambda: Mixture((2,), 4)),
    "class": Kind(lambda: ClassNormal((2,), 3), classes=3),
    "class-unknown": Kind(lambda: ClassNormal((2,), 3)),
}

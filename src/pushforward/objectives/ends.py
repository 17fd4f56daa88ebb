"""Where a model's noise is, and what it is in units of eps.

Sampling starts at the last time T of a model's span, from z ~ base. The line through z and its sample x0 is

    x_t = alpha_t x0 + sigma_t eps,        z = alpha_T x0 + sigma_T eps,        eps = (z - alpha_T x0) / sigma_T

and every objective on pairs takes (x0, eps). On the straight path eps is z, of whatever base. VE and EDM end at
sigma_T = 50 and 80 with all of the data beneath, where it is not; other paths lie between. A student on the teacher's
path, or on another that ends at the same noise level (`Diffusion.on`, `FlowMap.of`), then starts at the teacher's z,
but for the scale of its own path.
"""

from typing import Final, NamedTuple

import torch

from pushforward._typing import Sample
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow_map import FlowMap
from pushforward.models.model import Model

_PURE: Final = 1e-12


class Ends(NamedTuple):
    """alpha and sigma at the time where a model's noise is.

    >>> from pushforward.models import gaussian
    >>> from pushforward.paths import VE
    >>> alpha, sigma = Ends.of(gaussian(shape=(2,), path=VE()))
    >>> alpha, round(sigma, 6)
    (1.0, 50.0)
    """

    alpha: float = 0.0
    sigma: float = 1.0

    @classmethod
    def of(cls, model: Model) -> "Ends":
        """Those of a model; of one without a path, whose noise is eps, (0, 1)."""
        if not isinstance(model, Diffusion | FlowMap):
            return cls()
        c = model.path.coefficients(torch.tensor([model.span[1]], dtype=torch.float64))
        ends = cls(c.alpha.item(), c.sigma.item())
        return cls() if ends.within(_PURE) else ends

    def within(self, margin: float) -> bool:
        """Whether noise is eps there, up to this."""
        return abs(self.alpha) <= margin and abs(self.sigma - 1) <= margin

    def eps(self, x: Sample, z: Sample) -> Sample:
        """The eps of a sample and the noise it belongs to, [batch, *event]."""
        return z if self == Ends() else (z - self.alpha * x) / self.sigma

    def noise(self, x: Sample, eps: Sample) -> Sample:
        """The noise of a pair, [batch, *event]."""
        return eps if self == Ends() else self.alpha * x + self.sigma * eps

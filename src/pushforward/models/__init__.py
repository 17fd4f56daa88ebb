"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field; both are
`Model`s with the same words: `sample`, `log_prob`, `sample_and_log_prob`, `encode`, `decode`, `trajectory`.
`likelihood` is `log_prob` with its errors, a `Likelihood`. `Normal` and `Logistic` are bases. May import every shelf
below.
"""

from pushforward.models.base import Base, Logistic, Normal
from pushforward.models.diffusion import Diffusion
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.likelihood import Likelihood, likelihood
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp

__all__ = [
    "Base", "Diffusion", "Likelihood", "Logistic", "Model", "Normal", "NormalizingFlow", "likelihood", "nice",
    "prepare", "real_nvp",
]  # fmt: skip

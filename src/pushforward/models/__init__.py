"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field; both are
`Model`s with the same words: `sample`, `log_prob`, `sample_and_log_prob`, `encode`, `decode`, `trajectory`.
`likelihood` is `log_prob` with its errors, a `Likelihood`. `Normal` and `Logistic` are bases. `gaussian`, `mixture`,
`ring` and `empirical` are exact models of known data, whose networks are `Oracle`s. `auto` chooses a solver for a
model, `tune` fits one. May import every shelf below."""

from pushforward.models.auto import Choice, auto
from pushforward.models.base import Base, Logistic, Normal
from pushforward.models.diffusion import Diffusion
from pushforward.models.exact import empirical, gaussian, mixture, ring
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.likelihood import Likelihood, likelihood
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp
from pushforward.models.oracles import Oracle
from pushforward.models.tuning import tune

__all__ = [
    "Base", "Choice", "Diffusion", "Likelihood", "Logistic", "Model", "Normal", "NormalizingFlow", "Oracle", "auto",
    "empirical", "gaussian", "likelihood", "mixture", "nice", "prepare", "real_nvp", "ring", "tune",
]  # fmt: skip

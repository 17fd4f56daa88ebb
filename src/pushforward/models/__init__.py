"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field; both are
`Model`s with the same words: `sample`, `log_prob`, `sample_and_log_prob`, `encode`, `decode`, `trajectory`.
`likelihood` is `log_prob` with its errors, a `Likelihood`. `Normal` and `Logistic` are bases. `gaussian`, `mixture`,
`ring` and `empirical` are exact models of known data, whose networks are `Oracle`s. `guided`, `autoguided`,
`classifier_guided`, `posterior` (given a `Measurement`), `tempered` and `truncated` make a model of a model;
`replacement` and `repaint` inpaint; `residual` asks whether a field is one of any density. `auto` chooses a solver for
a model, `tune` fits one. May import every shelf below.
"""

from pushforward.models.auto import Choice, auto
from pushforward.models.base import Base, Logistic, Normal
from pushforward.models.continuity import Residual, residual
from pushforward.models.diffusion import Diffusion
from pushforward.models.exact import empirical, gaussian, mixture, ring
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.guidance import autoguided, classifier_guided, guided
from pushforward.models.inpainting import repaint, replacement
from pushforward.models.likelihood import Likelihood, likelihood
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp
from pushforward.models.oracles import Oracle
from pushforward.models.posterior import Isotropic, Measurement, Point, Tweedie, posterior
from pushforward.models.temperature import Truncated, tempered, truncated
from pushforward.models.tuning import tune

__all__ = [
    "Base", "Choice", "Diffusion", "Isotropic", "Likelihood", "Logistic", "Measurement", "Model", "Normal",
    "NormalizingFlow", "Oracle", "Point", "Residual", "Truncated", "Tweedie", "auto", "autoguided",
    "classifier_guided", "empirical", "gaussian", "guided", "likelihood", "mixture", "nice", "posterior", "prepare",
    "real_nvp", "repaint", "replacement", "residual", "ring", "tempered", "truncated", "tune",
]  # fmt: skip

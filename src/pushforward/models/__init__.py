"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field; both are
`Model`s with the same words: `sample`, `log_prob`, `sample_and_log_prob`, `encode`, `decode`, `trajectory`. Bases are
frozen values (`Normal`, `Logistic`, `StudentT`, `Uniform`, `VonMises`, any of torch's) or have weights
(`LearnedNormal`, `Mixture`, `ClassNormal`). `flow.audit(x)` measures whether a flow is what it claims to be, and
`flow.distribution(context)` is the same flow in torch's own language. May import every shelf below.
"""

from pushforward.models.audit import Audit
from pushforward.models.base import Base, FromTorch, Logistic, Normal, StudentT, Uniform, VonMises
from pushforward.models.diffusion import Diffusion
from pushforward.models.distribution import ModelDistribution
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.learned_base import ClassNormal, LearnedNormal, Mixture
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, flowpp, nsf
from pushforward.models.surjected import Surjected

__all__ = [
    "Audit",
    "Base",
    "ClassNormal",
    "Diffusion",
    "FromTorch",
    "LearnedNormal",
    "Logistic",
    "Mixture",
    "Model",
    "ModelDistribution",
    "Normal",
    "NormalizingFlow",
    "StudentT",
    "Surjected",
    "Uniform",
    "VonMises",
    "circular",
    "flowpp",
    "glow",
    "nice",
    "nsf",
    "prepare",
    "real_nvp",
]

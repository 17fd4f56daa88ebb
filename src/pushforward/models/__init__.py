"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field; both are
`Model`s with the same words: `sample`, `log_prob`, `sample_and_log_prob`, `encode`, `decode`, `trajectory`. `Normal`
and `Logistic` are bases. Flows with a name are functions. May import every shelf below.
"""

from pushforward.models.base import Base, Logistic, Normal
from pushforward.models.diffusion import Diffusion
from pushforward.models.ffjord import ffjord
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.gaussianize import gaussianize
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp
from pushforward.models.named_autoregressive import (
    bernstein,
    bnaf,
    gaussianization,
    iaf,
    maf,
    naf,
    nsf_autoregressive,
    planar,
    radial,
    residual_flow,
    sos,
    sylvester,
    umnn,
)
from pushforward.models.tarflow import denoised, guided_flow, tarflow

__all__ = [
    "Base",
    "Diffusion",
    "Logistic",
    "Model",
    "Normal",
    "NormalizingFlow",
    "bernstein",
    "bnaf",
    "denoised",
    "ffjord",
    "gaussianization",
    "gaussianize",
    "guided_flow",
    "iaf",
    "maf",
    "naf",
    "nice",
    "nsf_autoregressive",
    "planar",
    "prepare",
    "radial",
    "real_nvp",
    "residual_flow",
    "sos",
    "sylvester",
    "tarflow",
    "umnn",
]

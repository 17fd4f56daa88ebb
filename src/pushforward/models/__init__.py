"""Models: whatever has `sample` and `log_prob`.

`NormalizingFlow` pushes noise through a chain of transforms, `Diffusion` along a learned velocity field, `FlowMap` in a
few jumps, `Interpolant` from any source, by ODE or SDE; all are `Model`s with the same words: `sample`, `log_prob`,
`rsample_and_log_prob`, `encode`, `decode`, `trajectory`. Bases are frozen values (`Normal`, `Logistic`, `StudentT`,
`Uniform`, `VonMises`, any of torch's) or have weights (`LearnedNormal`, `Mixture`, `ClassNormal`), or are other models
(`ModelBase`) or data (`Rows`).

Around a diffusion: `as_flow` makes a flow of it, of `Integrated` transforms that join others; `likelihood` is
`log_prob` with its errors; `guided`, `autoguided`, `classifier_guided`, `posterior` (given a `Measurement`),
`tempered` and `truncated` make a model of a model; `replacement` and `repaint` inpaint;
`residual` asks whether a field is one of any density; `auto` chooses a solver and `tune` fits one. `gaussian`,
`mixture`, `ring` and `empirical` are exact models of known data. Around a flow: `flow.audit(x)` measures whether it is
what it claims to be, `guided_flow` exaggerates its context, `flow.distribution(context)` is the same flow in torch's
language. Named flows are functions that build one; `AnyConditional` is a flow of p(x_A | x_B) for any parts A and B.
May import every shelf below.
"""

from pushforward.models.any_conditional import AnyConditional
from pushforward.models.audit import Audit
from pushforward.models.auto import Choice, auto
from pushforward.models.base import Base, Logistic, Normal, StudentT, Uniform, VonMises
from pushforward.models.chunks import in_chunks
from pushforward.models.continuity import Residual, residual
from pushforward.models.diffusion import Diffusion
from pushforward.models.distribution import ModelDistribution
from pushforward.models.exact import empirical, gaussian, mixture, ring
from pushforward.models.ffjord import ffjord
from pushforward.models.flow import NormalizingFlow, prepare
from pushforward.models.flow_base import ModelBase
from pushforward.models.flow_map import FlowMap
from pushforward.models.gaussianize import gaussianize
from pushforward.models.guidance import autoguided, classifier_guided, guided
from pushforward.models.guided_flow import guided_flow
from pushforward.models.inpainting import repaint, replacement
from pushforward.models.integrated import Integrated
from pushforward.models.interpolant import Interpolant
from pushforward.models.learned_base import ClassNormal, LearnedNormal, Mixture
from pushforward.models.likelihood import Likelihood, likelihood
from pushforward.models.model import Model
from pushforward.models.named import nice, real_nvp
from pushforward.models.named_autoregressive import bernstein, bnaf, iaf, maf, naf, nsf_autoregressive, sos, umnn
from pushforward.models.named_free_forms import gaussianization, planar, radial, residual_flow, sylvester
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, flowpp, nsf
from pushforward.models.oracles import Oracle
from pushforward.models.posterior import Isotropic, Measurement, Point, Tweedie, posterior
from pushforward.models.rows import Rows
from pushforward.models.surjected import Surjected
from pushforward.models.tarflow import denoised, tarflow
from pushforward.models.temperature import Truncated, tempered, truncated
from pushforward.models.torch_base import FromTorch
from pushforward.models.tuning import tune

__all__ = [
    "AnyConditional", "Audit", "Base", "Choice", "ClassNormal", "Diffusion", "FlowMap", "FromTorch", "Integrated",
    "Interpolant", "Isotropic", "LearnedNormal", "Likelihood", "Logistic", "Measurement", "Mixture", "Model",
    "ModelBase", "ModelDistribution", "Normal", "NormalizingFlow", "Oracle", "Point", "Residual", "Rows", "StudentT",
    "Surjected", "Truncated", "Tweedie", "Uniform", "VonMises", "auto", "autoguided", "bernstein", "bnaf", "circular",
    "classifier_guided", "denoised", "empirical", "ffjord", "flowpp", "gaussian", "gaussianization", "gaussianize",
    "glow", "guided", "guided_flow", "iaf", "in_chunks", "likelihood", "maf", "mixture", "naf", "nice", "nsf",
    "nsf_autoregressive", "planar", "posterior", "prepare", "radial", "real_nvp", "repaint", "replacement", "residual",
    "residual_flow", "ring", "sos", "sylvester", "tarflow", "tempered", "truncated", "tune", "umnn",
]  # fmt: skip

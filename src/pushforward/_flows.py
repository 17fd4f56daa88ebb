"""Recipes of flows of couplings, and of TarFlow: the options of the functions in `models`, as values without torch.

Fields are named as the function's arguments, and begin as those do. What is autoregressive, free-form or the identity
plus something is in `_free_forms`; the words of all are in `_recipe.FLOWS`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What flows on the whole line take besides."""

    support: tuple[float, float] | None = None
    """Low and high of bounded data, mapped to the line by a logit first: -1 1 for images. None for the whole line."""
    alpha: float = 0.05
    """How far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within."""


@dataclass(frozen=True, slots=True)
class NICE(Line):
    """Additive couplings (`models.nice`)."""

    couplings: int = 4
    """Coupling transforms."""
    hidden: int = 1_000
    """Features per layer of each conditioner."""
    layers: int = 5
    """Hidden layers of each conditioner."""
    dropout: float = 0.0
    """Share of each conditioner's features that training leaves out."""
    zero_output: bool = False
    """Start every conditioner with output 0, so that the flow starts as its diagonal."""
    spread: float = 0.01
    """Weights start uniform on (-spread, spread), as the authors' do; 0 keeps torch's own start."""


@dataclass(frozen=True, slots=True)
class RealNVP(Line):
    """Affine couplings (`models.real_nvp`)."""

    couplings: int = 8
    """Coupling transforms."""
    hidden: int = 256
    """Features per layer of each conditioner."""
    layers: int = 2
    """Hidden layers of each conditioner."""
    dropout: float = 0.0
    """Share of each conditioner's features that training leaves out."""


@dataclass(frozen=True, slots=True)
class NSFCouplings(Line):
    """Couplings of rational-quadratic splines, and LU matrices between them (`models.nsf`)."""

    couplings: int = 10
    """Coupling transforms."""
    hidden: int = 256
    """Features per layer of each conditioner."""
    blocks: int = 2
    """Residual blocks of each conditioner."""
    bins: int = 8
    """Pieces of each spline."""
    reach: float = 3.0
    """Splines bend within this of 0 and are the identity beyond."""
    dropout: float = 0.0
    """Share of each conditioner's features that training leaves out."""


@dataclass(frozen=True, slots=True)
class FlowPP(Line):
    """Couplings of mixtures of logistics, Flow++'s (`models.flowpp`)."""

    couplings: int = 6
    """Coupling transforms."""
    hidden: int = 256
    """Features per layer of each conditioner."""
    blocks: int = 2
    """Residual blocks of each conditioner."""
    components: int = 32
    """Logistics in each mixture."""
    dropout: float = 0.2
    """Share of each conditioner's features that training leaves out."""


@dataclass(frozen=True, slots=True)
class Circular:
    """Couplings of splines on circles, for angles in [-pi, pi) (`models.circular`)."""

    couplings: int = 6
    """Coupling transforms."""
    hidden: int = 128
    """Features per layer of each conditioner."""
    blocks: int = 2
    """Residual blocks of each conditioner."""
    bins: int = 8
    """Pieces of each spline."""
    dropout: float = 0.0
    """Share of each conditioner's features that training leaves out."""


@dataclass(frozen=True, slots=True)
class Glow(Line):
    """Affine couplings of images at several scales (`models.glow`)."""

    levels: int = 3
    """Scales; the sides of an image are divided by 2 once for each."""
    steps: int = 32
    """Couplings at each scale."""
    hidden: int = 512
    """Channels inside each conditioner."""


@dataclass(frozen=True, slots=True)
class TarFlow:
    """Causal transformers over patches or tokens (`models.tarflow`)."""

    transforms: int = 4
    """Transformers, their directions alternating."""
    width: int = 128
    """Features per token."""
    layers: int = 4
    """Blocks of attention and feed-forward in each."""
    heads: int = 4
    """Attention heads; they divide the width."""
    patch: int | None = None
    """Side of a patch of an image in pixels; None takes the smallest above 1 that leaves at most 64 patches."""

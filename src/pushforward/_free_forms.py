"""Recipes of flows that are autoregressive, free-form, or the identity plus something, as `_flows` has the others.

MAF, NSF and NAF begin smaller than the functions of `models`, all others as those do.
"""

from dataclasses import dataclass, field
from typing import Literal

from pushforward._config import BEFORE
from pushforward._flows import Line


@dataclass(frozen=True, slots=True)
class Masked(Line):
    """What autoregressive transforms take whose networks are masked."""

    transforms: int
    """Autoregressive transforms, their orders alternating."""
    hidden: int
    """Features per layer of each masked network."""
    layers: int = 2
    """Hidden layers of each masked network."""


@dataclass(frozen=True, slots=True)
class MAF(Masked):
    """Autoregressive affine maps (`models.maf`)."""

    transforms: int = 5
    hidden: int = 128
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class IAF(Masked):
    """MAF turned round: samples in one pass, the density of data number by number (`models.iaf`)."""

    transforms: int = 5
    hidden: int = 512
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class NSF(Masked):
    """Autoregressive rational-quadratic splines (`models.nsf_autoregressive`)."""

    transforms: int = 3
    hidden: int = 128
    layers: int = 2
    """Hidden layers of each masked network; residual blocks of two, but for tables."""
    bins: int = 8
    """Pieces of each spline."""
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class NAF(Masked):
    """Autoregressive sums of sigmoids (`models.naf`)."""

    transforms: int = 3
    hidden: int = 128
    units: int = 16
    """Sigmoids in each map."""
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class UMNN(Masked):
    """Autoregressive integrals of positive networks (`models.umnn`)."""

    transforms: int = 5
    hidden: int = 512
    embedding: int = 30
    """Numbers that the masked network tells each integrand."""
    units: int = 50
    """Features per layer of the integrand."""
    depth: int = 4
    """Hidden layers of the integrand."""
    points: int = 32
    """Points of the quadrature."""
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class SOS(Masked):
    """Autoregressive sums of squares of polynomials, integrated (`models.sos`)."""

    transforms: int = 8
    hidden: int = 200
    degree: int = 4
    """Of each polynomial."""
    polynomials: int = 5
    """Polynomials in each sum."""
    bound: float = field(default=2.5, metadata={BEFORE: 5.0})
    """How far the asinh of each sum is nearly straight."""
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class Bernstein(Masked):
    """Autoregressive Bernstein polynomials (`models.bernstein`)."""

    transforms: int = 3
    hidden: int = 200
    degree: int = 16
    """Of each polynomial."""
    bound: float = field(default=2.0, metadata={BEFORE: 5.0})
    """Where polynomials end and straight lines begin."""
    dropout: float = 0.0
    """Share of the features that training leaves out."""


@dataclass(frozen=True, slots=True)
class BNAF(Line):
    """Autoregressive networks of blocks (`models.bnaf`)."""

    transforms: int = 5
    """Networks, their orders alternating."""
    width: int = 40
    """Features per layer for each number of the event."""
    layers: int = 2
    """Hidden layers of each network."""


@dataclass(frozen=True, slots=True)
class Planar(Line):
    """Bends along one direction at a time (`models.planar`)."""

    transforms: int = 10
    """Bends."""
    bend: Literal["tanh", "leaky_relu"] = "tanh"
    """The function that bends."""


@dataclass(frozen=True, slots=True)
class Radial(Line):
    """Contractions and expansions around points (`models.radial`)."""

    transforms: int = 10
    """Points."""


@dataclass(frozen=True, slots=True)
class Sylvester(Line):
    """Bends along several directions at a time (`models.sylvester`)."""

    transforms: int = 16
    """Transforms."""
    directions: int | None = None
    """Directions of each; None is as many as the event has numbers, up to 16."""


@dataclass(frozen=True, slots=True)
class Gaussianization(Line):
    """Rotations, and mixtures of normals for each number; without classes (`models.gaussianization`)."""

    transforms: int = 8
    """Rotations."""
    components: int = 8
    """Normals in each mixture."""


@dataclass(frozen=True, slots=True)
class ResidualFlow(Line):
    """The identity plus contractions (`models.residual_flow`)."""

    transforms: int = 10
    """Contractions."""
    hidden: int = 128
    """Features per layer of each."""
    layers: int = 3
    """Hidden layers of each."""
    lipschitz: float = 0.9
    """Their Lipschitz constant, below 1."""
    log_det: Literal["exact", "roulette"] = "exact"
    """Log-determinants exactly, or by a random number of terms, for events of more than a few dozen numbers."""


@dataclass(frozen=True, slots=True)
class FFJORD:
    """A velocity trained by the likelihood of its flow (`models.ffjord`)."""

    hidden: int = 64
    """Features per layer of the network."""
    layers: int = 3
    """Hidden layers of the network."""
    probes: int = 0
    """Random signs that estimate the divergence; 0 is exact, a product for each number of the event."""

"""Invertible maps with their log-abs-det: what normalizing flows are made of.

    encode(x, context) -> (z, ladj)      data to noise
    decode(z, context) -> (x, ladj)      noise to data, ladj of that direction

Every transform takes events of any shape and returns one ladj per sample. There are no networks inside (but for
`Integral` and `BlockAutoregressive`, which are one): couplings and autoregressive transforms take a conditioner. Holds
chains, couplings and their masks, monotone maps, autoregression, planar and residual maps, scales, orders, the logit
and reshaping. May import the underscored files only.
"""

from pushforward.transforms.autoregressive import Autoregressive, Causal
from pushforward.transforms.bends import Exp, HeavyTail, Power, SoftClip, Tanh
from pushforward.transforms.block_autoregressive import BlockAutoregressive
from pushforward.transforms.chain import Chain, Inverse, Steps
from pushforward.transforms.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    Conditioner,
    Coupling,
    MonotoneCoupling,
    channels,
    checkerboard,
    halves,
)
from pushforward.transforms.diagonal import DiagonalScale, Shift
from pushforward.transforms.elementwise import Elementwise
from pushforward.transforms.gaussianization import Gaussianize, GaussianMixture
from pushforward.transforms.labelled import Labelled
from pushforward.transforms.logit import Logit
from pushforward.transforms.mixture import LogisticMixture
from pushforward.transforms.monotone import Additive, Affine, Monotone
from pushforward.transforms.neural import Integral, Sigmoidal
from pushforward.transforms.permutation import Permutation, reverse, shuffle, tile
from pushforward.transforms.planar import Planar, Radial, Sylvester
from pushforward.transforms.polynomial import Bernstein, SumOfSquares
from pushforward.transforms.reshape import Reshape, flatten
from pushforward.transforms.residual import ExactDet, LogDet, Residual, Roulette, redrawn
from pushforward.transforms.spline_maps import Cubic, Linear, Quadratic, RationalQuadratic, Spline
from pushforward.transforms.transform import Transform

__all__ = [
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "Autoregressive",
    "Bernstein",
    "BlockAutoregressive",
    "Causal",
    "Chain",
    "Conditioner",
    "Coupling",
    "Cubic",
    "DiagonalScale",
    "Elementwise",
    "ExactDet",
    "Exp",
    "GaussianMixture",
    "Gaussianize",
    "HeavyTail",
    "Integral",
    "Inverse",
    "Labelled",
    "Linear",
    "LogDet",
    "LogisticMixture",
    "Logit",
    "Monotone",
    "MonotoneCoupling",
    "Permutation",
    "Planar",
    "Power",
    "Quadratic",
    "Radial",
    "RationalQuadratic",
    "Reshape",
    "Residual",
    "Roulette",
    "Shift",
    "Sigmoidal",
    "SoftClip",
    "Spline",
    "Steps",
    "SumOfSquares",
    "Sylvester",
    "Tanh",
    "Transform",
    "channels",
    "checkerboard",
    "flatten",
    "halves",
    "redrawn",
    "reverse",
    "shuffle",
    "tile",
]

"""Invertible maps with their log-abs-det: what normalizing flows are made of.

    encode(x, context) -> (z, ladj)      data to noise
    decode(z, context) -> (x, ladj)      noise to data, ladj of that direction

Every transform takes events of any shape and returns one ladj per sample. There are no networks inside:
couplings take a conditioner, any callable. Holds chains, couplings and their masks, scales, orders, the
logit and reshaping. May import the underscored files only.
"""

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
from pushforward.transforms.logit import Logit
from pushforward.transforms.monotone import Additive, Affine, Monotone
from pushforward.transforms.permutation import Permutation, reverse, shuffle, tile
from pushforward.transforms.reshape import Reshape, flatten
from pushforward.transforms.spline_maps import Cubic, Linear, Quadratic, RationalQuadratic, Spline
from pushforward.transforms.transform import Transform

__all__ = [
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "Chain",
    "Conditioner",
    "Coupling",
    "Cubic",
    "DiagonalScale",
    "Elementwise",
    "Inverse",
    "Linear",
    "Logit",
    "Monotone",
    "MonotoneCoupling",
    "Permutation",
    "Quadratic",
    "RationalQuadratic",
    "Reshape",
    "Shift",
    "Spline",
    "Steps",
    "Transform",
    "channels",
    "checkerboard",
    "flatten",
    "halves",
    "reverse",
    "shuffle",
    "tile",
]

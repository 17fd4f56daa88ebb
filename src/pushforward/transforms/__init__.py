"""Invertible maps with their log-abs-det: what normalizing flows are made of.

    encode(x, context) -> (z, ladj)      data to noise
    decode(z, context) -> (x, ladj)      noise to data, ladj of that direction

Every transform takes events of any shape and returns one ladj per sample. There are no networks inside (but for
`Integral` and `BlockAutoregressive`, which are one): couplings and autoregressive transforms take a conditioner, any
callable, and an increasing map of one number (`Monotone`: affine, splines, mixtures, polynomials, tails). Holds these
maps, couplings and their masks, autoregression, planar and residual maps, elementwise maps, matrices, normalisation,
orders, several scales in one event, chains, and surjections, which are no transforms and say what their likelihood is.
May import the underscored files only.
"""

from pushforward.transforms.autoregressive import Autoregressive, Causal
from pushforward.transforms.bends import Asinh, Exp, HeavyTail, Power, SoftClip, Tanh
from pushforward.transforms.bernstein import Bernstein
from pushforward.transforms.block_autoregressive import BlockAutoregressive
from pushforward.transforms.chain import Chain, Inverse, Steps
from pushforward.transforms.composed import Composed
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
from pushforward.transforms.gaussianization import Gaussianize
from pushforward.transforms.labelled import Labelled
from pushforward.transforms.logit import Logit
from pushforward.transforms.matrix import LU, QR, Householder, Matrix, Rotation, Triangular, convolution
from pushforward.transforms.mixture import LogisticMixture
from pushforward.transforms.monotone import Additive, Affine, Monotone
from pushforward.transforms.multiscale import Part, Squeeze
from pushforward.transforms.neural import Integral, Sigmoidal
from pushforward.transforms.normal_mixture import GaussianMixture
from pushforward.transforms.normalisation import ActNorm, BatchNorm
from pushforward.transforms.permutation import Permutation, reverse, shuffle, tile
from pushforward.transforms.planar import Planar, Radial, Sylvester
from pushforward.transforms.polynomial import SumOfSquares
from pushforward.transforms.reshape import Reshape, flatten
from pushforward.transforms.residual import ExactDet, LogDet, Residual, Roulette, redrawn
from pushforward.transforms.spline_maps import Cubic, Linear, Quadratic, RationalQuadratic, Spline
from pushforward.transforms.start import Starts
from pushforward.transforms.surjection import (
    Absolute,
    Slice,
    Sort,
    Surjection,
    UniformDequantization,
    VariationalDequantization,
)
from pushforward.transforms.transform import Transform

__all__ = [
    "Absolute", "ActNorm", "Additive", "AdditiveCoupling", "Affine", "AffineCoupling", "Asinh", "Autoregressive",
    "BatchNorm", "Bernstein", "BlockAutoregressive", "Causal", "Chain", "Composed", "Conditioner", "Coupling",
    "Cubic", "DiagonalScale", "Elementwise", "ExactDet", "Exp", "GaussianMixture", "Gaussianize", "HeavyTail",
    "Householder", "Integral", "Inverse", "LU", "Labelled", "Linear", "LogDet", "LogisticMixture", "Logit", "Matrix",
    "Monotone", "MonotoneCoupling", "Part", "Permutation", "Planar", "Power", "QR", "Quadratic", "Radial",
    "RationalQuadratic", "Reshape", "Residual", "Rotation", "Roulette", "Shift", "Sigmoidal", "Slice", "SoftClip",
    "Sort", "Spline", "Squeeze", "Starts", "Steps", "SumOfSquares", "Surjection", "Sylvester", "Tanh", "Transform",
    "Triangular", "UniformDequantization", "VariationalDequantization", "channels", "checkerboard", "convolution",
    "flatten", "halves", "redrawn", "reverse", "shuffle", "tile",
]  # fmt: skip

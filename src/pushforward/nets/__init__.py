"""Networks: fields f(x, t, context) of x's shape, conditioners, attention that asks its position encoding.

Holds `MLP`, `ConcatSquash` and `Transformer` (field nets), `Dense`, `ResidualDense`, `Convolutions`, `MaskedDense`,
`Selective` and `CausalTransformer` (conditioners for transforms), `Contraction` (for residual flows), `RoFormer` (a
language model with heads for words, classes and sentences), `LanguageModel` (the next token, with any position
encoding), `Attention`, `LinearAttention` with its feature maps, and their parts; `two_times` makes a field net one of a
flow map. May import positions.
"""

from pushforward.nets.attention import Attention, attend
from pushforward.nets.causal import CausalTransformer
from pushforward.nets.concat_squash import ConcatSquash
from pushforward.nets.condition import Condition
from pushforward.nets.conditioners import Convolutions, ResidualDense
from pushforward.nets.contraction import Contraction, spectral_bound
from pushforward.nets.dependencies import ranked
from pushforward.nets.feature_maps import (
    EluFeatures,
    FeatureMap,
    PositiveFeatures,
    ReluFeatures,
    TaylorFeatures,
    WaveFeatures,
    redraw_,
    redrawn,
)
from pushforward.nets.language import LanguageModel
from pushforward.nets.linear_attention import LinearAttention, linear_attention, linear_extend, place_linear
from pushforward.nets.masked import MaskedDense
from pushforward.nets.mlp import MLP, Dense
from pushforward.nets.roformer import Cache, RoFormer, seen_by_part
from pushforward.nets.roformer_config import RoFormerConfig
from pushforward.nets.roformer_heads import likeness, pool
from pushforward.nets.running_sums import Summed
from pushforward.nets.selective import Selective
from pushforward.nets.time import TimeEmbedding, waves
from pushforward.nets.transformer import Transformer
from pushforward.nets.two_times import TwoTimes, two_times
from pushforward.positions import Placed, place

__all__ = [
    "Attention", "Cache", "CausalTransformer", "ConcatSquash", "Condition", "Contraction", "Convolutions", "Dense",
    "EluFeatures", "FeatureMap", "LanguageModel", "LinearAttention", "MLP", "MaskedDense", "Placed",
    "PositiveFeatures", "ReluFeatures", "ResidualDense", "RoFormer", "RoFormerConfig", "Selective", "Summed",
    "TaylorFeatures", "TimeEmbedding", "Transformer", "TwoTimes", "WaveFeatures", "attend", "likeness",
    "linear_attention", "linear_extend", "place", "place_linear", "pool", "ranked", "redraw_", "redrawn",
    "seen_by_part", "spectral_bound", "two_times", "waves",
]  # fmt: skip

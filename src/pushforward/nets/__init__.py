"""Networks: fields f(x, t, context) of x's shape, conditioners, attention that asks its position encoding.

Holds `MLP`, `ConcatSquash` and `Transformer` (field nets), `Dense`, `ResidualDense`, `Convolutions`, `MaskedDense`,
`Selective` and `CausalTransformer` (conditioners for transforms), `Contraction` (for residual flows) and their parts.
May import positions.
"""

from pushforward.nets.attention import Attention, attend
from pushforward.nets.causal import CausalTransformer
from pushforward.nets.concat_squash import ConcatSquash
from pushforward.nets.condition import Condition
from pushforward.nets.conditioners import Convolutions, ResidualDense
from pushforward.nets.contraction import Contraction, spectral_bound
from pushforward.nets.dependencies import ranked
from pushforward.nets.masked import MaskedDense
from pushforward.nets.mlp import MLP, Dense
from pushforward.nets.selective import Selective
from pushforward.nets.time import TimeEmbedding, waves
from pushforward.nets.transformer import Transformer
from pushforward.positions import Placed, place

__all__ = [
    "Attention", "CausalTransformer", "ConcatSquash", "Condition", "Contraction", "Convolutions", "Dense", "MLP",
    "MaskedDense", "Placed", "ResidualDense", "Selective", "TimeEmbedding", "Transformer", "attend", "place",
    "ranked", "spectral_bound", "waves",
]  # fmt: skip

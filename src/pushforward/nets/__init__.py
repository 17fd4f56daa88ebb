"""Networks: fields f(x, t, context) of x's shape, conditioners, attention that asks its position encoding.

Holds `MLP` and `Transformer` (field nets), `Dense`, `ResidualDense` and `Convolutions` (conditioners for transforms)
and their parts. May import positions.
"""

from pushforward.nets.attention import Attention, attend
from pushforward.nets.condition import Condition
from pushforward.nets.conditioners import Convolutions, ResidualDense
from pushforward.nets.mlp import MLP, Dense
from pushforward.nets.time import TimeEmbedding, waves
from pushforward.nets.transformer import Transformer
from pushforward.positions import Placed, place

__all__ = [
    "Attention", "Condition", "Convolutions", "Dense", "MLP", "Placed", "ResidualDense",
    "TimeEmbedding", "Transformer", "attend", "place", "waves",
]  # fmt: skip

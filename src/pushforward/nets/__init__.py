"""Networks: field nets f(x, t, context) of x's shape, conditioners, and attention that asks its position encoding.

May import positions.
"""

from pushforward.nets.attention import Attention
from pushforward.nets.mlp import MLP, Dense
from pushforward.nets.time import TimeEmbedding
from pushforward.nets.transformer import Transformer

__all__ = ["MLP", "Attention", "Dense", "TimeEmbedding", "Transformer"]

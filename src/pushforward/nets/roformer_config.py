"""How large a RoFormer is, and which of its three kinds.

    kind   norm                                   biases   network   word head
    v1     (x - mean) / sd, weight and bias       yes      GELU      dense, activation, norm, E^T, bias
    v2     x / sqrt(mean(x^2) + eps), no weight   no       ReLU      E^T alone
    sim    v1's or v2's, causal (or `seen_by_part`), with a pooler, for sentences

References:
    Su et al. 2021, RoFormer, arXiv 2104.09864.
    Su et al. 2022, RoFormerV2 (a technical report, no arXiv number).
"""

from dataclasses import dataclass
from typing import Literal, get_args

from pushforward._errors import ConfigError, explain
from pushforward.nets.feature_maps import FeatureMap
from pushforward.positions import Phased, Rotary

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
Norm = Literal["layer", "rms"]
Pool = Literal["tanh", "linear"]


@dataclass(frozen=True, slots=True)
class RoFormerConfig:
    """The sizes and options of a `RoFormer`. The defaults are the base model of version 1; `v2` has the other.

    Args:
        vocabulary: how many words there are.
        width: size of a token.
        layers: how many blocks.
        heads: heads per block; width must be divisible by twice as many.
        hidden: size of a block's network.
        embedded: size of an embedded word, before it is projected to `width`; 0 is `width`, without a projection.
        kinds: how many kinds of tokens (segments) there are.
        activation: of the networks and the word head; "gelu_tanh" is the usual approximation of "gelu".
        norm: "layer", or "rms", which has no weights.
        bias: whether linear maps have biases.
        eps: what norms add to the variance.
        turns_values: values are turned as keys are, and not back: outputs know where they stand.
        causal: a token sees itself and the tokens before it.
        cross: blocks also attend to a memory, the output of an encoder.
        words: with a head that predicts words.
        tied: the word head reads the table of embeddings.
        pooler: with a pooler of the first token, and its activation; None is without.
        classes: with a head for as many classes; 0 is without.
        std: the spread of weights at the start; None is that of the kind (0.02, or by depth and width for v2).
        position: the rotation, and how it is extended beyond the trained length.
        attention: a feature map makes attention linear (`linear_attention.py`); None is softmax.

    Raises:
        ConfigError: sizes that do not fit, or a word that is none of the table.

    References:
        Su et al. 2021, arXiv 2104.09864.
    """

    vocabulary: int = 50_000
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    embedded: int = 0
    kinds: int = 2
    activation: Activation = "gelu"
    norm: Norm = "layer"
    bias: bool = True
    eps: float = 1e-12
    turns_values: bool = False
    causal: bool = False
    cross: bool = False
    words: bool = True
    tied: bool = True
    pooler: Pool | None = None
    classes: int = 0
    std: float | None = None
    position: Phased = Rotary()
    attention: FeatureMap | None = None

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.width, self.heads, self.hidden, self.kinds) < 1 or self.layers < 0:
            raise ConfigError(explain("sizes of at least 1", f"{self}", "Change what is smaller."))
        if self.width % (2 * self.heads):
            got = f"width={self.width}, heads={self.heads}"
            raise ConfigError(explain("a width divisible by twice the heads, for pairs to turn", got, "Change one."))
        for word, table in ((self.activation, Activation), (self.norm, Norm), (self.pooler or "tanh", Pool)):
            if word not in get_args(table):
                raise ConfigError(explain(f"one of {', '.join(get_args(table))}", repr(word), "Choose one of them."))
        if self.attention is not None and (self.turns_values or self.cross):
            got = f"turns_values={self.turns_values}, cross={self.cross}"
            raise ConfigError(explain("neither of both with linear attention", got, "Leave them out."))
        if self.words and self.norm == "rms" and self.embedding != self.width:
            got = f"embedded={self.embedded}, width={self.width}"
            raise ConfigError(explain(
                "embedded=0 for the word head of version 2", got, "Leave embedded out, or set words=False.",
            ))  # fmt: skip

    @property
    def embedding(self) -> int:
        """The size of an embedded word."""
        return self.embedded or self.width

    @property
    def spread(self) -> float:
        """The standard deviation of weights at the start; version 2 keeps deep post-norm blocks stable with its own."""
        if self.std is not None:
            return self.std
        return 1.1368 * self.width**-0.5 * max(self.layers, 1) ** -0.5 if self.norm == "rms" else 0.02

    @classmethod
    def v2(
        cls, vocabulary: int = 12_000, width: int = 768, layers: int = 12, heads: int = 12, hidden: int = 3072
    ) -> "RoFormerConfig":
        """Version 2: no biases, root-mean-square norms without weights, ReLU, a word head that is the table alone."""
        return cls(vocabulary, width, layers, heads, hidden, activation="relu", norm="rms", bias=False)

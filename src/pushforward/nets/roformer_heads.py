"""What a RoFormer says about its tokens: words, classes, and one vector per sentence.

    words      E^T norm(act(W h + b)) + c        any tokens: for masked or next words; E is the embedding if tied
    classes    V act(W h_0 + b) + c              of the first token
    pooler     act(W h_0 + b)                    of the first token, tanh or linear
    pool       first, mean or largest h          of the tokens that are no padding
    likeness   <a, b> / |a| |b|                  of two sets of sentences

References:
    Devlin et al. 2019, BERT, arXiv 1810.04805.
    Reimers & Gurevych 2019, Sentence-BERT, arXiv 1908.10084.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pushforward._derivatives import transformed
from pushforward._errors import ConfigError, explain
from pushforward._typing import Tokens
from pushforward.nets.derivatives import normalise
from pushforward.nets.roformer_config import Activation, RoFormerConfig

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class PostNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) weight + bias, or x / sqrt(mean(x^2) + eps) without weights.

    Sums are in float32 at least, whatever the tokens are in.
    """

    def __init__(self, features: int, config: RoFormerConfig) -> None:
        super().__init__()
        self.eps = config.eps
        weighted = config.norm == "layer"
        self.weight = nn.Parameter(torch.ones(features)) if weighted else None
        self.bias = nn.Parameter(torch.zeros(features)) if weighted and config.bias else None

    def forward(self, x: Tokens) -> Tokens:
        if self.weight is None:
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            return (wide * (wide.square().mean(-1, keepdim=True) + self.eps).rsqrt()).to(x.dtype)
        if not transformed():
            return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        scaled = normalise(x, self.eps) * self.weight
        return scaled if self.bias is None else scaled + self.bias


class WordHead(nn.Module):
    """The logits of words, for any tokens: those that are asked about may be chosen before.

    Args:
        config: of the model; "rms" has no dense layer in the head.
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        dense = config.norm == "layer"
        self.dense = nn.Linear(config.width, config.embedding, config.bias) if dense else None
        self.norm = PostNorm(config.embedding, config) if dense else None
        self.table = None if config.tied else nn.Parameter(torch.empty(config.vocabulary, config.embedding))
        self.bias = nn.Parameter(torch.zeros(config.vocabulary)) if config.bias else None
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, h: Tensor, table: Tensor) -> Tensor:
        """Logits [..., vocabulary] of tokens [..., width]; table is the model's, [vocabulary, embedding]."""
        if self.dense is not None and self.norm is not None:
            h = self.norm(self.activation(self.dense(h)))
        return functional.linear(h, table if self.table is None else self.table, self.bias)


class ClassHead(nn.Module):
    """The logits of classes, from the first token."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width, config.bias)
        self.out = nn.Linear(config.width, config.classes, config.bias)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, h: Tokens) -> Tensor:
        """Logits [batch, classes] of tokens [batch, tokens, width]."""
        return self.out(self.activation(self.dense(h[:, 0])))


class Pooler(nn.Module):
    """One vector per sentence, from the first token."""

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width, config.bias)
        self.curved = config.pooler == "tanh"

    def forward(self, h: Tokens) -> Tensor:
        """Vectors [batch, width] of tokens [batch, tokens, width]."""
        vector = self.dense(h[:, 0])
        return vector.tanh() if self.curved else vector


def pool(h: Tokens, real: Tensor | None = None, how: Literal["first", "mean", "largest"] = "mean") -> Tensor:
    """One vector per sentence, [batch, width], without parameters. Padding changes nothing.

    Args:
        h: [batch, tokens, width].
        real: True where a token is no padding, [batch, tokens]; each sentence has at least one. None is all.
        how: the first real token, the mean of all, or the largest number of each feature.

    Raises:
        ConfigError: another way.

    >>> h = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> pool(h, torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    real = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device) if real is None else real.bool()
    if how == "first":
        return h[torch.arange(len(h), device=h.device), real.int().argmax(1)]
    if how == "mean":
        return h.masked_fill(~real[..., None], 0).sum(1) / real.sum(1, keepdim=True)
    if how == "largest":
        return h.masked_fill(~real[..., None], float("-inf")).amax(1)
    raise ConfigError(explain("how='first', 'mean' or 'largest'", repr(how), "Choose one of them."))


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of the angles between sentences, [a's, b's], of vectors [a's, width] and [b's, width]."""
    return functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).mT

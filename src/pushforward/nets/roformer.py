"""RoFormer: a BERT whose tokens know where they stand by turning queries and keys.

    h   = norm(word + kind)                         [projected, where words are embedded in fewer numbers]
    h  <- norm(h + O attention(R Q h, R K h, V h))  R: the rotation; R V h where values are turned too
    h  <- norm(h + O attention(Q h, K m, V m))      decoders with a memory m, which stands nowhere: no rotation
    h  <- norm(h + D act(U h))

Norms come after the sums, and no position is added to a word: nothing here is made for a length, and positions may be
packed, padded on either side, or fractional. `extend` reads a text piece by piece: keys are kept turned, as they stay
right whatever follows.

There is no dropout: all that is random here is a function of its address, which torch's dropout is not.

References:
    Su et al. 2021, RoFormer, arXiv 2104.09864.
    Devlin et al. 2019, BERT, arXiv 1810.04805.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._typing import Tokens
from pushforward.nets.roformer_block import Around, Block, Pair, Past
from pushforward.nets.roformer_config import RoFormerConfig
from pushforward.nets.roformer_heads import ClassHead, Pooler, PostNorm, WordHead
from pushforward.nets.running_sums import Summed
from pushforward.positions import Unordered, place

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """What a decoder has read: keys, turned, and values of each layer, or their sums; of the memory too.

    Args:
        past: one pair per layer, [batch, heads, tokens, features] each; with linear attention one `Summed`.
        memory: the same of the memory's tokens; empty without one.
    """

    past: tuple[Past, ...]
    memory: tuple[Pair, ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens were read."""
        if not self.past:
            return 0
        first = self.past[0]
        return first.tokens if isinstance(first, Summed) else first[0].shape[2]


class RoFormer(nn.Module):
    """A stack of post-norm blocks on word indices, with the heads that its configuration names.

    `forward` gives tokens; `word_logits`, `class_logits` and `pooled` say something about them.

    Args:
        config: sizes, kind and heads.

    References:
        Su et al. 2021, arXiv 2104.09864.

    >>> net = RoFormer(RoFormerConfig(vocabulary=30, width=16, layers=2, heads=2, hidden=32))
    >>> h = net(torch.tensor([[3, 1, 4, 1, 5]]))
    >>> h.shape, net.word_logits(h[:, 2]).shape
    (torch.Size([1, 5, 16]), torch.Size([1, 30]))
    """

    def __init__(self, config: RoFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocabulary, config.embedding)
        self.kind = nn.Embedding(config.kinds, config.embedding)
        self.norm = PostNorm(config.embedding, config)
        self.project = None
        if config.embedding != config.width:
            self.project = nn.Linear(config.embedding, config.width, config.bias)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.words = WordHead(config) if config.words else None
        self.pooler = Pooler(config) if config.pooler else None
        self.classes = ClassHead(config) if config.classes else None
        self._start()

    def forward(
        self, tokens: Tensor, pos: Tensor | None = None, *, kinds: Tensor | None = None, mask: Tensor | None = None,
        memory: Tokens | None = None, memory_mask: Tensor | None = None, causal: bool | None = None,
    ) -> Tokens:  # fmt: skip
        """Tokens in context, [batch, tokens, width].

        Args:
            tokens: word indices, [batch, tokens].
            pos: where they stand, [tokens] or [batch, tokens], whole or fractional; None counts from 0.
            kinds: the kind (segment) of each, [batch, tokens]; None is all 0.
            mask: where True, a query may see a key; broadcastable to [batch, heads, queries, keys], so that padding is
                `real[:, None, None, :]`. A token that may see nothing sees itself. Linear attention takes masks of keys
                alone, and in `extend` of the new ones.
            memory: what a decoder with `cross` attends to, [batch, others, width].
            memory_mask: the same as mask, for the memory.
            causal: overrules the configuration: `seen_by_part` needs False in a causal model.

        Raises:
            ShapeError: tokens are no whole numbers [batch, tokens], or there is a memory in a model without `cross`.
        """
        return self._read(tokens, None, pos, kinds, mask, memory, memory_mask, causal, keep=False)[0]

    def extend(
        self, tokens: Tensor, cache: Cache | None = None, pos: Tensor | None = None, *, kinds: Tensor | None = None,
        mask: Tensor | None = None, memory: Tokens | None = None, memory_mask: Tensor | None = None,
        causal: bool = True,
    ) -> tuple[Tokens, Cache]:  # fmt: skip
        """The next tokens of a text in context of all before, and a new cache: what `forward` says of them.

        Args:
            tokens, kinds, memory_mask: as in `forward`, of the new tokens.
            cache: what was read before; it is not changed, so that several texts may go on from it.
            pos: where the new tokens stand; None counts on from the number of tokens read.
            mask: as in `forward`; keys are those read and the new ones.
            memory: needed with the first tokens alone.
            causal: False for a part that sees itself both ways, such as the source of `seen_by_part`, read at once.

        Raises:
            ConfigError: the model is not causal: what was read would have to be read again.
            ShapeError: as in `forward`.
        """
        if not causal and self.config.attention is not None:
            raise ConfigError(explain("causal=True with linear attention", "False", "Use softmax attention."))
        if not self.config.causal:
            raise ConfigError(explain("a causal model", "one that sees both ways", "Make it with causal=True."))
        return self._read(tokens, cache, pos, kinds, mask, memory, memory_mask, causal, keep=True)

    def word_logits(self, h: Tensor) -> Tensor:
        """Logits of words, [..., vocabulary], of tokens [..., width]: all, or those that were chosen."""
        return _there(self.words, "words=True")(h, self.word.weight)

    def class_logits(self, h: Tokens) -> Tensor:
        """Logits of classes, [batch, classes], of a whole text."""
        return _there(self.classes, "classes=...")(h)

    def pooled(self, h: Tokens) -> Tensor:
        """The pooler's vector of each text, [batch, width]; `pool` needs no parameters."""
        return _there(self.pooler, "pooler='tanh' or 'linear'")(h)

    def _read(
        self, tokens: Tensor, cache: Cache | None, pos: Tensor | None, kinds: Tensor | None, mask: Tensor | None,
        memory: Tokens | None, memory_mask: Tensor | None, causal: bool | None, keep: bool,
    ) -> tuple[Tokens, Cache]:  # fmt: skip
        self._check(tokens, memory is not None or (cache is not None and bool(cache.memory)))
        start = 0 if cache is None else cache.tokens
        if pos is None:
            pos = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        h = self._embedded(tokens, kinds)
        size, map = self.config.width // self.config.heads, self.config.attention
        placed = place(self.config.position, pos, size if map is None else map.size(size), h.dtype)
        assert placed.rotation is not None
        causal = self.config.causal if causal is None else causal
        if mask is not None and map is None:
            mask, causal = _open(mask.bool(), tokens.shape[1], start + tokens.shape[1], causal), False
        if memory_mask is not None:
            memory_mask = memory_mask.bool() | ~memory_mask.bool().any(-1, keepdim=True)
        around = Around(
            placed.rotation, placed if map else replace(placed, position=Unordered(), rotation=None),
            self.config.turns_values, mask, causal and tokens.shape[1] > 1, keep, memory, memory_mask,
        )  # fmt: skip
        past, others = list[Past](), list[Pair]()
        for i, block in enumerate(self.blocks):
            known = (None, None) if cache is None else (cache.past[i], cache.memory[i] if cache.memory else None)
            h, own, other = block(h, around, *known)
            if keep:
                past.append(own)
                others += [] if other is None else [other]
        return h, Cache(tuple(past), tuple(others))

    def _embedded(self, tokens: Tensor, kinds: Tensor | None) -> Tokens:
        kind = self.kind.weight[0] if kinds is None else self.kind(kinds)
        h = self.norm(self.word(tokens) + kind)
        return h if self.project is None else self.project(h)

    def _check(self, tokens: Tensor, remembers: bool) -> None:
        if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
            got = f"{tokens.dtype} of shape {list(tokens.shape)}"
            raise ShapeError(explain("word indices [batch, tokens], int64 or int32", got, "Encode the text first."))
        if remembers and not self.config.cross:
            raise ShapeError(explain("no memory", "one", "Make the model with cross=True, or leave the memory out."))

    def _start(self) -> None:
        spread = self.config.spread
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=spread, a=-2 * spread, b=2 * spread)
            if isinstance(module, nn.Linear) and self.config.bias:
                nn.init.zeros_(module.bias)
        if self.words is not None and self.words.table is not None:
            nn.init.trunc_normal_(self.words.table, std=spread, a=-2 * spread, b=2 * spread)


def seen_by_part(kinds: Tensor) -> Tensor:
    """The mask of UniLM, [batch, 1, tokens, tokens]: the part of kind 0 is seen by all, that of kind 1 by its future.

    Args:
        kinds: 0 for the source, then 1 for the target, [batch, tokens].

    References:
        Dong et al. 2019, arXiv 1905.03197.

    >>> seen_by_part(torch.tensor([[0, 0, 1, 1]])).int()[0, 0]
    tensor([[1, 1, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    order = kinds.cumsum(-1)
    return (order[:, None, :] <= order[:, :, None])[:, None]


def _open(mask: Tensor, queries: int, keys: int, causal: bool) -> Tensor:
    """Mask and causality as one mask, in which every token sees something."""
    ones = torch.ones(queries, keys, dtype=torch.bool, device=mask.device)
    if causal:
        mask = mask & ones.tril(keys - queries)
    blind = ~mask.any(-1, keepdim=True)
    if mask.ndim < 2 or mask.shape[-2] == 1:
        return mask | blind
    return mask | (blind & ones.tril(keys - queries).triu(keys - queries))


def _there(head: M | None, option: str) -> M:
    """A head, or an error that says how to get one."""
    if head is None:
        raise ConfigError(explain("a model with this head", "one without", f"Make it with {option}."))
    return head

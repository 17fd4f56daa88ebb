"""A causal language model: the next token from those before it, with any position encoding.

    h   = embed(word(token), pos)
    h  <- h + attention(norm(h)),   h <- h + network(norm(h))        causal, `layers` times
    logits of the next token = W norm(h)

Norms have no parameters and words and logits have tables of their own, so that models that differ in their encoding
differ in nothing else. The encoding may be replaced in a call, to serve a longer context with stretched frequencies.

References: Radford et al. 2019, GPT-2 (blocks with norms in front, a technical report).
"""

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward.nets.causal import CausalBlock
from pushforward.nets.derivatives import normalise
from pushforward.positions import Embeds, Position, Unordered, place


class LanguageModel(nn.Module):
    """Logits of the next token after each token, [batch, tokens, vocabulary].

    Args:
        vocabulary: how many different tokens there are.
        position: the encoding; one that lets no token see a later one. None is `Unordered`.
        width: size of a token.
        layers: how many blocks.
        heads: heads per block; width must be divisible by it.
        expansion: hidden size of a block's network as a multiple of width.

    Raises:
        ConfigError: an encoding that reads later tokens, or a width not divisible by heads.

    >>> net = LanguageModel(vocabulary=5, width=16, layers=1, heads=2)
    >>> net(torch.tensor([[3, 1, 4]])).shape
    torch.Size([1, 3, 5])
    """

    def __init__(
        self, vocabulary: int, position: Position | None = None, width: int = 128, layers: int = 4, heads: int = 4,
        expansion: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.position = Unordered() if position is None else position
        _check_past(self.position)
        self.width, self.heads = width, heads
        self.word = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(CausalBlock(width, heads, expansion) for _ in range(layers))
        self.leave = nn.Linear(width, vocabulary)
        for module in (self.word, self.leave, *self.blocks.modules()):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, pos: Tensor | None = None, position: Position | None = None) -> Tensor:
        """Logits, [batch, tokens, vocabulary].

        Args:
            tokens: whole numbers, [batch, tokens].
            pos: where they stand, [tokens] or [batch, tokens]; None counts from 0.
            position: an encoding to use in place of the model's own.

        Raises:
            ShapeError: tokens are no whole numbers [batch, tokens].
        """
        if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
            got = f"{tokens.dtype} of shape {list(tokens.shape)}"
            raise ShapeError(explain("tokens [batch, tokens], int64 or int32", got, "Encode the text first."))
        position = self.position if position is None else position
        pos = torch.arange(tokens.shape[1], device=tokens.device) if pos is None else pos
        h = self.word(tokens)
        if isinstance(position, Embeds):
            h = position.embed(h, pos)
        placed = place(position, pos, self.width // self.heads, h.dtype)
        for block in self.blocks:
            h = block(h, placed)
        return self.leave(normalise(h))


def _check_past(position: Position) -> None:
    if position.properties.reads == "around":
        name = type(position).__name__
        raise ConfigError(explain("an encoding that reads no later tokens", name, "Make it causal, or use Rotary()."))

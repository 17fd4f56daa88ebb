"""Fill in the blanks: which words of a text are hidden, and the loss of guessing them.

    a word is asked about with probability share, with all its tokens or with none
    an asked token  ->  the mask with probability hidden, any token with probability replaced, itself otherwise
    loss            =   mean over the asked tokens of a text of -log p(token)

Words are numbered within each text, so that a piece of a word is not guessed from its other pieces. Which ones are
asked is a function of the draw's address.

References:
    Devlin et al. 2019, BERT, arXiv 1810.04805.
    Cui et al. 2019, whole word masking, arXiv 1906.08101.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pushforward._errors import ConfigError, ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import PerSample


def hide_words(
    tokens: Tensor, draw: Draw, *, vocabulary: int, mask: int, words: Tensor | None = None, share: float = 0.15,
    hidden: float = 0.8, replaced: float = 0.1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Texts with words hidden, and where: True for each token that is asked about; both [batch, tokens].

    Every text that has a word is asked about at least one.

    Args:
        tokens: [batch, tokens].
        draw: the address; no generator is touched.
        vocabulary: how many different tokens there are.
        mask: the token that hides another.
        words: the number of the word that a token belongs to, from 0 in each text; -1 is never asked (padding, marks).
            Where `starts` says that a word begins, it is `starts.cumsum(1) - 1`. None: each token is a word.
        share: probability that a word is asked about.
        hidden: of an asked token to be hidden.
        replaced: of an asked token to be any other, or by chance itself.

    Raises:
        ConfigError: probabilities outside [0, 1], or a mask that is no token.
        ShapeError: words of another shape, or numbered beyond the tokens.

    >>> tokens, words = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[-1, 0, 0, -1]])
    >>> hide_words(tokens, Draw(0), vocabulary=10, mask=3, words=words, hidden=1.0, replaced=0.0)
    (tensor([[5, 3, 3, 8]]), tensor([[False,  True,  True, False]]))
    """
    if min(share, hidden, replaced) < 0 or max(share, hidden + replaced) > 1 or not 0 <= mask < vocabulary:
        got = f"share={share}, hidden={hidden}, replaced={replaced}, mask={mask} of {vocabulary}"
        wanted = "probabilities with hidden + replaced <= 1, and a mask in the vocabulary"
        raise ConfigError(explain(wanted, got, "Change what is outside."))
    n, length = tokens.shape
    if words is None:
        words = torch.arange(length, device=tokens.device).expand(n, length)
    if words.shape != tokens.shape or (words.numel() and int(words.max()) >= length):
        got = f"{list(words.shape)} for {list(tokens.shape)}, up to {int(words.max())}"
        raise ShapeError(explain("a number below the length for each token", got, "Number words from 0 in each text."))
    luck = draw.of("words").uniform(n, (length,)).to(tokens.device)
    luck = luck.gather(1, words.clamp(min=0)).masked_fill(words < 0, 2.0)
    asked = (words >= 0) & ((luck < share) | (luck == luck.amin(1, keepdim=True)))
    fate, other = (draw.of(each).uniform(n, (length,)).to(tokens.device) for each in ("fate", "other"))
    others = (other * vocabulary).to(tokens.dtype).clamp(max=vocabulary - 1)
    new = torch.where(fate < hidden, mask, torch.where(fate < hidden + replaced, others, tokens))
    return torch.where(asked, new, tokens), asked


def hidden_loss(logits: Tensor, tokens: Tensor, asked: Tensor) -> PerSample:
    """The mean of -log p over the asked tokens of each text, [batch]; 0 for a text without any.

    Args:
        logits: of the asked tokens alone, row by row, [asked, vocabulary]: `model.word_logits(h[asked])`.
        tokens: before they were hidden, [batch, tokens].
        asked: True where a token is asked about.

    Raises:
        ShapeError: logits of another number of tokens.
    """
    if logits.ndim != 2 or len(logits) != int(asked.sum()):
        got = f"{list(logits.shape)} for {int(asked.sum())} asked tokens"
        raise ShapeError(explain("logits of the asked tokens, [asked, vocabulary]", got, "Pass word_logits(h[asked])."))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(wide, tokens[asked].long(), reduction="none")
    return losses.new_zeros(len(tokens)).index_add(0, asked.nonzero()[:, 0], losses) / asked.sum(1).clamp(min=1)

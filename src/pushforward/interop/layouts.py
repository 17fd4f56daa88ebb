"""Which layout a RoFormer's weights have, found out by reading a text under both.

Names and shapes of weights do not show it, and a wrong one is no error but a worse model. So blanks are filled in (or,
by a decoder, next words guessed) in a text that the model should know, with pairs (2c, 2c + 1) and with (c, c + D/2),
and the lower loss tells (`positions.detect_layout`).
"""

from dataclasses import replace
from typing import get_args

import torch

from pushforward._errors import DataError, explain
from pushforward._random import Draw
from pushforward.data.word_pieces import WordPieces
from pushforward.nets import RoFormer
from pushforward.objectives.masked_words import hidden_loss, hide_words
from pushforward.objectives.next_token import NOTHING, next_token_loss
from pushforward.positions import Layout, Rotary

ROWS, LENGTH = 64, 256
"""How many lines of a text are read, and how many characters of each at a time."""


def losses_by_layout(model: RoFormer, pieces: WordPieces, text: str) -> dict[Layout, float]:
    """The loss of a model on a text in each layout, in nats per word.

    Args:
        model: a RoFormer with a head for words, as it was loaded.
        pieces: its vocabulary.
        text: something it should know; its first lines are read, each by itself.

    Raises:
        DataError: the text is empty.
    """
    lines = [line.strip() for line in text.splitlines()]
    parts = [line[i : i + LENGTH] for line in lines for i in range(0, len(line), LENGTH)][:ROWS]
    if not parts:
        raise DataError(explain("a text to read", "an empty one", "Give some sentences the model should know."))
    rows = pieces.encode(parts)
    vocabulary, mask = len(pieces.vocabulary), pieces.places["[MASK]"]
    hidden, asked = hide_words(rows.tokens, Draw(0), vocabulary=vocabulary, mask=mask, words=rows.words, hidden=1.0,
                               replaced=0.0)  # fmt: skip
    found: dict[Layout, float] = {}
    for layout in get_args(Layout):
        turned = RoFormer(replace(model.config, position=Rotary(layout=layout))).eval()
        turned.load_state_dict(model.state_dict())
        with torch.no_grad():
            if model.config.causal:
                targets = rows.tokens[:, 1:].masked_fill(~rows.real[:, 1:], NOTHING)
                loss = next_token_loss(turned.word_logits(turned(rows.tokens[:, :-1])), targets)
            else:
                h = turned(hidden, mask=rows.real[:, None, None, :])
                loss = hidden_loss(turned.word_logits(h[asked]), rows.tokens, asked)
        found[layout] = float(loss.mean())
    return found

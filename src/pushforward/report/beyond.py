"""Language models judged at the length they were trained on and beyond it.

    bits per character   sum of -log2 p over all targets / characters among them
    exact                share of rows of which every asked token is the most probable one

A text is cut into windows that do not overlap. At every length the same characters are guessed, each once: what a
longer window changes is how many characters stand before them. (At a window's beginning few do, so that a model that
uses any context gains from longer windows.) A puzzle is right if every token of the answer is the most probable one
given the right ones before it, which is so exactly if writing the answer token by token would have got it right.

An encoding that has only so many positions gets the last of them for all beyond (`reach`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward._errors import DataError, explain
from pushforward.data.batch import Batch
from pushforward.data.texts import Text
from pushforward.nets.language import LanguageModel
from pushforward.objectives.next_token import next_token_loss
from pushforward.positions import Position

TOKENS = 16_384
"""How many tokens are judged at once."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a language model knows of some rows.

    Args:
        bits: the sum of -log2 p over all targets.
        targets: how many there are.
        exact: the share of rows without a mistake.
    """

    bits: float
    targets: int
    exact: float


@torch.no_grad()
def judged(
    net: LanguageModel, batches: Iterable[Batch], position: Position | None = None, reach: int | None = None
) -> Judged:
    """Judge a model on rows of tokens and, as context, what comes after each.

    Args:
        net: the model.
        batches: the rows.
        position: an encoding in place of the model's own.
        reach: positions from here on are told as the last one before.
    """
    device = next(net.parameters()).device
    bits, targets, right, rows = 0.0, 0, 0, 0
    for batch in batches:
        x, asked = batch.x.to(device), _asked(batch).to(device)
        pos = torch.arange(x.shape[1], device=device)
        logits = net(x, pos if reach is None else pos.clamp(max=reach - 1), position)
        counts = (asked >= 0).sum(1)
        bits += float((next_token_loss(logits, asked).double() * counts).sum()) / torch.log(torch.tensor(2.0)).item()
        targets += int(counts.sum())
        right += int(((logits.argmax(-1) == asked) | (asked < 0)).all(1).sum())
        rows += len(x)
    return Judged(bits, targets, right / max(rows, 1))


def windows(text: Text, length: int, longest: int, most: int) -> Iterator[Batch]:
    """The held-out text in windows that do not overlap; the same targets whatever the length.

    Args:
        text: the text.
        length: tokens of a window; it divides `longest`.
        longest: the longest window that will be asked for.
        most: at most so many targets, or one window of the longest.

    Raises:
        DataError: the held-out text is shorter than one window.
    """
    whole = min(len(text.held_out) - 1, max(most, longest)) // longest * longest
    if whole < 1:
        got = f"{len(text.held_out):,} held-out tokens of {text.name}"
        raise DataError(explain(f"a held-out text longer than a window of {longest:,}", got, _SHORTER))
    tokens = text.held_out[: whole + 1].long()
    x, targets = tokens[:-1].view(-1, length), tokens[1:].view(-1, length)
    rows = max(1, TOKENS // length)
    return (Batch(a, b) for a, b in zip(x.split(rows), targets.split(rows)))


def characters(text: Text, longest: int, most: int) -> int:
    """How many characters the targets of `windows` are: in UTF-8, bytes that do not continue one."""
    targets = torch.cat([_asked(batch).flatten() for batch in windows(text, longest, longest, most)])
    return targets.numel() if text.vocabulary is not None else int((targets & 0xC0 != 0x80).sum())


def _asked(batch: Batch) -> Tensor:
    assert batch.context is not None
    return batch.context


_SHORTER = "Take a longer text, or shorter lengths to test."

"""Texts as the pieces of a `vocab.txt`: characters of Chinese, words and pieces of words of the rest (BERT).

    clean     control characters go, blanks become spaces; lower case, accents taken off
    split     at blanks; every Chinese character and every punctuation mark stands alone
    pieces    of a word, greedily the longest in the vocabulary: play, ##ing; [UNK] if there is none
    marks     [CLS] text [SEP]  or  [CLS] text [SEP] other [SEP], the other of kind 1

Each token knows which characters of the text it came from, and which word it is a piece of. Models of whole Chinese
words (RoFormer's) need somebody who finds words: `cut`, which is `jieba_words()` for them. A word of the
vocabulary stays whole then, and others are split as above, punctuation excepted.

What is a control, an accent or punctuation is as of Python's Unicode; the tokenizers of others have older tables, which
shows in characters added since.

References:
    Devlin et al. 2019, BERT, arXiv 1810.04805.
    Wu et al. 2016, WordPiece, arXiv 1609.08144.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pushforward._errors import DataError, explain
from pushforward.data.faults import check_file, faulty, reading

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST = 100
"""Longer words are [UNK], as in BERT."""

IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip
"""What counts as a Chinese character in BERT."""

Char = tuple[str, int]
"""A character, and where in the text it came from."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Texts as tokens, padded on the right; all are [batch, tokens].

    Args:
        tokens: places in the vocabulary.
        kinds: 1 for the second text of a pair, otherwise 0.
        words: which word of its text a token is a piece of, from 0; -1 for marks and padding.
        real: True where there is no padding.
        spans: for each text and token, [first, last) of the characters it came from; (0, 0) for marks.
    """

    tokens: Tensor
    kinds: Tensor
    words: Tensor
    real: Tensor
    spans: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True, repr=False)
class WordPieces:
    """A vocabulary, and how texts become its tokens.

    Args:
        vocabulary: what each token stands for; has the five marks.
        lower: lower case, without accents.
        cut: finds words, for models of whole words; None for models of characters.

    Raises:
        DataError: a mark is missing.

    >>> pieces = WordPieces((*MARKS, "play", "##ing", "天"))
    >>> encoded = pieces.encode(["Playing 天"])
    >>> pieces.decode(encoded.tokens[0]), encoded.words[0]
    ('[CLS] play ##ing 天 [SEP]', tensor([-1,  0,  0,  1, -1]))
    """

    vocabulary: tuple[str, ...]
    lower: bool = True
    cut: Callable[[str], Iterable[str]] | None = None
    places: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {piece: i for i, piece in enumerate(self.vocabulary)})
        missing = [mark for mark in MARKS if mark not in self.places]
        if missing:
            raise DataError(explain(f"a vocabulary with {', '.join(MARKS)}", f"none of {missing[0]}", "Add a line."))

    def encode(self, texts: Sequence[str], others: Sequence[str] | None = None) -> Encoded:
        """Texts, or pairs of texts, as tokens with their marks. "[MASK]" and the other marks may stand in a text."""
        rows = [self._row(text, others[i] if others is not None else None) for i, text in enumerate(texts)]
        longest = max(map(len, rows), default=0)
        pad = (self.places["[PAD]"], 0, -1, (0, 0))
        table = [row + [pad] * (longest - len(row)) for row in rows]
        tokens, kinds, words = (torch.tensor([[each[i] for each in row] for row in table]) for i in range(3))
        real = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        return Encoded(tokens, kinds, words, real, tuple(tuple(each[3] for each in row) for row in rows))

    def decode(self, tokens: Tensor) -> str:
        """The pieces that tokens [length] stand for, with spaces between."""
        return " ".join(self.vocabulary[i] for i in tokens.tolist())

    def __repr__(self) -> str:
        return f"<WordPieces {len(self.vocabulary):,} tokens>"

    def _row(self, text: str, other: str | None) -> list[tuple[int, int, int, tuple[int, int]]]:
        row = [(self.places["[CLS]"], 0, -1, (0, 0))]
        word = -1
        for kind, part in enumerate([text] if other is None else [text, other]):
            for number, token, span in self._tokens(part):
                row.append((token, kind, -1 if number < 0 else word + 1 + number, span))
            word = max(each[2] for each in row)
            row.append((self.places["[SEP]"], kind, -1, (0, 0)))
        return row

    def _tokens(self, text: str) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """(number of its word, token, span) of each piece of a text without marks around it."""
        number, start = 0, 0
        for part in re.split(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])", text):
            if part in MARKS:
                yield -1, self.places[part], (start, start + len(part))
            else:
                for word in self._words(_clean(part, start, self.lower)):
                    for token, span in word:
                        yield number, token, span
                    number += 1
            start += len(part)

    def _words(self, chars: list[Char]) -> Iterator[list[tuple[int, tuple[int, int]]]]:
        """The pieces of each word."""
        if self.cut is None:
            yield from (self._pieces(word) for word in _split(chars, marks=True))
            return
        at = 0
        for found in self.cut("".join(char for char, _ in chars)):
            word, at = chars[at : at + len(found)], at + len(found)
            if "".join(char for char, _ in word) != found:
                raise DataError(explain("a cut that keeps every character", repr(found), "Use one that only splits."))
            if found in self.places:
                yield [(self.places[found], _span(word))]
            elif found.strip():
                yield [piece for part in _split(word, marks=False) for piece in self._pieces(part)]

    def _pieces(self, word: list[Char]) -> list[tuple[int, tuple[int, int]]]:
        """Greedily the longest pieces, or [UNK] for the whole."""
        pieces, start, text = list[tuple[int, tuple[int, int]]](), 0, "".join(char for char, _ in word)
        while start < len(text):
            ends = range(len(text), start, -1)
            prefix = "##" if start else ""
            end = next((end for end in ends if prefix + text[start:end] in self.places), None)
            if end is None or len(text) > LONGEST:
                return [(self.places["[UNK]"], _span(word))]
            pieces.append((self.places[prefix + text[start:end]], _span(word[start:end])))
            start = end
        return pieces


def word_pieces(
    path: "str | Path", lower: bool = True, cut: Callable[[str], Iterable[str]] | None = None
) -> WordPieces:
    """The vocabulary of a `vocab.txt`, one token a line.

    Args:
        path: the file.
        lower: for models that do not know capitals.
        cut: see `WordPieces`.

    Raises:
        DataError: a file that is missing, not UTF-8, or without the five marks.
    """
    path = Path(path)
    check_file(path)
    with reading(path, "a vocabulary"):
        raw = path.read_bytes()
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise faulty("a UTF-8 vocabulary", f"'{path}', which is none", "Convert it to UTF-8.") from error
    return WordPieces(tuple(line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])), lower, cut)


def _clean(text: str, start: int, lower: bool) -> list[Char]:
    """Characters as the vocabulary knows them, each with its place."""
    kept = list[Char]()
    for i, char in enumerate(text, start):
        category = unicodedata.category(char)
        if char in "\t\n\r" or category[0] == "Z":
            kept.append((" ", i))
        elif category not in ("Cc", "Cf", "Co", "Cs") and char != "\ufffd":
            if lower:
                char = "".join(c for c in unicodedata.normalize("NFD", char) if unicodedata.category(c) != "Mn")
            kept += [(c, i) for each in char for c in (each.lower() if lower else each)]
    return kept


def _split(chars: list[Char], marks: bool) -> Iterator[list[Char]]:
    """Words: at blanks, with Chinese characters and (marks) punctuation alone."""
    word = list[Char]()
    for char, i in chars:
        alone = _ideograph(char) or (marks and _punctuation(char))
        if word and (alone or char == " "):
            yield word
            word = []
        if alone:
            yield [(char, i)]
        elif char != " ":
            word.append((char, i))
    if word:
        yield word


def _ideograph(char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in IDEOGRAPHS)


def _punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P" or char in "$+<=>^`|~"


def _span(chars: list[Char]) -> tuple[int, int]:
    return chars[0][1], chars[-1][1] + 1

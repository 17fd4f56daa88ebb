"""Puzzles with known answers, of any size: what a language model can do with positions, and how far beyond training.

    copy      a b c = a b c .              reverse   a b c = c b a .              sort   c a b = a b c .
    add       2 7 + 9 5 = 2 2 1 .          least digit first, n digits each and n + 1 of the sum
    recall    k1 a k2 b k3 c ? k2 = b .    what stood after a key, n keys, all different
    needle    x x # 7 x x x = 7 .          the digit after the mark, in n tokens of noise

A puzzle of size n is a row of tokens, and only what follows = is asked. So training at sizes 1 to n and asking 2 n is
a question about positions alone: the rule stays the same.

References: Kazemnejad et al. 2023, arXiv 2305.19466 (length generalisation); Zhou et al. 2024, arXiv 2402.09371
(addition, least digit first); Arora et al. 2023, Zoology, arXiv 2312.04927 (recall).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from pushforward._config import suggest
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward.data.batch import Batch

LETTERS: Final = 16
"""How many symbols rows are made of; digits are the first ten of them."""

KEYS: Final = 128
"""How many keys there are to recall by."""

END, EQUALS, PLUS, ASK, MARK, FIRST = LETTERS, LETTERS + 1, LETTERS + 2, LETTERS + 3, LETTERS + 4, LETTERS + 5
VOCABULARY: Final = FIRST + KEYS

Maker = Callable[[int, int, Draw], tuple[Tensor, Tensor]]
"""From (rows, size, draw) to questions [rows, any] and answers [rows, any]."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One kind of puzzle.

    Args:
        name: copy, reverse, sort, add, recall or needle.

    Raises:
        ConfigError: no puzzle has that name.

    >>> puzzle = Puzzle("reverse")
    >>> row = puzzle.rows(1, 3, Draw(0))
    >>> row.x.shape, int((row.context >= 0).sum())
    (torch.Size([1, 7]), 4)
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in PUZZLES:
            raise ConfigError(explain("a puzzle", repr(self.name), suggest(self.name, PUZZLES)))

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        return VOCABULARY

    def rows(self, n: int, size: int, draw: Draw) -> Batch:
        """Puzzles of one size: tokens [n, length], and as context what comes after each, -1 where nothing is asked.

        Raises:
            ConfigError: a size below 1, or more keys than there are.
        """
        most = KEYS if self.name == "recall" else None
        if size < 1 or (most is not None and size > most):
            expected = f"a size of {self.name} of 1 {'or more' if most is None else f'to {most}'}"
            raise ConfigError(explain(expected, str(size), "Change the length, or the lengths to test."))
        question, answer = PUZZLES[self.name](n, size, draw.of(f"{self.name}/{size}"))
        equals, end = (torch.full((n, 1), mark) for mark in (EQUALS, END))
        row = torch.cat([question, equals, answer, end], 1)
        x, targets = row[:, :-1], row[:, 1:].clone()
        targets[:, : question.shape[1]] = -1
        return Batch(x, targets)

    def batches(self, size: int, longest: int, draw: Draw, start: int = 0) -> Iterator[Batch]:
        """Batches without end from step `start`; all puzzles of a batch have one size, from 1 to `longest`."""
        step = start
        while True:
            here = draw.at(step)
            yield self.rows(size, int(here.of("size").integers(1, longest)) + 1, here)
            step += 1


def _letters(n: int, size: int, draw: Draw, kinds: int = LETTERS) -> Tensor:
    return draw.integers(n * size, kinds).view(n, size)


def _copy(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    row = _letters(n, size, draw)
    return row, row


def _reverse(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    row = _letters(n, size, draw)
    return row, row.flip(1)


def _sort(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    row = _letters(n, size, draw)
    return row, row.sort(1).values


def _add(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    a, b = (_letters(n, size, draw.of(each), 10) for each in ("a", "b"))
    digits, carry = list[Tensor](), torch.zeros(n, dtype=torch.int64)
    for x, y in zip(a.unbind(1), b.unbind(1)):
        digits.append((x + y + carry) % 10)
        carry = (x + y + carry) // 10
    return torch.cat([a, torch.full((n, 1), PLUS), b], 1), torch.stack([*digits, carry], 1)


def _recall(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    keys = draw.of("keys").uniform(n, (KEYS,)).argsort(1)[:, :size]
    values, asked = _letters(n, size, draw.of("values")), draw.of("asked").integers(n, size)[:, None]
    pairs = torch.stack([keys + FIRST, values], 2).flatten(1)
    return torch.cat([pairs, torch.full((n, 1), ASK), keys.gather(1, asked) + FIRST], 1), values.gather(1, asked)


def _needle(n: int, size: int, draw: Draw) -> tuple[Tensor, Tensor]:
    row, digit = _letters(n, size + 2, draw.of("noise")), _letters(n, 1, draw.of("digit"), 10)
    place = draw.of("place").integers(n, size + 1)[:, None]
    return row.scatter(1, place, MARK).scatter(1, place + 1, digit), digit


PUZZLES: Final[Mapping[str, Maker]] = MappingProxyType(
    {"copy": _copy, "reverse": _reverse, "sort": _sort, "add": _add, "recall": _recall, "needle": _needle}
)
"""Each puzzle's name, and how it is made."""

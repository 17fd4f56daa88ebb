"""Where Chinese words end: what `WordPieces` needs to be told for models of whole words, such as RoFormer's.

    jieba      the way of highest probability through all words of its dictionary, without its hidden Markov model
    longest    greedily the longest word of a vocabulary, else one character

Models of whole words were trained on what jieba says, so that is what they must be given; it is not a dependency of
this library, and either of its two implementations will do (they cut alike). `longest_words` needs nothing, and cuts
some sentences in other places: 研究生命 becomes 研究生 | 命 where 研究 | 生命 is meant. It is for vocabularies
of one's own.

References:
    Su 2020, WoBERT (words of jieba that are in the vocabulary), kexue.fm/archives/7758.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from pushforward._errors import ConfigError, explain

Cut = Callable[[str], list[str]]
"""From a text to its words, one after the other, no character lost."""


def jieba_words() -> Cut:
    """The words that jieba finds, as RoFormer's models were trained with: `word_pieces(path, cut=jieba_words())`.

    Raises:
        ConfigError: neither rjieba nor jieba is installed.
    """
    if (rust := _installed("rjieba")) is not None:
        return lambda text: rust.cut(text, False)
    if (python := _installed("jieba")) is not None:
        return lambda text: python.lcut(text, HMM=False)
    fix = "pip install rjieba (or jieba); for a vocabulary of your own, longest_words(vocabulary) needs neither."
    raise ConfigError(explain("rjieba or jieba, which find Chinese words", "neither", fix))


def _installed(name: str) -> Any:
    """A module, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def longest_words(vocabulary: Iterable[str]) -> Cut:
    """The longest words of a vocabulary, from the left; other characters are words of their own. Not what jieba says.

    Args:
        vocabulary: words; pieces ("##...") and marks are left out of it.

    >>> longest_words(["研究", "研究生", "生命"])("研究生命!")
    ['研究生', '命', '!']
    """
    words = frozenset(word for word in vocabulary if not word.startswith("##") and not word.startswith("["))
    longest = max(map(len, words), default=1)

    def cut(text: str) -> list[str]:
        found, start = list[str](), 0
        while start < len(text):
            ends = range(min(len(text), start + longest), start + 1, -1)
            end = next((end for end in ends if text[start:end] in words), start + 1)
            found.append(text[start:end])
            start = end
        return found

    return cut

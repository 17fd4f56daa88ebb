"""Flags that a command gives more than once, of which tyro would keep the last alone.

    --given a=1 --given b=2   =   --given a=1 b=2       where a flag takes as many values as there are
    --steps 3 --steps 4                                 refused: one of them would be lost

The verb's own options say what is a flag, so a value that begins with a dash is none.
"""

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from pushforward._errors import ConfigError, explain
from pushforward.cli.options import FLAT


def gathered(words: Sequence[str], options: type) -> list[str]:
    """The words of a command with each flag of `options` once, the values of those that take several added up.

    They stand where the last of them did, so that words for the verb itself may end the command.

    Raises:
        ConfigError: a flag that takes one value is given twice.

    >>> from pushforward.cli.sample import Sample
    >>> gathered(["sample", "--given", "a=1", "-n", "3", "--given=b=2", "runs/a"], Sample)
    ['sample', '-n', '3', '--given', 'a=1', 'b=2', 'runs/a']
    """
    flags, end = dict(_flags(options)), list(words).index("--") if "--" in words else len(words)
    begins = [0, *(place for place in range(1, end) if _flag(words[place]) in flags), end]
    parts = [list(words[here:there]) for here, there in pairwise(begins)]
    last = dict[str, int]()
    for place, part in enumerate(parts[1:], 1):
        name, several = flags[_flag(part[0])]
        before, last[name] = last.get(name), place
        if before is not None and not several:
            got = f"{parts[before][0]} and {part[0]}"
            raise ConfigError(explain(f"{name} once", got, "Keep the one you mean."))
        if before is not None:
            parts[before], parts[place] = [], [*parts[before], *_values(part)]
    return [word for part in parts for word in part] + list(words[end:])


def _flags(options: type, prefix: str = "") -> Iterator[tuple[str, tuple[str, bool]]]:
    """Each flag of a verb, with its first name and whether it takes as many values as there are."""
    for name, hint in typing.get_type_hints(options, include_extras=True).items():
        kind, *marks = (hint.__origin__, *hint.__metadata__) if typing.get_origin(hint) is Annotated else (hint,)
        if dataclasses.is_dataclass(kind):
            yield from _flags(typing.cast(type, kind), prefix if FLAT in marks else f"{prefix}{name}.")
            continue
        flag, several = f"--{prefix}{name}".replace("_", "-"), typing.get_args(kind)[1:] == (...,)
        aliases = [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
        yield from ((each, (flag, several)) for each in (flag, *aliases))


def _flag(word: str) -> str:
    """What a word is if it is a flag: --test_lengths=3 is --test-lengths, and -n3 is -n."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else word[:2]


def _values(part: Sequence[str]) -> Iterator[str]:
    """The values of a flag, also of --flag=value."""
    _, equals, value = part[0].partition("=")
    yield from [value] if equals else []
    yield from part[1:]


__all__ = ["gathered"]

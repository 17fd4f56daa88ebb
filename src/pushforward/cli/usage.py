"""tyro's boxed complaints about the command line, as one sentence.

A complaint is a box whose sections are parted by rules. The first says what is wrong, the following what might have
been meant, the last where to read on; that is their order in the sentence too. Where the terminal knows ASCII
alone, the frame is missing and the title stands in a section of its own.
"""

import re

_FRAME = re.compile(r"^[│|╭╰╮╯ ]+|[│|╭╰╮╯ ]+$")
_RULE = re.compile(r"^(─{5,}|-{5,})$")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_OURS = re.compile(r"^error parsing [^-]\S*: (?=Expected )")
_OPTION = re.compile(r"--[\w.-]+")


def sentence(box: str, command: str) -> str:
    """The complaint in `box`, with the suggestions it makes, on one line.

    >>> box = '''╭─ Unrecognized options ───────╮
    ... │ Unrecognized options: --stpes  │
    ... │ ────────────────────────────── │
    ... │ Perhaps you meant:             │
    ... │     --steps INT                │
    ... ╰────────────────────────────────╯'''
    >>> sentence(box, "pushforward train")
    'unrecognized options: --stpes. Did you mean --steps? See pushforward train --help.'

    A sentence of ours within, about a value of a group of options, stands alone: tyro's words for the group are no
    flag that one could look up.
    """
    sections = [_readable(section) for section in _sections(box)]
    problem = sections[0][:1].lower() + sections[0][1:] if sections else "these options cannot be read"
    problem = _OURS.sub("", problem)
    meant = [match.group() for each in sections[1:] if _suggests(each) and (match := _meant(each))]
    parts = [problem.rstrip("."), *([f"Did you mean {' and '.join(sorted(set(meant)))}?"] if meant else [])]
    return f"{'. '.join(parts)}{'' if meant else '.'} See {command} --help."


def _sections(box: str) -> list[list[str]]:
    sections: list[list[str]] = [[]]
    for line in _COLOUR.sub("", box).splitlines():
        if line.lstrip().startswith(("╭", "╰")):
            continue
        text = _FRAME.sub("", line)
        if _RULE.match(text):
            sections.append([])
        elif text:
            sections[-1].append(text)
    sections = [section for section in sections if section]
    return sections if "╭" in box else sections[1:]


def _readable(section: list[str]) -> str:
    return re.sub(r"\s+", " ", " ".join(section)).replace(". (required)", "").replace(" (required)", "")


def _suggests(text: str) -> bool:
    return text.startswith(("Perhaps you meant", "Arguments similar to"))


def _meant(text: str) -> re.Match[str] | None:
    return _OPTION.search(text.partition(":")[2])

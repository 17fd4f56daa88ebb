"""From the words of a command to a verb's options, and from an error to one sentence and an exit status.

    flags  >  --config FILE  >  defaults

The file's values become the defaults that tyro shows and that flags override. `--config` may name the file of any
verb's options or the `config.toml` of a run.
"""

import contextlib
import importlib
import inspect
import io
import os
import pdb
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Union, cast

import tyro

from pushforward import __version__, _config
from pushforward._errors import ConfigError, PushforwardError, explain, out_of_memory
from pushforward._recipe import KINDS
from pushforward.cli.options import Session
from pushforward.cli.repeats import gathered
from pushforward.cli.usage import sentence

VERBS: Final = {
    "train": "Learn from data; writes a run folder.",
    "sample": "Draw new samples from a run.",
    "evaluate": "Measure how well a run models data it has not seen.",
    "compare": "Put runs side by side: one table, one picture.",
    "reflow": "Straighten a run's trajectories, so that it needs fewer steps.",
    "distill": "Teach a run to reach in a few jumps what it walked in many steps.",
    "ema": "Make averages of a run's weights of any width, after training.",
    "tune": "Find the best solver of a run for a budget of network calls.",
    "report": "Write one HTML page about a run.",
    "watch": "See how a run is doing, while it trains or afterwards.",
    "positions compare": "Train small models with each position encoding on your text, and judge them beyond it.",
    "positions audit": "Say what a checkpoint does about positions, how exactly, and what is known to go wrong.",
    "info": "Say what a run, a data set or this installation is.",
    "demo": "See the whole library at work on handwritten digits, in about three minutes.",
}
"""Each verb is the module of its name: a dataclass of the capitalised name, and `run(options)`.

Of two words, the first is a group: `positions compare` is the module positions_compare and its class PositionsCompare.
"""

GROUPS: Final = {"positions": "Compare position encodings on a text, or audit those of a checkpoint."}
"""What verbs of two words have in common."""

ABOUT: Final = f"""pushforward {__version__}: generative models that push noise forward to data.

Examples:
  pushforward demo                                      everything at once, on handwritten digits
  pushforward train digits --out runs/digits            learn
  pushforward sample runs/digits -n 64 -o grid.png      draw
  pushforward evaluate runs/digits                      measure
  pushforward train --help                              every option of a verb, explained

Data are 'digits', the name of a toy ('moons'), or what is yours: a table, an array, a folder of images.

Completion of options by TAB, once for all shells to come:
  pushforward --tyro-print-completion bash > ~/.local/share/bash-completion/completions/pushforward
  pushforward --tyro-print-completion zsh > ~/.zfunc/_pushforward    (where ~/.zfunc is in $fpath)
"""

ERROR, USAGE, INTERRUPTED, KEYBOARD = 1, 2, 75, 130


class Verb(Protocol):
    """The options of a verb."""

    @property
    def session(self) -> Session:
        """What to do when something fails."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    >>> main(["trian"])
    2
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # threads that spin for long starve each other on a busy machine
    words = list(sys.argv[1:] if argv is None else argv)
    session = Session(debug="--debug" in words, pdb="--pdb" in words)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a help page's bullet must not fail where the terminal lacks it
    try:
        options = parse(words)
        session = options.session
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            importlib.import_module(type(options).__module__).run(options)
    except Exception as error:
        return _fail(error, session)
    except KeyboardInterrupt:
        return _say("interrupted", KEYBOARD)
    return 0


def parse(words: Sequence[str]) -> Verb:
    """The options that the words of a command amount to.

    Raises:
        ConfigError: a verb or an option that does not exist, a value of another type, one value given twice, a wrong
            `--config` file.
        SystemExit: after printing help or a completion script.
    """
    words = list(words) or ["--help"]
    words += ["--help"] if words[0] in GROUPS and len(words) == 1 else []
    if words[0] == "--version":
        print(f"pushforward {__version__}")
        raise SystemExit(0)
    verb, command = _verb(words)
    words = gathered(words, options_class(verb)) if verb else words
    default = _from_file(verb, _config_path(words)) if verb else None
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return cast(
                Verb, tyro.cli(_parser(verb, default, words), prog="pushforward", description=ABOUT, args=words)
            )
    except SystemExit as end:
        if end.code:
            raise ConfigError(sentence(complaint.getvalue(), command)) from None
        raise


def options_class(verb: str) -> type:
    """The dataclass of a verb's options."""
    return getattr(_module(verb), "".join(word.capitalize() for word in verb.split()))


def _module(verb: str) -> Any:
    return importlib.import_module(f"pushforward.cli.{verb.replace(' ', '_')}")


def _verb(words: Sequence[str]) -> tuple[str | None, str]:
    """The verb that a command begins with, None where it asks for help before, and the words that lead to it.

    Raises:
        ConfigError: no verb begins so.
    """
    where, known = "pushforward", [*dict.fromkeys(verb.split()[0] for verb in VERBS)]
    for number, word in enumerate(words[:2]):
        if word.startswith("-"):
            return None, where
        if word not in known:
            raise ConfigError(explain("a verb", repr(word), f"{_config.suggest(word, known)} See {where} --help."))
        verb, where = " ".join(words[: number + 1]), f"{where} {word}"
        if verb in VERBS:
            return verb, where
        known = [each.split()[1] for each in VERBS if each.split()[0] == word]
    return None, where


def _parser(verb: str | None, default: object, words: Sequence[str]) -> Any:
    """All verbs as one type; the chosen one with its defaults."""
    found = dict[str, list[Any]]()
    for name, about in VERBS.items():
        each = _chosen(name, default, words) if name == verb else _subcommand(name, options_class(name), about)
        found.setdefault(name.split()[0], []).append(each)
    each = [_group(name, members) if name in GROUPS else members[0] for name, members in found.items()]
    return Annotated[Union[tuple(each)], tyro.conf.FlagCreatePairsOff]  # noqa: UP007


def _group(name: str, members: list[Any]) -> Any:
    """Verbs of two words behind their first."""
    about = tyro.conf.subcommand(name, description=GROUPS[name], prefix_name=False)
    return Annotated[Union[tuple(members)], about]  # noqa: UP007


def _chosen(name: str, default: object, words: Sequence[str]) -> Any:
    """The verb that a command is about, described in full; for help a verb may show less than it takes."""
    cls, shown = options_class(name), getattr(_module(name), "shown", None)
    if shown is not None and not {"--help", "-h"}.isdisjoint(words):
        cls, default = shown(words, default)
    return _subcommand(name, cls, inspect.cleandoc(cls.__doc__ or VERBS[name]), default)


def _subcommand(name: str, cls: type, about: str, default: object = None) -> Any:
    """A verb as tyro's sub-command."""
    word = name.split()[-1]
    if default is None:
        return Annotated[cls, tyro.conf.subcommand(word, description=about, prefix_name=False)]
    return Annotated[cls, tyro.conf.subcommand(word, default=default, description=about, prefix_name=False)]


def _config_path(words: Sequence[str]) -> Path | None:
    for here, following in zip(words, [*words[1:], ""]):
        if here == "--config" and following:
            return Path(following)
        if here.startswith("--config="):
            return Path(here.removeprefix("--config="))
    return None


def _from_file(verb: str, path: Path | None) -> object:
    """A verb's options with the values of a file; what the file leaves out and has no default is asked for."""
    if path is None:
        return None
    module = _module(verb)
    table, adopt = _config.read(path), getattr(module, "adopt", None)
    if "format_version" in table and adopt is None:
        fix = f"Name the run itself: pushforward {verb} RUN."
        raise ConfigError(explain(f"a file of options of {verb}", f"{str(path)!r}, a run's", fix))
    try:
        if "format_version" in table and adopt is not None:
            return adopt(table, path)
        return _config.from_table(options_class(verb), table, KINDS, missing=tyro.MISSING)
    except ConfigError as error:
        raise ConfigError(f"In {str(path)!r}: {error}") from error


def _fail(error: Exception, session: Session) -> int:
    """Say what went wrong, as loudly as asked, and with which status to leave."""
    if session.debug or session.pdb:
        traceback.print_exception(error)
    if session.pdb and os.environ.get("RANK", "0") == "0":
        pdb.post_mortem(error.__traceback__)
    if type(error).__name__ == "Interrupted":  # by name: importing training would import torch
        return _say(str(error), INTERRUPTED)
    if isinstance(error, PushforwardError):
        return _say(str(error), USAGE)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    if isinstance(error, OSError):
        return _say(str(error), ERROR)
    if out_of_memory(error):
        return _say("out of memory. Ask for less at a time: a smaller --batch, or --accumulate.", ERROR)
    hint = "" if session.debug or session.pdb else " Run it again with --debug to see where, and please report it."
    return _say(f"{type(error).__name__}: {error}.{hint}", ERROR)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"pushforward: warning: {message}", file=sys.stderr)


def _say(message: str, status: int) -> int:
    line = " ".join(message.split())
    print(f"pushforward: {'error: ' if status != INTERRUPTED else ''}{line}", file=sys.stderr)
    return status


__all__ = ["VERBS", "main", "options_class", "parse"]

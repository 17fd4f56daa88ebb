"""The command line: `pushforward VERB`, one file per verb.

A verb is a frozen dataclass of options (every value a flag, every flag explained where it is declared) and a
function `run(options)` that is a short program on the library. `shell` parses and turns errors into one sentence and
an exit status; `options` holds what verbs share. Nothing here imports torch before a verb runs, so help and
completion are quick. May import everything.

    0   done                        2    an error of the user's, one sentence on stderr
    1   an error of the machine's   75   interrupted with a checkpoint: run the same command again to go on
"""

from pushforward.cli.shell import main

__all__ = ["main"]

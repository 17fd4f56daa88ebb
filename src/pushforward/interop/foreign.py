"""Configurations that others wrote: any value may have any type, and a size may be anything.

What a reader stumbles over is said as one error that names the configuration; sizes have bounds, so that nothing is
computed for hours, or in memory that no machine has, because a file asks for it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from pushforward._errors import ConfigError, PushforwardError, explain

LARGEST: Final = 2**31
"""No length, width or number of heads is larger."""


@contextmanager
def understood(what: str) -> Generator[None]:
    """Within, a foreign configuration is read.

    Args:
        what: its file, or what it is.

    Raises:
        ConfigError: a value has another type than its readers expect, or is missing.
    """
    try:
        yield
    except PushforwardError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
        missing = f"none for {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        got = f"{missing[:200] or type(error).__name__} in {what}"
        raise ConfigError(explain("a configuration with values of the usual types", got, _STRANGE)) from error


def size(value: Any, name: str, least: int = 1, most: int = LARGEST) -> int:
    """A whole number of a foreign configuration.

    Raises:
        ConfigError: it is none from `least` to `most`.

    >>> size(8.0, "heads")
    8
    """
    found = int(value) if isinstance(value, int | float) and value == value // 1 and abs(value) <= most else None
    if found is None or found < least:
        expected = f"a whole number from {least:,} to {most:,} for {name}"
        raise ConfigError(explain(expected, repr(value)[:100], _STRANGE))
    return found


_STRANGE: Final = "Look at that value in its config.json; it is of no model that is known here."

"""What every network of hidden units asks of its numbers."""

from pushforward._errors import ConfigError, explain


def check_sizes(hidden: int, dropout: float = 0.0, context: int = 0) -> None:
    """Refuse layers of no unit, to leave all units out, and fewer numbers of context than none.

    Raises:
        ConfigError: `hidden` below 1, `dropout` outside [0, 1), or a context (or classes) below 0.
    """
    if hidden < 1:
        raise ConfigError(explain("hidden of 1 unit or more", f"{hidden}", "64 suit small tables, 256 most data."))
    if not 0 <= dropout < 1:
        raise ConfigError(explain("dropout from 0 to below 1", f"{dropout}", "0 leaves no unit out, 0.2 is usual."))
    if context < 0:
        raise ConfigError(explain("a context or classes of 0 or more", f"{context}", "0 is none."))

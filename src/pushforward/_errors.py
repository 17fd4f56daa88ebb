"""What can go wrong, said so that it can be put right.

Every error a user can cause is a `PushforwardError` whose message has three parts in this order: what was
expected, what was got, and how to fix it. The command line prints the message alone and exits with
status 2; a program may catch the class. `assert` is kept for our own invariants.
"""


class PushforwardError(ValueError):
    """An input this library cannot use, with the way to put it right in the message."""


class DataError(PushforwardError):
    """A file, folder or array that cannot be read as a data set."""


class ShapeError(PushforwardError):
    """A tensor of another shape, dtype or length than the call needs."""


class ConfigError(PushforwardError):
    """A setting that does not exist or has an impossible value."""


class ConversionError(PushforwardError):
    """A prediction that holds no information about what is asked at this time (a vanishing determinant)."""


class RunError(PushforwardError):
    """A run folder that is missing, damaged, in use, or written by another version."""


class TrainingError(PushforwardError):
    """A training run that cannot go on: a loss or gradient that is not finite."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch has no one class for it, and on CPUs none at all."""
    text = str(error)
    named = "DefaultCPUAllocator" in text or "out of memory" in text.lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and named)


def explain(expected: str, got: str, fix: str) -> str:
    """One sentence each: what was expected, what was got, how to fix it.

    >>> explain("a file with rows", "'a.csv', which is empty", "Check the path.")
    "Expected a file with rows; got 'a.csv', which is empty. Check the path."
    """
    return f"Expected {expected}; got {got}. {fix}"

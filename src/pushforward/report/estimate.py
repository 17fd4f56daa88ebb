"""A measured number and how far it may be off.

    mean of n independent values:   value = mean,   error = std / sqrt(n)

`error` is one standard error. Printed with two significant digits of the error, and the value to the same place,
so that no digit is shown that was not measured.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from pushforward._errors import ShapeError, explain


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with one standard error, in the value's own unit.

    Args:
        value: the estimate.
        error: its standard error; nan where it was not estimated.

    >>> print(Estimate(1.23456, 0.0123), "|", Estimate(12345.6, 78.9), "|", Estimate(0.5, float("nan")))
    1.235 ± 0.012 | 12346 ± 79 | 0.5
    """

    value: float
    error: float = math.nan

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        value, error = self.parts()
        return f"{value} ± {error}" if error else value

    def parts(self) -> tuple[str, str]:
        """The value and the error as text; the error is empty where there is none."""
        if not (math.isfinite(self.error) and self.error > 0):
            return f"{self.value:.4g}", ""
        places = 1 - math.floor(math.log10(self.error))
        if places > 7:
            return f"{self.value:.3g}", f"{self.error:.2g}"
        shown = max(0, places)
        return f"{self.value:.{shown}f}", f"{self.error:.{shown}f}"


def mean(values: Tensor) -> Estimate:
    """The mean of independent values with its standard error.

    Args:
        values: at least two numbers, [n].

    Raises:
        ShapeError: fewer than two values.
    """
    each = values.detach().flatten().double().cpu()
    if len(each) < 2:
        raise ShapeError(explain("at least two values", str(len(each)), "A standard error needs more samples."))
    return Estimate(float(each.mean()), float(each.std() / math.sqrt(len(each))))

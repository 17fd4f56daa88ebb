"""Where an increasing function on the whole line takes a given value, from no prior idea of where that is.

    f(x) = y,   f increasing:      widen [low, high] until f(low) <= y <= f(high), then Newton inside (`root.py`)

A fixed bracket answers silently with its own end, and samples pile up there. This one starts around a guess and grows
fivefold until it holds the answer, each number by itself; what cannot be reached is an error that says how many numbers
are concerned.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pushforward._derivatives import refuse_vmap
from pushforward._errors import PushforwardError, explain
from pushforward.transforms.root import root

Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x -> (f(x), log f'(x)), number by number."""


def invert(f: Increasing, y: Tensor, guess: Tensor | None = None, tolerance: float = 1e-5) -> Tensor:
    """x with f(x) = y, with its derivatives in y and in whatever f is made of.

    Args:
        f: increasing, smooth nearly everywhere.
        y: the values wanted, of the shape f works on. Where they are not finite, or f is NaN, x is NaN.
        guess: where to look first, around 0 by default; y is right for maps that are never far from the identity.
        tolerance: largest error in x or in f(x), relative to 1 + |x| or 1 + |y|.

    Raises:
        PushforwardError: values that f does not take, or where no x of this precision gives them.

    >>> invert(lambda x: (x**3 + x, (3 * x**2 + 1).log()), torch.tensor([1010.0, 0.0]))
    tensor([10., 0.])
    """
    with torch.no_grad():
        known = y.detach().nan_to_num(*[torch.nan] * 3)  # what is not finite has no preimage: NaN comes back
        first = torch.zeros_like(known) if guess is None else guess.detach().nan_to_num(0.0, 0.0, 0.0)
        low, high, known = _bracket(f, known, first)
    x = root(lambda v: _with_slope(f, v), torch.where(y.isfinite(), y, known), low, high)
    with torch.no_grad():
        failed = ~_near(x, *f(x), known, tolerance)
        if bool(failed.any()):
            failed = failed & ~f(first)[0].isnan()  # parameters that are not numbers have no preimage either
        if bool(failed.any()):
            raise PushforwardError(_unreached(int(failed.sum()), y.numel()))
    return x.masked_fill(~y.isfinite(), float("nan"))


def _with_slope(f: Increasing, x: Tensor) -> tuple[Tensor, Tensor]:
    value, log_slope = f(x)
    return value, log_slope.clamp(-80.0, 80.0).exp()


def _bracket(f: Increasing, y: Tensor, guess: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ends with f(low) <= y <= f(high): an interval around the guess, widened until they are; and y.

    Where y is NaN the interval stays as it was, and y becomes f(low), so that all that follows is finite there.
    """
    half, most = 1 + 0.1 * guess.abs(), torch.finfo(y.dtype).max ** 0.5
    low, high = guess - half, guess + half
    while True:
        at_low = f(low)[0]
        refuse_vmap(at_low, y)
        above, below = at_low > y, f(high)[0] < y
        if not bool((above | below).any()):
            return low, high, torch.where(y.isnan(), at_low, y)
        if bool((high - low).amax() > most):
            raise PushforwardError(_unreached(int((above | below).sum()), y.numel()))
        # what was an end with the answer beyond is the other end from now on
        step = 4 * (high - low)
        low, high = (
            torch.where(below, high, torch.where(above, low - step, low)),
            torch.where(above, low, torch.where(below, high + step, high)),
        )


def _near(x: Tensor, value: Tensor, log_slope: Tensor, y: Tensor, tolerance: float) -> Tensor:
    tolerance = max(tolerance, 256 * torch.finfo(y.dtype).eps)
    error = (value - y).abs()
    return (error <= tolerance * (1 + y.abs())) | (error * (-log_slope).exp() <= tolerance * (1 + x.abs()))


def _unreached(failed: int, of: int) -> str:
    fix = "Use float64, or look at the parameters: the map is nearly flat there."
    return explain("values that the map takes", f"{failed} of {of} numbers without a preimage", fix)

"""What a solver refuses before it starts, so that nothing is computed from nonsense."""

from torch import Tensor

from pushforward._derivatives import batched
from pushforward._errors import ShapeError, explain


def check_state(x: Tensor) -> None:
    """Refuse a start, or an edit in flight, that is not finite.

    Raises:
        ShapeError: some of it is NaN or infinite.
    """
    if batched(x) or x.detach().sum().isfinite():  # quick; a sum that is not finite may still be an overflow
        return
    bad = x.detach().isfinite().logical_not()
    if bool(bad.any()):
        row = int(bad.flatten(1).any(1).nonzero()[0]) if x.ndim > 1 else int(bad.nonzero()[0])
        got = f"{int(bad.sum())} that are not, the first in row {row}"
        raise ShapeError(explain("samples of finite numbers", got, "Check what the solver is started or edited with."))


def check_output(m: Tensor, x: Tensor) -> None:
    """Refuse a field whose output is not of x's shape.

    Raises:
        ShapeError: it is not.
    """
    if m.shape != x.shape:
        fix = "A field gives one number for each of the sample's."
        raise ShapeError(explain(f"a field's output of shape {tuple(x.shape)}", str(tuple(m.shape)), fix))

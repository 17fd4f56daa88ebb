"""From the units of a file to the units of a model, and back.

    model = (value + u) scale + offset,        u ~ U[0, 1) if the values are levels, else u = 0

Whole-number levels (pixels) are spread over the cell [v, v + 1): a density fitted to the spread values bounds
the probability of the levels from below (Theis et al. 2016, arXiv 1511.01844),

    log P(v)  >=  E_u log p_values(v + u),     log p_values = log p_model + sum over the event of log |scale|.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Number = Tensor | float


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """An affine map per component, with dequantisation where the values are levels.

    Args:
        offset: added last; a number, or a tensor that broadcasts over the event.
        scale: the factor; a number, or a tensor that broadcasts over the event. Never 0.
        levels: how many whole-number levels 0..levels-1 the values have, or None for continuous values.

    References:
        Theis, van den Oord and Bethge, "A note on the evaluation of generative models", 2016,
        arXiv 1511.01844.

    >>> Scaling(offset=-1.0, scale=2 / 17, levels=17).to_model(torch.tensor([0, 8, 16]))
    tensor([-0.9412,  0.0000,  0.9412])
    """

    offset: Number = 0.0
    scale: Number = 1.0
    levels: int | None = None

    def to_model(self, values: Tensor, u: Tensor | None = None) -> Tensor:
        """Values in the model's units, same shape.

        Args:
            values: raw values, any dtype.
            u: where each level lands within its cell, in [0, 1). Without it, in the middle. Continuous values
                take none.
        """
        values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        if self.levels is not None:
            values = values + (0.5 if u is None else u)
        return values * self.scale + self.offset

    def to_values(self, x: Tensor) -> Tensor:
        """The raw values of points in the model's units; levels are whole and within 0..levels-1."""
        values = (x - self.offset) / self.scale
        return values if self.levels is None else values.floor().clamp(0, self.levels - 1)

    def log_abs_det(self, shape: tuple[int, ...]) -> float:
        """log |d model / d value| of one event of this shape: what turns log p_model into log p_values."""
        if isinstance(self.scale, Tensor):
            return self.scale.double().abs().log().expand(shape).sum().item()
        return math.prod(shape) * math.log(abs(self.scale))

"""Some numbers of each event moved by a map of single numbers and put back: what a coupling does, given its parameters.

    z[places] = g(x[places]; params)        ladj = sum log g'

For rational-quadratic splines this is one node: no gathers, scatters and sums of their own, and no gradients of those.
Where numba is at hand and parameters lie along the batch, as `nets.Dense` leaves them, all of it is compiled.
"""

from dataclasses import dataclass

from torch import Tensor

from pushforward._derivatives import Fused, Tensors
from pushforward.transforms.compiled import spline, spline_for
from pushforward.transforms.monotone import Monotone, Pair
from pushforward.transforms.rational import RationalSpline
from pushforward.transforms.spline_maps import RationalQuadratic


def coupled(g: Monotone, x: Tensor, params: Tensor, places: Tensor, inverse: bool) -> Pair:
    """(z [batch, n], ladj [batch]) of x [batch, n], parameters [batch, changed, size] and places [changed]."""
    alike = (len(x), x.dtype) == (len(params), params.dtype)
    if type(g) is RationalQuadratic and g.tails != "circular" and alike:
        z, ladj = CoupledSpline(g.spline(inverse))(x, params, places)
        return z, ladj
    new, ladj = (g.decode if inverse else g.encode)(_taken(x, places, params), params)
    return x.index_copy(1, places, new), ladj.sum(1)


@dataclass(frozen=True)
class CoupledSpline(Fused):
    """`coupled` by a spline."""

    spline: RationalSpline

    def plain(self, *inputs: Tensor) -> Tensors:
        x, params, places = inputs
        new, ladj = self.spline.plain(x.index_select(1, places), params)
        return x.index_copy(1, places, new), ladj.sum(1)

    def values(self, *inputs: Tensor) -> tuple[Tensors, Tensors]:
        x, params, places = inputs
        if params.stride(0) == 1 and (quick := spline_for(x, len(x) * len(places))) is not None:
            found = quick.coupled(x, params, places, self.spline.layout, self.spline.inverse)
            return found, (found[0] if self.spline.inverse else x,)
        number = _taken(x, places, params)
        (new, ladj), kept = self.spline.values(number, params)
        return (x.index_copy(1, places, new), ladj.sum(1)), (number, *kept)

    def gradients(
        self, inputs: Tensors, kept: Tensors, needed: tuple[bool, ...], results: Tensors
    ) -> tuple[Tensor | None, ...]:
        (_, params, places), (g, u) = inputs, results
        if len(kept) == 1 and (quick := spline()) is not None:
            return *quick.uncoupled(*kept, params, places, g, u, self.spline.layout, self.spline.inverse), None
        number, *others = kept
        to_new = g.index_select(1, places)
        each = to_new, u[:, None].expand_as(to_new)
        to_number, to_params = self.spline.gradients((number, params), tuple(others), needed[:2], each)
        return g.index_copy(1, places, to_number), to_params, None


def _taken(x: Tensor, places: Tensor, params: Tensor) -> Tensor:
    """The numbers at these places, lying as their parameters do."""
    return x.T.index_select(0, places).T if params.stride(0) == 1 else x.index_select(1, places)

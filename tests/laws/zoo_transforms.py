"""Every transform there is, ready for the laws: float64, with parameters off their start.

A member names its event's shape, the interval its data live in, and the length of the context it reads (0 for
none). Exemptions are fields with a reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laws.zoo_monotones import MONOTONES
from pushforward import transforms as T
from pushforward.interop.zuko_maps import Area
from pushforward.nets import CausalTransformer, Contraction, MaskedDense


@dataclass(frozen=True)
class Member:
    make: Callable[[], T.Transform]
    shape: tuple[int, ...]
    context: int = 0
    low: float = -2.0
    high: float = 2.0
    after: tuple[int, ...] | None = None  # the shape of the noise, where it is another
    sparse: bool = False  # a few numbers meet a few of its parameters only, as a spline's bins
    unit_of_weights: float = 1.0  # what a stored 1 stands for, so that "off the start" means the same for all

    def transform(self, seed: int = 0) -> T.Transform:
        """The transform with parameters off their start, another for another seed."""
        generator = torch.Generator().manual_seed(seed)
        made = self.make().double().eval()
        with torch.no_grad():
            for parameter in made.parameters():
                noise = 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64) + 0.1
                parameter.copy_(noise / self.unit_of_weights)
        return made

    def data(self, n: int = 5, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(n, *self.shape, generator=generator, dtype=torch.float64)
        return self.low + (self.high - self.low) * (0.02 + 0.96 * uniform)

    def noise(self, n: int = 5, seed: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, *(self.after or self.shape), generator=generator, dtype=torch.float64)

    def contexts(self, n: int = 5, seed: int = 3) -> Tensor | None:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, self.context, generator=generator, dtype=torch.float64) if self.context else None


class Net(nn.Module):
    """A conditioner with an appended context."""

    def __init__(self, inputs: int, outputs: int, context: int = 0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs + context, 7), nn.Tanh(), nn.Linear(7, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layers(x if context is None else torch.cat([x, context], 1))


def _chain(context: int = 0) -> T.Chain:
    return T.Chain(
        T.tile(6),
        T.AdditiveCoupling((1, 2, 3), Net(3, 3, context)),
        T.reverse(6),
        T.AffineCoupling((1, 2, 3), Net(3, 6, context), T.checkerboard((1, 2, 3))),
        T.Inverse(T.Chain(T.Shift((1, 2, 3)), T.AffineCoupling((1, 2, 3), Net(3, 6, context)))),
        T.DiagonalScale((1, 2, 3)),
    )


def _levels(context: int = 0) -> T.Chain:
    """Glow in miniature: two scales in one event of 1 x 4 x 4."""
    inner = T.Chain(
        T.Squeeze(), T.ActNorm(8), T.LU(8), T.AffineCoupling((8, 1, 1), Net(4, 8, context)), T.Inverse(T.Squeeze())
    )
    prior = T.AffineCoupling((4, 2, 2), Net(8, 16, context), T.channels((4, 2, 2)))
    return T.Chain(T.Squeeze(), T.ActNorm(4), T.convolution(4), prior, T.Part(2, inner), T.Inverse(T.Squeeze()))


def _of_monotones() -> dict[str, Member]:
    """Each monotone map with parameters of its own, and with a network's; those onto an interval turned round."""
    members: dict[str, Member] = {}
    for name, kind in MONOTONES.items():
        g = kind.monotone
        if not kind.everywhere:
            low, high = (0.0, 4.0) if name == "exp" else (-2.0, 2.0)
            members[f"inverse-{name}"] = Member(lambda g=g: T.Inverse(T.Elementwise((3,), g)), (3,), low=low, high=high)
            continue
        members[f"elementwise-{name}"] = Member(lambda g=g: T.Elementwise((1, 3), g), (1, 3), sparse=g.size > 4)
        if not g.size:  # nothing for a network to say
            continue
        members[f"coupling-{name}"] = Member(
            lambda g=g: T.MonotoneCoupling((4,), Net(2, 2 * g.size, 2), g), (4,), context=2, sparse=g.size > 4
        )
    return members


TRANSFORMS: dict[str, Member] = {
    **_of_monotones(),
    "identity": Member(T.Chain, (3,)),
    "shift": Member(lambda: T.Shift((4,)), (4,)),
    "shift-image": Member(lambda: T.Shift((2, 1, 3)), (2, 1, 3)),
    "scale": Member(lambda: T.DiagonalScale((4,)), (4,)),
    "scale-image": Member(lambda: T.DiagonalScale((2, 1, 3)), (2, 1, 3)),
    "permutation": Member(lambda: T.Permutation([2, 0, 3, 1]), (4,)),
    "reverse": Member(lambda: T.reverse(5), (5,)),
    "tile-image": Member(lambda: T.tile(6), (1, 2, 3)),
    "shuffle": Member(lambda: T.shuffle(6, seed=4), (6,)),
    "reshape": Member(lambda: T.Reshape((2, 3), (3, 1, 2)), (2, 3), after=(3, 1, 2)),
    "flatten": Member(lambda: T.flatten((1, 2, 2)), (1, 2, 2), after=(4,)),
    "logit": Member(lambda: T.Logit(0.05), (3,), low=0.0, high=1.0),
    "logit-sharp": Member(lambda: T.Logit(1e-6, -1.0, 3.0), (1, 2, 2), low=-1.0, high=3.0),
    "additive": Member(lambda: T.AdditiveCoupling((5,), Net(2, 3)), (5,)),
    "additive-context": Member(lambda: T.AdditiveCoupling((5,), Net(2, 3, 2)), (5,), context=2),
    "affine": Member(lambda: T.AffineCoupling((4,), Net(2, 4)), (4,)),
    "affine-context": Member(lambda: T.AffineCoupling((4,), Net(2, 4, 3), bound=0.5), (4,), context=3),
    "affine-checkerboard": Member(lambda: T.AffineCoupling((1, 3, 3), Net(5, 8), T.checkerboard((1, 3, 3))), (1, 3, 3)),
    "affine-channels": Member(lambda: T.AffineCoupling((3, 1, 2), Net(4, 4), ~T.channels((3, 1, 2))), (3, 1, 2)),
    "triangular": Member(lambda: T.Triangular(4), (4,)),
    "triangular-upper": Member(lambda: T.Triangular(3, upper=True), (3, 2, 1)),
    "lu": Member(lambda: T.LU(4), (4,)),
    "convolution": Member(lambda: T.convolution(3, seed=1), (3, 2, 2)),
    "rotation": Member(lambda: T.Rotation(4), (4,)),
    "householder": Member(lambda: T.Householder(4), (4,)),
    "householder-few": Member(lambda: T.Householder(5, 2), (5, 1, 2)),
    "qr": Member(lambda: T.QR(4), (4,)),
    "actnorm": Member(lambda: T.ActNorm(2), (2, 1, 3)),
    "batchnorm": Member(lambda: T.BatchNorm(3), (3,)),
    "batchnorm-image": Member(lambda: T.BatchNorm(2), (2, 2, 1)),
    "squeeze": Member(T.Squeeze, (1, 4, 2), after=(4, 2, 1)),
    "part": Member(lambda: T.Part(2, T.AffineCoupling((2, 1, 2), Net(2, 4))), (3, 1, 2)),
    "levels": Member(_levels, (1, 4, 4)),
    "levels-context": Member(lambda: _levels(2), (1, 4, 4), context=2),
    "inverse": Member(lambda: T.Inverse(T.AffineCoupling((4,), Net(2, 4))), (4,)),
    "chain": Member(_chain, (1, 2, 3)),
    "chain-context": Member(lambda: _chain(2), (1, 2, 3), context=2),
    "chain-of-chains": Member(lambda: T.Chain(T.Chain(T.Shift((4,))), T.Chain(), T.Inverse(T.tile(4))), (4,)),
}


def _graph() -> Tensor:
    """A diamond with a tail: 3 -> 0, 2 -> 1 -> 4, and 5 alone."""
    adjacency = torch.zeros(6, 6, dtype=torch.bool)
    for child, parent in ((0, 3), (2, 3), (1, 0), (1, 2), (4, 1)):
        adjacency[child, parent] = True
    return adjacency


def _masked(n: int, size: int, **options: object) -> MaskedDense:
    return MaskedDense(n, size, **{"hidden": 12, "activation": torch.tanh, **options})  # type: ignore[arg-type]


def _causal(shape: tuple[int, ...], **options: object) -> CausalTransformer:
    return CausalTransformer(shape, 2, width=8, layers=1, heads=2, **options)  # type: ignore[arg-type]


TRANSFORMS |= {
    "maf": Member(lambda: T.Autoregressive(T.Affine(), _masked(4, 2)), (4,)),
    "maf-jacobi": Member(lambda: T.Autoregressive(T.Affine(), _masked(4, 2), "jacobi"), (4,)),
    "maf-context": Member(lambda: T.Autoregressive(T.Affine(), _masked(4, 2, context=3)), (4,), context=3),
    "maf-order": Member(lambda: T.Autoregressive(T.Affine(), _masked(6, 2, order=[3, 1, 5, 0, 2, 4])), (1, 2, 3)),
    "maf-passes": Member(lambda: T.Autoregressive(T.Affine(), _masked(5, 2, passes=3)), (5,)),
    "maf-coupling": Member(lambda: T.Autoregressive(T.Additive(), _masked(4, 1, passes=2)), (4,)),
    "maf-graph": Member(lambda: T.Autoregressive(T.Affine(), _masked(6, 2, adjacency=_graph())), (6,)),
    "maf-residual": Member(lambda: T.Autoregressive(T.Affine(), _masked(4, 2, residual=True, context=2)), (4,), 2),
    "maf-blocks": Member(lambda: T.Autoregressive(T.Affine(0.3), _masked(8, 2, hidden=128)), (8,)),
    "iaf": Member(lambda: T.Inverse(T.Autoregressive(T.Affine(), _masked(4, 2))), (4,)),
    "spline-autoregressive": Member(
        lambda: T.Autoregressive(T.RationalQuadratic(4, -3.0, 3.0), _masked(4, T.RationalQuadratic(4).size)), (4,)
    ),
    "sigmoidal": Member(lambda: T.Elementwise((3,), T.Sigmoidal(3, 2)), (3,)),
    "naf": Member(lambda: T.Autoregressive(T.Sigmoidal(3), _masked(3, 9)), (3,)),
    "integral": Member(lambda: T.Elementwise((2,), T.Integral(3, hidden=6)), (2,)),
    "their-area": Member(lambda: T.Elementwise((2,), Area(Net(4, 1), 3, torch.arange(2))), (2,)),
    "umnn": Member(lambda: T.Autoregressive(T.Integral(3, hidden=6), _masked(3, 4, context=1)), (3,), context=1),
    "sos": Member(lambda: T.Autoregressive(T.SumOfSquares(2, 2), _masked(3, 7)), (3,)),
    "bernstein": Member(lambda: T.Autoregressive(T.Bernstein(5, 3.0), _masked(3, 6)), (3,)),
    "bernstein-narrow": Member(lambda: T.Elementwise((3,), T.Bernstein(4, 1.0)), (3,)),
    "gaussian-mixture": Member(lambda: T.Elementwise((3,), T.GaussianMixture(4)), (3,)),
    "gaussian-mixture-autoregressive": Member(lambda: T.Autoregressive(T.GaussianMixture(2), _masked(3, 6)), (3,)),
    "gaussianize": Member(lambda: T.Gaussianize((1, 3), 3), (1, 3)),
    "labelled": Member(lambda: T.Labelled(T.DiagonalScale((3,)), 2), (3,)),
    "bnaf": Member(lambda: T.BlockAutoregressive((3,), 3, 2), (3,), unit_of_weights=10.0),
    "bnaf-context": Member(
        lambda: T.BlockAutoregressive((1, 2, 1), 3, 1, context=2), (1, 2, 1), context=2, unit_of_weights=10.0
    ),
    "planar": Member(lambda: T.Planar((3,)), (3,)),
    "planar-leaky": Member(lambda: T.Planar((1, 2, 2), "leaky_relu"), (1, 2, 2)),
    "planar-context": Member(lambda: T.Planar((3,), conditioner=nn.Linear(2, 7)), (3,), context=2),
    "radial": Member(lambda: T.Radial((3,)), (3,)),
    "radial-context": Member(lambda: T.Radial((3,), nn.Linear(2, 5)), (3,), context=2),
    "sylvester": Member(lambda: T.Sylvester((4,), 3), (4,)),
    "sylvester-context": Member(lambda: T.Sylvester((3,), 3, nn.Linear(2, 24)), (3,), context=2),
    "residual": Member(lambda: T.Residual(Contraction(3, 8, 2)), (3,)),
    "residual-context": Member(lambda: T.Residual(Contraction(4, 8, 1, context=2, lipschitz=0.7)), (1, 2, 2), 2),
    "tarflow": Member(lambda: T.Autoregressive(T.Affine(), _causal((1, 4, 2), patch=2)), (1, 4, 2)),
    "tarflow-context": Member(lambda: T.Autoregressive(T.Affine(), _causal((3, 2), context=2)), (3, 2), context=2),
}

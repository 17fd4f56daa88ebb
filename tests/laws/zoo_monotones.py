"""Every monotone map there is, ready for the laws.

`identity`: zero parameters give the identity. `far`: what is far outside is mapped, in the directions named. `circle`:
numbers are points of a circle of length 6. Exemptions are fields with a reason.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from pushforward import transforms as T
from pushforward.interop.peer_maps import Bins, Scale, Scaled, Wrapped
from pushforward.interop.zuko_maps import Controls, Gaussianized, Squares


@dataclass(frozen=True)
class Map:
    monotone: T.Monotone
    identity: bool = True
    circle: bool = False
    reach: float = 5.0  # data lie in (-reach, reach)
    everywhere: bool = True  # onto all numbers; False: onto an interval, so decoding has ends

    def data(self, n: int = 200, dtype: torch.dtype = torch.float64) -> Tensor:
        uniform = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        return ((2 * uniform - 1) * self.reach).to(dtype)

    def params(self, n: int = 200, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return (scale * torch.randn(n, self.monotone.size, generator=generator, dtype=torch.float64)).to(dtype)

    def gap(self, a: Tensor, b: Tensor) -> Tensor:
        """|a - b|, along the circle if it is one."""
        gap = (a - b).abs()
        return torch.minimum(gap, 6 - gap) if self.circle else gap


def _splines() -> dict[str, Map]:
    kinds = {"linear": T.Linear, "quadratic": T.Quadratic, "cubic": T.Cubic, "rational": T.RationalQuadratic}
    return {
        f"{name}-{tails}": Map(kind(8, tails=tails), circle=tails == "circular", reach=3 if tails == "circular" else 5)
        for name, kind in kinds.items()
        for tails in kind.words
    }


def _theirs() -> dict[str, Map]:
    """Other libraries' parametrisations, few of which give the identity at 0."""
    least = (1e-3, 1e-3, 1e-3)
    return {
        **{f"their-{s}": Map(Scaled(s, True, 1e-3), identity=s in ("exp", "softclip")) for s in get_args(Scale)},
        "their-softmax-bins": Map(Bins("softmax", 8, -3.0, 3.0, least, shrink=0.5), identity=False),
        "their-softmax-bins-free": Map(Bins("softmax", 8, -3.0, 3.0, least, ends="free"), identity=False),
        "their-softclip-bins": Map(Bins("softclip", 8, -5.0, 5.0, least), reach=8),
        "their-circle": Map(
            Wrapped(Bins("softclip", 8, -3.0, 3.0, least), 3.0), identity=False, circle=True, reach=3
        ),  # begins half way round
        "their-controls-pinned": Map(Controls("pinned", 8, 3.0), identity=False),  # but for a leap at the ends
        "their-controls-free": Map(Controls("free", 8, 4.0), identity=False),
        "their-mixture": Map(Gaussianized(5), identity=False, reach=1, everywhere=False),
        "their-squares": Map(Squares(3, 2, 1e-3), identity=False),
    }


MONOTONES: dict[str, Map] = {
    "additive": Map(T.Additive()),
    "affine": Map(T.Affine()),
    **_splines(),
    "rational-many-bins": Map(T.RationalQuadratic(64, low=-4.0, high=4.5)),
    "affine-then-rational": Map(T.Composed(T.Affine(), T.RationalQuadratic(8)), reach=15),
    "mixture": Map(T.LogisticMixture(5), identity=False),  # equal components would stay equal
    "power": Map(T.Power()),
    "heavy-tail": Map(T.HeavyTail(), identity=False),  # its lightest tail is exponential
    "exp": Map(T.Exp(), identity=False, everywhere=False),
    "tanh": Map(T.Tanh(2.0), identity=False, everywhere=False),
    "asinh": Map(T.Asinh(2.0), identity=False),
    "affine-then-soft-clip": Map(T.Composed(T.Affine(), T.SoftClip(2.0)), identity=False, everywhere=False),
    "soft-clip": Map(T.SoftClip(2.0), identity=False, everywhere=False),
    "sigmoidal": Map(T.Sigmoidal(5), identity=False),
    "sigmoidal-stack": Map(T.Sigmoidal(4, layers=2), identity=False),
    "squares": Map(T.SumOfSquares(3, 2), identity=False),
    "bernstein": Map(T.Bernstein(12, 4.0)),
    "gaussian-mixture": Map(T.GaussianMixture(5), identity=False),
    **_theirs(),
}

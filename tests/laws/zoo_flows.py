"""Normalizing flows for the laws: float64, with parameters off their start.

A member names the kind of context it reads: none, a vector of some length, or one of some classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from laws.zoo_transforms import Net
from pushforward import transforms as T
from pushforward.models import named_autoregressive as A
from pushforward.models import named_free_forms as F
from pushforward.models.base import Logistic, Normal, VonMises
from pushforward.models.ffjord import ffjord
from pushforward.models.flow import NormalizingFlow
from pushforward.models.learned_base import ClassNormal, LearnedNormal, Mixture
from pushforward.models.named import nice, real_nvp
from pushforward.models.named_images import glow
from pushforward.models.named_splines import circular, flowpp, nsf
from pushforward.models.tarflow import tarflow
from pushforward.solvers import RK4


@dataclass(frozen=True)
class Flow:
    make: Callable[[], NormalizingFlow]
    context: int = 0
    classes: int = 0
    unit: bool = False  # its data live on the unit cube
    circle: bool = False  # its data are angles in [-pi, pi); all others live on the whole space
    refuses_what_is_not_finite: bool = False  # solvers do, as the steps they choose are shared
    searches: bool = False  # for its densities; others may for their samples
    own_net: bool = False  # its context is read by a network of the tests alone, which checks nothing
    unit_of_weights: float = 1.0  # what a stored 1 stands for, so that "off the start" means the same for all

    def flow(self, seed: int = 0) -> NormalizingFlow:
        """The flow with parameters off their start, another for another seed."""
        generator = torch.Generator().manual_seed(seed)
        made = self.make().double().eval()
        with torch.no_grad():
            for parameter in made.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_((0.35 if parameter.ndim > 1 else 0.2) * noise / self.unit_of_weights)
        return made

    def data(self, n: int = 5, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (n, *self.make().shape)
        if self.unit:
            return torch.rand(shape, generator=generator, dtype=torch.float64)
        if self.circle:
            return 6 * torch.rand(shape, generator=generator, dtype=torch.float64) - 3
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def contexts(self, n: int = 5, seed: int = 3) -> Tensor | None:
        generator = torch.Generator().manual_seed(seed)
        if self.classes:
            return torch.randint(self.classes, (n,), generator=generator)
        return torch.randn(n, self.context, generator=generator, dtype=torch.float64) if self.context else None


def _ode(make: Callable[[], NormalizingFlow], **told: int) -> Flow:
    """One whose gates start at 2, not at a half, so that weights bend four times as much."""
    return Flow(make, refuses_what_is_not_finite=True, unit_of_weights=4.0, **told)


def _handmade() -> NormalizingFlow:
    return NormalizingFlow(
        T.Chain(T.AffineCoupling((2,), Net(1, 2)), T.reverse(2), T.AffineCoupling((2,), Net(1, 2)), T.Shift((2,))),
        Normal((2,), std=1.5),
    )


def _reshaped() -> NormalizingFlow:
    flat = T.flatten((1, 2, 1))
    return NormalizingFlow(T.Chain(flat, T.DiagonalScale((2,)), T.Inverse(flat)), Normal((1, 2, 1)))


FLOWS: dict[str, Flow] = {
    "handmade": Flow(_handmade),
    "one-transform": Flow(lambda: NormalizingFlow(T.DiagonalScale((2,)), Logistic((2,)))),
    "reshaped": Flow(_reshaped),
    "nice": Flow(lambda: nice((2,), couplings=3, hidden=8, layers=2)),
    "nice-normal-image": Flow(lambda: nice((1, 3, 3), hidden=8, layers=1, base="normal")),
    "nice-context": Flow(lambda: nice((1, 2, 1), hidden=8, layers=1, context=2), context=2),
    "nice-classes": Flow(lambda: nice((3,), hidden=8, layers=1, classes=4), classes=4),
    # normal: a grid cannot add up the (integrable) pole that a scaled logistic has at an end of an interval
    "nice-unit": Flow(
        lambda: nice((2,), hidden=8, layers=1, base="normal", support=(0.0, 1.0)), unit=True
    ),
    "real-nvp": Flow(lambda: real_nvp((2,), couplings=4, hidden=8)),
    "real-nvp-image": Flow(lambda: real_nvp((1, 3, 3), couplings=5, hidden=8, base="logistic")),
    "real-nvp-unit": Flow(lambda: real_nvp((2,), couplings=2, hidden=8, support=(0.0, 1.0)), unit=True),
    "real-nvp-classes": Flow(lambda: real_nvp((2,), couplings=3, hidden=8, layers=1, classes=2), classes=2),
}  # fmt: skip

FORK = torch.tensor([[0, 1, 0], [0, 0, 0], [0, 1, 0]]).bool()
"""The first and the last of three numbers depend on the middle one."""

FLOWS |= {
    "nsf": Flow(lambda: nsf((2,), couplings=3, hidden=8, blocks=1, bins=5)),
    "nsf-image-classes": Flow(lambda: nsf((1, 2, 2), couplings=2, hidden=8, blocks=1, classes=3), classes=3),
    "nsf-unit": Flow(lambda: nsf((2,), couplings=2, hidden=8, blocks=1, bins=4, support=(0.0, 1.0)), unit=True),
    "circular": Flow(lambda: circular((2,), couplings=3, hidden=8, blocks=1), circle=True),
    "circular-context": Flow(
        lambda: circular((3,), couplings=2, hidden=8, blocks=1, context=2), context=2, circle=True
    ),
    "flowpp": Flow(lambda: flowpp((2,), couplings=2, hidden=8, blocks=1, components=4)),
    "glow": Flow(lambda: glow((1, 4, 4), levels=2, steps=2, hidden=4)),
    "glow-classes": Flow(lambda: glow((3, 2, 2), levels=1, steps=2, hidden=8, classes=2), classes=2),
    "mixture-base": Flow(lambda: NormalizingFlow(T.AffineCoupling((2,), Net(1, 2)), Mixture((2,), 3))),
    "learned-base": Flow(lambda: NormalizingFlow(T.AffineCoupling((2,), Net(1, 2)), LearnedNormal((2,)))),
    "class-base": Flow(lambda: NormalizingFlow(T.Shift((2,)), ClassNormal((2,), 3)), classes=3),
    "von-mises-base": Flow(
        lambda: NormalizingFlow(
            T.Elementwise((2,), T.RationalQuadratic(4, -math.pi, math.pi, "circular")), VonMises((2,), 2.0)
        ),
        circle=True,
    ),
    "maf": Flow(lambda: A.maf((2,), 2, 8)),
    "maf-graph": Flow(lambda: A.maf((3,), 2, 16, adjacency=FORK)),
    "naf-graph": Flow(lambda: A.naf((3,), 1, 16, units=4, adjacency=FORK, formula="decode"), searches=True),
    "maf-context": Flow(lambda: A.maf((2,), 2, 8, context=2, seed=1), context=2),
    "maf-classes": Flow(lambda: A.maf((3,), 2, 8, classes=3), classes=3),
    # a bound of 5 decodes wild weights to 1e7 and more, of which nothing keeps eight digits
    "maf-image": Flow(lambda: A.maf((1, 3, 3), 2, 32, residual=True, bound=1.0, seed=0)),
    "maf-unit": Flow(lambda: A.maf((2,), 2, 8, bound=1.0, support=(0.0, 1.0)), unit=True),
    "iaf": Flow(lambda: A.iaf((2,), 2, 8), searches=True),
    "nsf-autoregressive": Flow(lambda: A.nsf_autoregressive((2,), 2, 8, 1, bins=4)),
    "nsf-autoregressive-published": Flow(lambda: A.nsf_autoregressive((2,), 2, 8, 1, bins=4, seed=0, matrix=True)),
    "naf": Flow(lambda: A.naf((2,), 1, 8, units=4)),
    "umnn": Flow(lambda: A.umnn((2,), 1, 8, embedding=3, units=6, depth=1, points=16)),
    "sos": Flow(lambda: A.sos((2,), 1, 8, degree=2, polynomials=2)),
    "sos-three": Flow(lambda: A.sos((2,), 3, 8, degree=2, polynomials=2)),
    "sos-decode": Flow(lambda: A.sos((3,), 2, 8, degree=2, polynomials=2, formula="decode"), searches=True),
    "bernstein": Flow(lambda: A.bernstein((2,), 2, 8, degree=6)),
    "bnaf": Flow(lambda: A.bnaf((2,), 2, 4), unit_of_weights=10.0),
    "bnaf-classes": Flow(lambda: A.bnaf((3,), 1, 4, classes=2), classes=2, unit_of_weights=10.0),
    "gaussianization": Flow(lambda: F.gaussianization((2,), 2, 3)),
    "planar": Flow(lambda: F.planar((2,), 3)),
    "planar-leaky-context": Flow(lambda: F.planar((3,), 2, "leaky_relu", context=2), context=2),
    "planar-decode": Flow(lambda: F.planar((2,), 2, formula="decode"), searches=True),
    "radial": Flow(lambda: F.radial((2,), 3)),
    "radial-context": Flow(lambda: F.radial((3,), 2, context=2), context=2),
    "sylvester": Flow(lambda: F.sylvester((2,), 2)),
    "tarflow": Flow(lambda: tarflow((2, 1), 2, 8, 1, 2, bound=1.0)),
    "tarflow-image-classes": Flow(lambda: tarflow((1, 4, 4), 2, 8, 1, 2, 2, classes=3, bound=1.0), classes=3),
    "ode": _ode(lambda: ffjord((3,), layers=0).as_flow(RK4(steps=6), pieces=2)),
    "ode-classes": _ode(lambda: ffjord((3,), layers=0, classes=2).as_flow(RK4(steps=18)), classes=2),
    "ode-bent": _ode(lambda: ffjord((3,), 4, 1).as_flow(RK4(steps=15))),
    "ode-between-couplings": _ode(lambda: _between(), context=2, own_net=True),
    "residual-flow": Flow(lambda: F.residual_flow((2,), 2, hidden=8, layers=1)),
    "residual-flow-classes": Flow(lambda: F.residual_flow((3,), 2, hidden=8, layers=1, classes=3), classes=3),
}


def _between() -> NormalizingFlow:
    """A coupling, a field, and a coupling for its noise."""
    one, other = (T.AffineCoupling((3,), Net(1, 4, 2)) for _ in range(2))
    ode = ffjord((3,), layers=0, context=2).as_flow(RK4(steps=18))
    return NormalizingFlow(T.Chain(one, *ode.chain, other), ode.base)


PLANES: dict[str, Flow] = {
    name: member for name, member in FLOWS.items() if member.make().base.shape in ((2,), (1, 2, 1))
}
"""Those over two numbers, whose total mass a grid can add up."""

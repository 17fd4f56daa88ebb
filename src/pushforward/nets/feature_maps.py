"""Feature maps: kernels of queries and keys as products of what each is alone.

    <phi(q), phi(k)> is a kernel of q and k, or is one on average

    map         phi_m(x)                                             kernel
    elu         x + 1 if x > 0, else exp(x)                          its own; positive
    relu        max(x, 0) + eps                                      its own; positive
    taylor      x', x' x'^T / sqrt 2, 1                              1 + s + s**2 / 2; positive
    positive    (exp(w_m x' - |x'|**2 / 2) + eps) / sqrt M           exp(s) on average (FAVOR+), if eps is 0; positive
    waves       exp(|x'|**2 / 2) (cos, sin)(w_m x') / sqrt(M / 2)    exp(s) on average; of both signs

with x' = x / D**(1/4), so that s = <q', k'> = <q, k> / sqrt(D) is what softmax attention exponentiates, and w_m normal
in D dimensions. The average over w of exp(w (q' + k')) is exp(|q' + k'|**2 / 2): that is why it is unbiased.
Directions w_m may be orthogonal in groups of D, each with the length of a normal vector of its own: every w_m alone is
then still normal and the estimate unbiased, mostly with a smaller variance. Where the kernel is small, waves must
cancel, and positive features are small themselves.

Random directions are a function of an address (`Draw`), not a buffer: another step of the address is another draw.
A factor that a query's features have in common cancels in attention: `free` maps choose it so that nothing overflows. A
key's would not cancel; its exponent is at most |w|**2 / 2.

References:
    Katharopoulos et al. 2020, arXiv 2006.16236 (elu).
    Choromanski et al. 2020, Performer, arXiv 2009.14794 (positive, orthogonal, relu).
    Rahimi & Recht 2007 (waves), NIPS.
    Zhang et al. 2024, Based, arXiv 2402.18668 (taylor).
"""

import abc
import functools
import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from pushforward._derivatives import constant
from pushforward._errors import ConfigError, explain
from pushforward._random import Draw
from pushforward._typing import Heads

Map = TypeVar("Map", bound="FeatureMap")


class FeatureMap(abc.ABC):
    """phi, the same for queries and keys."""

    @abc.abstractmethod
    def size(self, features: int) -> int:
        """How many features a head of this size gets. Rotary positions turn them in pairs."""

    @abc.abstractmethod
    def __call__(self, x: Heads, free: bool = False) -> Heads:
        """Features [batch, heads, tokens, size].

        Args:
            x: queries or keys, [batch, heads, tokens, features], float32 or float64.
            free: each token's features may have a positive factor of their own: right for queries, as it cancels.
        """


@dataclass(frozen=True, slots=True)
class EluFeatures(FeatureMap):
    """elu(x) + 1: as many features as there were, all positive.

    >>> EluFeatures()(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0.3679, 1.0000, 3.0000])
    """

    def size(self, features: int) -> int:
        return features

    def __call__(self, x: Heads, free: bool = False) -> Heads:
        return torch.where(x > 0, x + 1, x.clamp(max=0).exp())  # elu(x) + 1 rounds exp(x) to 0 below -17


@dataclass(frozen=True, slots=True)
class ReluFeatures(FeatureMap):
    """max(x, 0) + eps: as many features as there were.

    Args:
        eps: what keeps the sum of weights above zero.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise ConfigError(explain("eps of at least 0", f"{self.eps:g}", "1e-3 is the Performer's."))

    def size(self, features: int) -> int:
        return features

    def __call__(self, x: Heads, free: bool = False) -> Heads:
        return x.relu() + self.eps


@dataclass(frozen=True, slots=True)
class TaylorFeatures(FeatureMap):
    """exp(s) up to its square, which is positive: about as many features as the square of the head's size.

    Zeros fill their number up to a multiple of 12, so that encodings of up to three axes can turn them.
    """

    def size(self, features: int) -> int:
        return -(-(features**2 + features + 1) // 12) * 12

    def __call__(self, x: Heads, free: bool = False) -> Heads:
        y = x * x.shape[-1] ** -0.25
        square = (y.unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2) * 2**-0.5
        rest = self.size(x.shape[-1]) - square.shape[-1] - x.shape[-1]
        one = (torch.arange(rest, device=x.device) == 0).to(y).expand(*y.shape[:-1], rest)
        return torch.cat([y, square, one], -1)


@dataclass(frozen=True, slots=True)
class Drawn(FeatureMap):
    """A map with random directions.

    Args:
        count: how many features, an even number; the error falls as 1 / sqrt(count).
        orthogonal: directions are orthogonal in groups of the head's size.
        draw: the address of the directions; layers of a net take it as the address of their own.
    """

    count: int = 64
    orthogonal: bool = True
    draw: Draw = Draw(0, "features")

    def __post_init__(self) -> None:
        if self.count < 2 or self.count % 2:
            raise ConfigError(explain("an even number of features, at least 2", f"{self.count}", "64 is a start."))


@dataclass(frozen=True, slots=True)
class PositiveFeatures(Drawn):
    """The Performer's features of the softmax kernel (FAVOR+), all positive; see `Drawn`.

    Args:
        eps: added to each feature, a query's being at most 1, so that no sum of weights vanishes. Where keys grow long,
            training in float32 ends in nan without it; with 0 the estimate is unbiased.

    References:
        Choromanski et al. 2020, arXiv 2009.14794, lemma 1.
    """

    eps: float = 1e-4

    def size(self, features: int) -> int:
        return self.count

    def __call__(self, x: Heads, free: bool = False) -> Heads:
        y = x * x.shape[-1] ** -0.25
        w = directions(self.draw, self.count, x.shape[-1], self.orthogonal).to(y)
        exponent = y @ w.mT
        exponent = exponent - (exponent.amax(-1, True) if free else y.square().sum(-1, True) / 2)
        return (exponent.exp() + self.eps) * self.count**-0.5


@dataclass(frozen=True, slots=True)
class WaveFeatures(Drawn):
    """Random Fourier features of the softmax kernel, half cosines, half sines; see `Drawn`.

    Sums of weights may come near zero or below it: `PositiveFeatures` train where these do not.
    """

    def size(self, features: int) -> int:
        return self.count

    def __call__(self, x: Heads, free: bool = False) -> Heads:
        y = x * x.shape[-1] ** -0.25
        w = directions(self.draw, self.count // 2, x.shape[-1], self.orthogonal).to(y)
        angles = y @ w.mT
        waves = torch.cat([angles.cos(), angles.sin()], -1) * (self.count // 2) ** -0.5
        return waves if free else waves * (y.square().sum(-1, True) / 2).exp()


def redrawn(map: Map, step: int) -> Map:
    """The map with the directions of another step of its address; a map that is not `Drawn` as it is.

    >>> redrawn(PositiveFeatures(), 3).draw.step
    3
    """
    return replace(map, draw=map.draw.at(step)) if isinstance(map, Drawn) else map


def of_layer(map: Map, layer: int) -> Map:
    """The map with the directions of one layer."""
    return replace(map, draw=map.draw.of(f"layer/{layer}")) if isinstance(map, Drawn) else map


def redraw_(net: nn.Module, step: int) -> None:
    """Every layer of a net takes the directions of this step, in place.

    The address is the net's, not in its `state_dict`: a net with loaded weights is told the step again. (The Performer
    draws anew every thousand steps of training, so that it does not lean on one draw.)
    """
    for module in net.modules():
        map = getattr(module, "map", None)
        if isinstance(map, Drawn):
            module.map = redrawn(map, step)  # pyright: ignore[reportArgumentType]


@constant
def directions(draw: Draw, count: int, features: int, orthogonal: bool) -> Tensor:
    """Random directions in float64, [count, features], each normal; a function of the address."""
    return _directions(draw, count, features, orthogonal)


@functools.lru_cache(maxsize=256)
def _directions(draw: Draw, count: int, features: int, orthogonal: bool) -> Tensor:
    with torch.no_grad(), torch._C._DisableFuncTorch():  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]
        lengths = draw.of("length").normal(count, (features,), torch.float64)
        if not orthogonal:
            return lengths
        squares = draw.of("direction").normal(math.ceil(count / features), (features, features), torch.float64)
        q, r = torch.linalg.qr(squares)
        q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # uniform over rotations (Mezzadri 2007)
        return q.mT.flatten(0, 1)[:count] * lengths.norm(dim=-1, keepdim=True)

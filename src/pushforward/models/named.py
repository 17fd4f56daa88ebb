"""Flows with a name, as functions: chains, couplings and `nets.Dense` could say the same by hand.

NICE (additive, volume kept but for one diagonal)

    tile -> [ additive coupling -> reverse ] x couplings -> shift -> diagonal -> logistic or normal base

as in the authors' code: the pixels are put in the order even, odd once; each coupling keeps the first half
and changes the second by five ReLU layers of 1000, and the whole vector is turned round after each. The shift
adds no function that the biases of the last two couplings could not express; it gives `prepare` a place to
centre.

Real NVP (affine, volume changed everywhere)

    [ shift -> scale -> affine coupling ] x couplings -> shift -> scale -> normal base

with masks that alternate, and complement each other every second coupling, and a shift and scale where the
authors normalise by the batch (Glow's change: the same for one sample as for many).

A start from data, `models.prepare`, is worth more than any other setting of the two.

References:
    Dinh, Krueger, Bengio 2014, arXiv 1410.8516 (NICE).
    Dinh, Sohl-Dickstein, Bengio 2016, arXiv 1605.08803 (Real NVP).
    Kingma, Dhariwal 2018, arXiv 1807.03039 (Glow).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from pushforward._classes import unit_vectors
from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.models.base import Base, Logistic, Normal
from pushforward.models.flow import NormalizingFlow
from pushforward.nets.mlp import Dense
from pushforward.transforms import (
    AdditiveCoupling,
    AffineCoupling,
    Chain,
    DiagonalScale,
    Logit,
    Shift,
    Transform,
    checkerboard,
    halves,
    reverse,
    tile,
)

BaseName = Literal["logistic", "normal"]


def nice(
    shape: tuple[int, ...],
    couplings: int = 4,
    hidden: int = 1_000,
    layers: int = 5,
    base: BaseName = "logistic",
    *,
    context: int = 0,
    classes: int = 0,
    dropout: float = 0.0,
    zero_output: bool = False,
    spread: float | None = 0.01,
    support: tuple[float, float] | None = None,
    alpha: float = 0.05,
) -> NormalizingFlow:
    """NICE: additive couplings and one diagonal. The defaults are the paper's for MNIST.

    Args:
        shape: the event's shape, of two numbers or more.
        couplings: how many couplings; at least two, or half of the event is never changed.
        hidden: units of each hidden layer.
        layers: hidden layers of each network.
        base: "logistic" (MNIST, SVHN) or "normal" (TFD, CIFAR-10).
        context: length of a context vector, 0 for none.
        classes: number of classes instead; no context, or index `classes`, then means "no class".
        dropout: probability of dropping a hidden unit in training; the paper has none.
        zero_output: start every network with output 0, so that the flow starts as its diagonal.
        spread: weights start uniform on (-spread, spread) and biases at 0; None keeps torch's own start.
        support: (low, high) of bounded data, mapped to the line by a logit first; None, as in the paper, for
            the line. Digits want it: a density that ends where the pixels do need not be bent there.
        alpha: how far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within,
            and gives data on an end itself no density.

    Returns:
        A flow with untrained weights. `prepare` gives its diagonal a start from data.

    Raises:
        ConfigError: an event of one number, fewer than two couplings, both context and classes, or an
            impossible support or alpha.

    >>> flow = nice((1, 8, 8), hidden=32, layers=2)
    >>> flow.sample(3, seed=0).shape
    torch.Size([3, 1, 8, 8])
    """
    n = dimensions(shape, couplings)
    members: list[Transform] = [*bounded(support, alpha), tile(n)]
    for _ in range(couplings):
        net = _conditioner((n // 2, n - n // 2), hidden, layers, context, classes, dropout, zero_output)
        if spread is not None:
            _uniform(net, spread)
        members += [AdditiveCoupling(shape, net), reverse(n)]
    return NormalizingFlow(Chain(*members, Shift(shape), DiagonalScale(shape)), _base(base, shape))


def real_nvp(
    shape: tuple[int, ...],
    couplings: int = 8,
    hidden: int = 256,
    layers: int = 2,
    base: BaseName = "normal",
    *,
    context: int = 0,
    classes: int = 0,
    dropout: float = 0.0,
    zero_output: bool = True,
    bound: float = 2.0,
    support: tuple[float, float] | None = None,
    alpha: float = 0.05,
) -> NormalizingFlow:
    """Real NVP on vectors: affine couplings with alternating masks, a shift and a scale before each.

    The published image model has convolutions and several scales; this one has its couplings, masks and logit
    with plain networks, which is what suits points, tables and very small images.

    Args:
        shape: the event's shape, of two numbers or more.
        couplings: how many couplings; at least two.
        hidden, layers, context, classes, dropout: as in `nice`.
        base: "normal" as published, or "logistic".
        zero_output: start every network with output 0, so that the couplings start as the identity.
        bound: the largest log-scale of one coupling.
        support: (low, high) of bounded data, mapped to the line by a logit first; None for the line.
        alpha: how far off the ends that logit stays, as a share; samples may lie as far beyond. 0 keeps them within,
            and gives data on an end itself no density.

    Returns:
        A flow with untrained weights. `prepare` gives its shifts and scales a start from data.

    Raises:
        ConfigError: as `nice`, and for an impossible bound, support or alpha.

    >>> flow = real_nvp((2,), couplings=4, hidden=16)
    >>> flow.log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    """
    n = dimensions(shape, couplings)
    members: list[Transform] = bounded(support, alpha)
    for mask, _ in zip(_masks(shape), range(couplings), strict=False):
        kept = int(mask.sum())
        net = _conditioner((kept, 2 * (n - kept)), hidden, layers, context, classes, dropout, zero_output)
        members += [Shift(shape), DiagonalScale(shape), AffineCoupling(shape, net, mask, bound)]
    return NormalizingFlow(Chain(*members, Shift(shape), DiagonalScale(shape)), _base(base, shape))


class ByClass(nn.Module):
    """A conditioner asked with a class index: the class reaches the network as a one-hot vector.

    Args:
        net: called as net(x, vector [batch, classes]).
        classes: number of classes; index `classes`, or no index, is the zero vector, "no class".
    """

    def __init__(self, net: nn.Module, classes: int):
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """The network's output, given classes [batch] of whole numbers."""
        if context is None:
            return self.net(x, x.new_zeros(len(x), self.classes))
        return self.net(x, unit_vectors(context, self.classes).to(x.dtype))


def _conditioner(
    ends: tuple[int, int], hidden: int, layers: int, context: int, classes: int, dropout: float, zero: bool
) -> nn.Module:
    if context and classes:
        fix = "Append a one-hot vector of the class to the context yourself."
        raise ConfigError(explain("context or classes", f"{context=} and {classes=}", fix))
    net = Dense(*ends, hidden, layers, context or classes, dropout=dropout, zero_output=zero)
    return ByClass(net, classes) if classes else net


def bounded(support: tuple[float, float] | None, alpha: float) -> list[Transform]:
    """The logit that takes data of this support to the line; nothing for data of the line."""
    return [] if support is None else [Logit(alpha, *support)]


def _masks(shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Checkerboard, its complement, halves, their complement, and again."""
    while True:
        for mask in (checkerboard(shape), halves(shape)):
            yield from (mask, ~mask)


def numbers(shape: tuple[int, ...]) -> int:
    """How many numbers an event has, if its shape is one."""
    given: object = shape
    if isinstance(given, int):
        raise ConfigError(explain("an event shape, a tuple", f"{given}", f"Vectors of {given} have ({given},)."))
    if not shape or min(shape) < 1:
        fix = "Give a number alone the shape (1,), and its data an axis for it."
        raise ConfigError(explain("an event shape of sizes of 1 or more", f"{tuple(shape)}", fix))
    return math.prod(shape)


def dimensions(shape: tuple[int, ...], couplings: int) -> int:
    """How many numbers an event has, if couplings can be made of them."""
    n = numbers(shape)
    if n < 2:
        fix = "A flow of couplings needs two; use a shift and a scale for one."
        raise ConfigError(explain("events of two numbers or more", f"shape {tuple(shape)}", fix))
    if couplings < 2:
        fix = "One coupling leaves half of the event as it was."
        raise ConfigError(explain("two couplings or more", f"{couplings}", fix))
    return n


def _base(name: BaseName, shape: tuple[int, ...]) -> Base:
    if name not in ("logistic", "normal"):
        raise ConfigError(explain("a base 'logistic' or 'normal'", repr(name), "Choose one of the two."))
    return Logistic(tuple(shape)) if name == "logistic" else Normal(tuple(shape))


@torch.no_grad()
def _uniform(net: nn.Module, spread: float) -> None:
    for parameter in net.parameters():
        if parameter.any():  # outputs asked to start at 0 stay there
            parameter.uniform_(-spread, spread) if parameter.ndim > 1 else parameter.zero_()

"""The networks of other flow libraries as our conditioners, and the few transforms that only they have.

Their networks come along as they are, as copies, so weights and dropout are theirs to the bit; what is adapted is how
they are called and how their output is laid out. Which number depends on which is read from their masks,

    reach = M_n ... M_2 M_1,      and M + 1 where a block is residual,

not from their weights, which may be 0 today. The levels of an autoregressive network are longest paths in it.

Matrices, however they are parametrised, become `LU`: the same function, learned in other coordinates.
"""

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context, PerSample, Sample
from pushforward.transforms import LU, ActNorm, Chain, Monotone, Permutation, Transform

M = TypeVar("M", bound=nn.Module)

Call = Literal["joined", "beside", "without"]
"""How they give a context to a network: net([x, c]), net(x, c), or not at all."""


def called(net: Callable[..., Any], call: Call, x: Tensor, context: Context) -> Tensor:
    """The output of a network of theirs."""
    if call == "beside":
        return net(x, context)
    return net(x if call == "without" or context is None else torch.cat([x, context], 1))


class Ordered(nn.Module):
    """A masked network of theirs as a causal conditioner (`transforms.Causal`).

    Args:
        net: whose output is laid out number by number.
        call: how it is given a context.
        features: how many numbers; inputs after them are context.
        inputs: how many inputs.

    Raises:
        ConfigError: its masks let numbers depend on each other in a circle.
    """

    order: Tensor

    def __init__(self, net: nn.Module, call: Call, features: int, inputs: int) -> None:
        super().__init__()
        self.net = net
        self.call: Call = call
        reach = _reach(net, torch.eye(inputs, device=next(net.parameters()).device))[:, :features] > 0
        level = _levels(reach.unflatten(0, (features, -1)).any(1))
        self.register_buffer("order", level.argsort(stable=True))
        self.sizes = tuple(level.bincount().tolist())

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, k] of numbers [batch, n], both in `order`."""
        raw = called(self.net, self.call, x.index_select(1, self.order.argsort()), context)
        return raw.unflatten(1, (x.shape[1], -1)).index_select(1, self.order)

    def walk(self, n: int, context: Context = None) -> Generator[Tensor, Tensor, None]:
        """Level by level, each by a whole call: their layers cannot be asked for a part."""
        weight = next(self.net.parameters())
        x, place = weight.new_zeros(n, len(self.order)), 0
        for size in self.sizes:
            known = yield self.placed(x, context).detach()[:, place : place + size]
            x[:, place : place + size] = known.detach()
            place += size


class Kept(nn.Module):
    """A network of theirs as the conditioner of a coupling.

    Args:
        net: theirs.
        call: how it is given a context.
        shape: of the kept numbers, as it sees them.
        size: parameters of each changed number, if its output has them side by side (in the first axis); 0 if it has
            all first ones, then all second ones, as ours do.
    """

    def __init__(self, net: nn.Module, call: Call, shape: tuple[int, ...], size: int = 0) -> None:
        super().__init__()
        self.net, self.shape, self.size = net, shape, size
        self.call: Call = call

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """Flat parameters [batch, size * changed] of flat numbers."""
        raw = called(self.net, self.call, kept.reshape(len(kept), *self.shape), context)
        return (raw.unflatten(1, (-1, self.size)).movedim(2, 1) if self.size else raw).flatten(1)


class Pair(nn.Module):
    """Two networks that see the whole event with zeros in place of what is changed: scales, then shifts.

    Args:
        scale, shift: theirs; None says 0.
        mask: what is kept, boolean, of the event's shape.
    """

    kept: Tensor
    changed: Tensor

    def __init__(self, scale: nn.Module | None, shift: nn.Module | None, mask: Tensor) -> None:
        super().__init__()
        self.scale, self.shift, self.shape = scale, shift, tuple(mask.shape)
        self.register_buffer("kept", mask.flatten().nonzero().squeeze(1))
        self.register_buffer("changed", (~mask).flatten().nonzero().squeeze(1))

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """[batch, 2 * changed]."""
        flat = kept.new_zeros(len(kept), len(self.kept) + len(self.changed)).index_copy(1, self.kept, kept)
        x = flat.reshape(-1, *self.shape)
        both = [torch.zeros_like(x) if net is None else net(x) for net in (self.scale, self.shift)]
        return torch.cat([each.flatten(1).index_select(1, self.changed) for each in both], 1)


class Constant(nn.Module):
    """The same parameters for every sample: a coupling with them maps part of an event, number by number.

    Args:
        params: [numbers, size].
    """

    def __init__(self, params: Tensor) -> None:
        super().__init__()
        self.params = nn.Parameter(params.detach().T.flatten())  # first parameters first

    def forward(self, kept: Tensor, context: Context = None) -> Tensor:
        """[batch, size * numbers]."""
        return self.params.expand(len(kept), -1)


class OfContext(Transform):
    """z_i = g(x_i; m_i(c)): a map of each number whose parameters depend on the context alone.

    Args:
        monotone: g.
        net: context [batch, ...] to [batch, size * numbers].
        size: as in `Kept`.
    """

    def __init__(self, monotone: Monotone, net: nn.Module, size: int = 0) -> None:
        super().__init__()
        self.monotone, self.net, self.size = monotone, net, size

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        z, ladj = self.monotone.encode(x, self._params(x, context))
        return z, ladj.flatten(1).sum(1)

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        x, ladj = self.monotone.decode(z, self._params(z, context))
        return x, ladj.flatten(1).sum(1)

    def _params(self, x: Tensor, context: Context) -> Tensor:
        raw, shape = self.net(context), (len(x), *x.shape[1:])
        if self.size:
            return raw.reshape(*shape, self.size)
        return raw.reshape(len(x), -1, *x.shape[1:]).movedim(1, -1)


class Embedded(Transform):
    """A transform that is given a network's view of the context.

    Args:
        transform: what is given it.
        net: context to context.
    """

    def __init__(self, transform: Transform, net: nn.Module) -> None:
        super().__init__()
        self.transform, self.net = transform, net

    def encode(self, x: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self.transform.encode(x, self.net(context))

    def decode(self, z: Sample, context: Context = None) -> tuple[Sample, PerSample]:
        return self.transform.decode(z, self.net(context))


@torch.no_grad()
def matrix(weight: Tensor, bias: Tensor | None = None) -> Transform:
    """z = W x + b over the leading axis, as `LU`, and `ActNorm` for its shift alone."""
    order, lower, upper = torch.linalg.lu(weight.detach().double())
    rows, columns = torch.tril_indices(len(weight), len(weight), -1, device=weight.device)
    parts = {"lower": lower[rows, columns], "upper": upper[columns, rows], "log_diagonal": upper.diagonal().abs().log()}
    layer = filled(LU(len(weight)), **parts)
    layer.order.copy_(order.argmax(1))
    layer.signs.copy_(upper.diagonal().sign())
    if bias is None:
        return layer
    after = filled(ActNorm(len(weight)), shift=bias)
    after.log_scale.requires_grad_(False)
    return Chain(layer, after)


@torch.no_grad()
def filled(module: M, **values: Tensor) -> M:
    """A module of ours with these numbers as its parameters, in their precision."""
    for name, value in values.items():
        module = module.to(value)
        parameter = module.get_parameter(name)
        parameter.copy_(value.reshape(parameter.shape))
    return module


def channel_order(order: Tensor, shape: tuple[int, ...]) -> Permutation:
    """An order of the leading axis as an order of the whole event."""
    places = torch.arange(torch.Size(shape).numel(), device=order.device).reshape(shape)
    return Permutation(places[order].flatten())


def _reach(module: nn.Module, seen: Tensor) -> Tensor:
    """Which inputs [., inputs] the outputs of a module see, given what its inputs see."""
    mask = getattr(module, "mask", None)
    if isinstance(mask, Tensor):
        return (mask.to(seen) @ seen).clamp(max=1)
    after = seen
    for child in module.children():
        after = _reach(child, after)
    return (after + seen).clamp(max=1) if "Residual" in type(module).__name__ else after


def _levels(graph: Tensor) -> Tensor:
    """Longest paths: 0 for numbers that depend on none, [n], of graph[i, j], that i depends on j."""
    level = graph.new_zeros(len(graph), dtype=torch.int64)
    for _ in range(len(graph) + 1):
        longer = torch.where(graph, level + 1, 0).amax(1)
        if torch.equal(longer, level):
            return level
        level = longer
    fix = "Check its adjacency, or the masks that were loaded into it."
    raise ConfigError(explain("masks of an autoregressive network", "numbers that depend on themselves", fix))

"""Guidance of flows: parameters u + scale (c - u), between those without a context and those with it, or beyond.

Every transform whose map gets its parameters from a conditioner is guided, autoregressive or coupling, because any
parameters make an invertible map: a guided flow is a flow, and its samples have an exact density too. What has no
conditioner, the base among it, stays as it is.

"Without a context" is what the conditioner says when it is given none: for classes "no class", which is a vector of
zeros to the networks. A network of vectors says nothing without one, and must be told which vector means none.

Reference: Ho, Salimans 2022, arXiv 2207.12598.
"""

import copy
from collections.abc import Generator, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from pushforward._errors import ConfigError, explain
from pushforward._typing import Context
from pushforward.models.conditioning import row_of
from pushforward.models.flow import NormalizingFlow
from pushforward.nets import CausalTransformer
from pushforward.transforms import Autoregressive, Causal, Coupling, Labelled
from pushforward.transforms.coupling import Conditioner

C = TypeVar("C")


class Guided(nn.Module):
    """A conditioner between one without a context and the same with it, or beyond: u + scale (c - u).

    Args:
        conditioner: what was trained with and without a context.
        scale: 0 ignores the context, 1 is the conditioner itself, above 1 exaggerates what the context changes.
        nothing: the row of context that means none; None leaves the context out.
    """

    def __init__(self, conditioner: Conditioner, scale: float, nothing: Tensor | None = None) -> None:
        super().__init__()
        self.conditioner, self.scale, self.nothing = conditioner, scale, nothing

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """The parameters of a coupling, given the numbers that it keeps."""
        if context is None:
            return self.conditioner(x)
        nothing = _rows(self.nothing, context)
        without = self.conditioner(x) if nothing is None else self.conditioner(x, nothing)
        return torch.lerp(without, self.conditioner(x, context), self.scale)


class GuidedCausal(nn.Module):
    """`Guided` for the conditioner of an autoregressive transform.

    Args:
        conditioner, scale, nothing: as in `Guided`.
    """

    order: Tensor

    def __init__(self, conditioner: Causal, scale: float, nothing: Tensor | None = None) -> None:
        super().__init__()
        self.conditioner, self.scale, self.nothing = conditioner, scale, nothing
        self.sizes = conditioner.sizes
        self.register_buffer("order", conditioner.order, persistent=False)

    def placed(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters [batch, n, k] of numbers [batch, n], both in `order`."""
        if context is None:
            return self.conditioner.placed(x)
        return self._between(
            self.conditioner.placed(x, _rows(self.nothing, context)), self.conditioner.placed(x, context)
        )

    def walk(self, n: int, context: Context = None) -> Generator[Tensor, Tensor, None]:
        """The parameters of each level in turn, from two walks side by side."""
        if context is None:
            yield from self.conditioner.walk(n)
            return
        walks = self.conditioner.walk(n, _rows(self.nothing, context)), self.conditioner.walk(n, context)
        x = yield self._between(next(walks[0]), next(walks[1]))
        for _ in self.sizes[1:]:
            x = yield self._between(walks[0].send(x), walks[1].send(x))

    def _between(self, without: Tensor, given: Tensor) -> Tensor:
        return torch.lerp(without, given, self.scale)


def guided_flow(flow: NormalizingFlow, scale: float, unconditional: Tensor | None = None) -> NormalizingFlow:
    """A flow that shares the parameters of `flow`, its autoregressive transforms and couplings guided.

    Args:
        flow: trained with contexts and without (labels dropped from time to time).
        scale: as in `Guided`; 1 is the flow itself.
        unconditional: the row of context that means none, for a flow whose context is a vector.

    Raises:
        ConfigError: nothing in it can be guided.

    >>> from pushforward.models import nsf
    >>> far = guided_flow(nsf((2,), couplings=2, hidden=8, classes=3), 2.0)
    >>> far.sample(4, torch.tensor([1]), seed=0).shape
    torch.Size([4, 2])
    """
    chained: object = flow
    found = dict(_guided(flow.chain, scale, unconditional)) if isinstance(chained, NormalizingFlow) else {}
    if not found:
        names = sorted({type(transform).__name__ for transform in flow}) if isinstance(chained, NormalizingFlow) else ()
        got = f"one of {', '.join(names)}" if names else f"a {type(flow).__name__}"
        fix = "Planar, residual and integrated maps have no such parameters; guide a Diffusion by models.guided."
        raise ConfigError(explain("a flow with autoregressive transforms or couplings to guide", got, fix))
    shared = {id(tensor): tensor for tensor in (*flow.parameters(), *flow.buffers())}
    made = NormalizingFlow(copy.deepcopy(flow.chain, {**shared, **found}), flow.base)
    made.training = flow.training  # and not `train`, which would change the networks that are shared
    return made


def _guided(module: nn.Module, scale: float, nothing: Tensor | None) -> Iterator[tuple[int, nn.Module]]:
    """What takes the place of every conditioner, by the identity of the latter."""
    match module:
        case Autoregressive():
            yield id(module.conditioner), GuidedCausal(_checked(module.conditioner, nothing), scale, nothing)
        case Coupling():
            yield id(module.conditioner), Guided(_checked(module.conditioner, nothing), scale, nothing)
        case Labelled():
            yield from _guided(module.transform, scale, torch.zeros(module.classes))
        case _:
            for child in module.children():
                yield from _guided(child, scale, nothing)


def _checked(conditioner: C, nothing: Tensor | None) -> C:
    row = row_of(conditioner)
    # a causal Transformer has a word of its own for none
    if nothing is None and row and not row.classes and not isinstance(conditioner, CausalTransformer):
        fix = f"Pass unconditional=torch.zeros({row.shape[0]}), if that is what it was trained with."
        raise ConfigError(explain("the vector that means no context", f"vectors of {row.shape[0]} numbers", fix))
    return conditioner


def _rows(nothing: Tensor | None, context: Tensor) -> Context:
    return None if nothing is None else nothing.to(context).expand_as(context)

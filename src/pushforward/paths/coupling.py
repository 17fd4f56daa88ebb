"""How data and noise are paired in training.

A coupling is a joint law of (x0, eps) with the data and the source as its marginals. Independent pairs cross;
pairs that follow a trained ODE (reflow) or an optimal plan (`OptimalTransport`) do not, which is what straightens the
flow. The source need not be noise: `Source` takes it from any data or sampler, and the flow goes from data to data.

References: Liu et al. 2022 (arXiv 2209.03003), Tong et al. 2023 (arXiv 2302.00482).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pushforward._errors import ShapeError, explain
from pushforward._random import Draw
from pushforward._typing import Context, Sample


class Coupling(abc.ABC):
    """A rule that gives each event its noise; a frozen dataclass."""

    @abc.abstractmethod
    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        """Noise for each event, [batch, *event]."""


@dataclass(frozen=True, slots=True)
class Independent(Coupling):
    """Fresh standard normal noise for each event."""

    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        return draw.normal(len(x0), tuple(x0.shape[1:]), x0.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Source(Coupling):
    """The noise end of each pair from data or a sampler of one's own, drawn independently of the data end.

    On the linear path the velocity carries this source to the data, whatever its law: `model.decode(events)` is a
    sample, and so is `model.sample()` if the model's base is the same source (`models.Rows`). Scores, and with them
    reverse SDEs, are right only if the source is standard normal.

    Args:
        events: events of the source in the model's units, [rows, *event], of which each pair gets one; or a function of
            (n, draw) that returns n events, each a function of its index alone.
        context: what each row belongs to, [rows, *context]; a pair then gets a row of its own context.

    >>> Source(torch.full((3, 2), 5.0)).pair(torch.zeros(1, 2), None, Draw(0))
    tensor([[5., 5.]])
    """

    events: Tensor | Callable[[int, Draw], Tensor] = field(repr=False)
    context: Tensor | None = field(default=None, repr=False)

    def pair(self, x0: Sample, context: Context, draw: Draw) -> Sample:
        drawn = self._drawn(len(x0), context, draw)
        if drawn.shape != x0.shape:
            fix = "Give source and data the same shape, and one row to each pair."
            raise ShapeError(explain(f"events {tuple(x0.shape)} of the source", f"{tuple(drawn.shape)}", fix))
        return drawn.to(x0)

    def _drawn(self, n: int, context: Context, draw: Draw) -> Tensor:
        if not isinstance(self.events, Tensor):
            return self.events(n, draw)
        u = draw.uniform(n, dtype=torch.float64).to(self.events.device)
        if self.context is None or context is None:
            return self.events[(u * len(self.events)).long()]
        chosen = torch.zeros(n, dtype=torch.long, device=u.device)
        for rows in groups(context, n):
            same = (self.context == context[rows[0]].to(self.context)).reshape(len(self.context), -1).all(1)
            there = same.nonzero().squeeze(1)
            if not len(there):
                got = f"none with context {context[rows[0]].tolist()}"
                raise ShapeError(explain("a row of the source for each context", got, "Add some, or drop the context."))
            chosen[rows] = there[(u[rows] * len(there)).long()]
        return self.events[chosen]


def groups(context: Context, n: int) -> tuple[Tensor, ...]:
    """The indices of the samples of each context: all of them where there is none."""
    if context is None:
        return (torch.arange(n),)
    labels = torch.unique(context.reshape(n, -1), dim=0, return_inverse=True)[1]
    return tuple((labels == label).nonzero().squeeze(1) for label in range(int(labels.max()) + 1))

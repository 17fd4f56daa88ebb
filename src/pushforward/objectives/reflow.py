"""Reflow: train again on the pairs that a trained flow makes, and the paths straighten.

The flow carries noise eps to x0 = decode(eps). Those pairs are a coupling whose straight lines cross less than
independent pairs' do, so a flow regressed on them is straighter and needs fewer steps. Pairs may also start from real
data, (x0, encode(x0)): their data end is exact, which keeps quality from eroding.

    S(flow) = E int_0^1 |(eps - x0) - v_t|**2 dt        the straightness, 0 when one Euler step is exact

Reference: Liu et al. 2022 (arXiv 2209.03003).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pushforward._errors import ShapeError
from pushforward._random import Draw
from pushforward.data.batch import Batch
from pushforward.data.order import order
from pushforward.models.model import Model
from pushforward.solvers import Solver


@dataclass(frozen=True, slots=True)
class Pairs:
    """Matched ends of trajectories, served as a data set.

    Args:
        x: the data ends, [pairs, *event].
        eps: the noise ends, [pairs, *event].
        context: what each pair is conditioned on, or None.
    """

    x: Tensor
    eps: Tensor
    context: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.shape != self.eps.shape or len(self.x) == 0:
            raise ShapeError(
                f"Expected as many data as noise ends, at least one; got {tuple(self.x.shape)} and "
                f"{tuple(self.eps.shape)}. Make them with objectives.pairs(model, n)."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one event."""
        return tuple(self.x.shape[1:])

    def __len__(self) -> int:
        return len(self.x)

    def __add__(self, other: "Pairs") -> "Pairs":
        """Both sets in one: sampled pairs and pairs that start from real data mix this way."""
        if (self.context is None) != (other.context is None):
            raise ShapeError("Expected pairs that both have a context, or neither; got one of each. Drop it or add it.")
        both = None if self.context is None or other.context is None else torch.cat([self.context, other.context])
        return Pairs(torch.cat([self.x, other.x]), torch.cat([self.eps, other.eps]), both)

    def batches(self, size: int, draw: Draw, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Endless batches; each epoch is a fresh order, a function of the draw alone. Rank r gets its slice of each."""
        for _, rows in order(len(self), size, draw, start, rank, world):
            yield Batch(self.x[rows], None if self.context is None else self.context[rows], self.eps[rows])


@torch.no_grad()
def pairs(
    model: Model,
    n: int,
    solver: Solver | None = None,
    seed: int = 0,
    context: Tensor | None = None,
    batch: int = 1024,
    progress: bool = False,
) -> Pairs:
    """`n` pairs of noise and the sample the model carries it to. Pair i depends on (seed, i) alone."""
    ends: list[Tensor] = []
    noises: list[Tensor] = []
    for first in tqdm(range(0, n, batch), desc="pairs", disable=not progress, leave=False):
        count = min(batch, n - first)
        part = None if context is None else context[first : first + count]
        noises.append(model.noise(count, seed, first, part))
        ends.append(model.decode(noises[-1], part, solver))
    return Pairs(torch.cat(ends), torch.cat(noises), context)


@torch.no_grad()
def pairs_from(model: Model, x: Tensor, solver: Solver | None = None, context: Tensor | None = None) -> Pairs:
    """Pairs whose data ends are the given (real) events, and whose noise the model encodes them to."""
    return Pairs(x, model.encode(x, context, solver), context)
